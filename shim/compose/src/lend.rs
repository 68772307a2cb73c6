//! Reserves memory for the preview 1 adapter that the module's allocator does not use.
//!
//! The adapter asks the module's allocator for two pages, one for its stack and one for
//! its state. If the module has none, the adapter takes them with `memory.grow` before
//! the module starts. The module's allocator then assumes that all memory is its own, and
//! the two overwrite each other's data. So the module gets an allocator for the adapter
//! alone (`cabi_realloc_adapter`), over pages behind its declared memory that it does not
//! see: `memory.size` returns the declared size until the module grows its memory for the
//! first time; the new memory then begins behind those pages.
//!
//! Go's runtime is the exception: it only uses memory behind `memory.size` at its start,
//! and assumes that all growth is contiguous. It sees the real size.

use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, CustomSection, ExportKind, ExportSection, Function, FunctionSection,
    MemArg, MemorySection, MemoryType, Module, TypeSection, ValType,
};
use wasmparser::{CustomSectionReader, FunctionBody, Operator, Parser, Payload, TypeRef};

use crate::Cause;

/// The name by which the encoder finds the adapter's allocator.
const EXPORT: &str = "cabi_realloc_adapter";

/// Pages that the adapter asks for: a stack and a state.
const ASKED: u32 = 2;

/// One more page in front of them records how many are taken, and whether the module has
/// grown its memory. Only its first bytes are ever touched.
const LENT: u32 = ASKED + 1;

const PAGE: u32 = 1 << 16;

/// The maximum number of pages of a memory with 32-bit addresses.
const ALL: u64 = 1 << 16;

/// Reserves memory for a module's adapter. A module without a memory is left unchanged,
/// and so is one with a memory that the adapter does not accept.
pub(crate) fn lend(module: &[u8], tell_the_truth: bool) -> Result<Vec<u8>, Cause> {
    let Some(mut lender) = Lender::read(module, tell_the_truth)? else {
        return Ok(module.to_vec());
    };
    let mut changed = Module::new();
    lender.parse_core_module(&mut changed, Parser::new(0), module)?;
    Ok(changed.finish())
}

struct Lender {
    /// Pages that the module declares.
    declared: u32,
    /// How many types and functions the module has.
    types: u32,
    functions: u32,
    /// Whether `memory.size` returns the real size.
    tell_the_truth: bool,
}

impl Lender {
    fn read(module: &[u8], tell_the_truth: bool) -> Result<Option<Self>, Cause> {
        let (mut types, mut functions, mut memory) = (0, 0, None);
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(section) => {
                    for group in section {
                        types += u32::try_from(group?.types().len())?;
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) => functions += 1,
                            TypeRef::Memory(_) => return Ok(None),
                            _ => {}
                        }
                    }
                }
                Payload::FunctionSection(section) => functions += section.count(),
                Payload::MemorySection(section) => {
                    memory = section.into_iter().next().transpose()?;
                }
                _ => {}
            }
        }
        let declared = match memory {
            Some(memory) if !memory.memory64 && memory.page_size_log2.is_none() => memory.initial,
            _ => return Ok(None),
        };
        if declared + u64::from(LENT) > ALL {
            return Err("its memory leaves no room for the preview 1 adapter".into());
        }
        Ok(Some(Lender {
            declared: u32::try_from(declared)?,
            types,
            functions,
            tell_the_truth,
        }))
    }

    /// The address that records whether the module has grown its memory.
    fn grown(&self) -> i32 {
        (self.declared * PAGE).cast_signed()
    }

    fn size_function(&self) -> u32 {
        self.functions
    }

    fn grow_function(&self) -> u32 {
        self.functions + 1
    }

    fn size(&self) -> Function {
        let mut code = Function::new([]);
        code.instructions()
            .i32_const(self.grown())
            .i32_load(word(0))
            .if_(BlockType::Result(ValType::I32))
            .memory_size(0)
            .else_()
            .i32_const(self.declared.cast_signed())
            .end()
            .end();
        code
    }

    fn grow(&self) -> Function {
        let mut code = Function::new([(1, ValType::I32)]);
        let old = 1;
        code.instructions()
            // Growing by zero pages only asks for the size.
            .local_get(0)
            .i32_eqz()
            .if_(BlockType::Empty)
            .call(self.size_function())
            .return_()
            .end()
            .local_get(0)
            .memory_grow(0)
            .local_tee(old)
            .i32_const(-1)
            .i32_ne()
            .if_(BlockType::Empty)
            .i32_const(self.grown())
            .i32_const(1)
            .i32_store(word(0))
            .end()
            .local_get(old)
            .end();
        code
    }

    /// `(old, old_size, align, new_size)`: returns the next page, as long as there is
    /// one.
    fn realloc(&self) -> Function {
        let mut code = Function::new([(1, ValType::I32)]);
        let taken = 4;
        code.instructions()
            .local_get(0)
            .local_get(1)
            .i32_or()
            .local_get(3)
            .i32_const(PAGE.cast_signed())
            .i32_gt_u()
            .i32_or()
            .i32_const(self.grown())
            .i32_load(word(4))
            .local_tee(taken)
            .i32_const(ASKED.cast_signed())
            .i32_ge_u()
            .i32_or()
            .if_(BlockType::Empty)
            .unreachable()
            .end()
            .i32_const(self.grown())
            .local_get(taken)
            .i32_const(1)
            .i32_add()
            .local_tee(taken)
            .i32_store(word(4))
            .local_get(taken)
            .i32_const(self.declared.cast_signed())
            .i32_add()
            .i32_const(PAGE.cast_signed())
            .i32_mul()
            .end();
        code
    }
}

/// A word of the page that records the state.
fn word(offset: u64) -> MemArg {
    MemArg {
        offset,
        align: 2,
        memory_index: 0,
    }
}

impl Reencode for Lender {
    type Error = Infallible;

    /// No index changes, so names stay valid, and a damaged section does no harm.
    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: CustomSectionReader<'_>,
    ) -> Result<(), Error> {
        module.section(&CustomSection {
            name: section.name().into(),
            data: section.data().into(),
        });
        Ok(())
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_type_section(self, types, section)?;
        types.ty().function([], [ValType::I32]);
        types.ty().function([ValType::I32], [ValType::I32]);
        types.ty().function([ValType::I32; 4], [ValType::I32]);
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_function_section(self, functions, section)?;
        for ty in self.types..self.types + 3 {
            functions.function(ty);
        }
        Ok(())
    }

    fn parse_memory_section(
        &mut self,
        memories: &mut MemorySection,
        section: wasmparser::MemorySectionReader<'_>,
    ) -> Result<(), Error> {
        for (index, memory) in section.into_iter().enumerate() {
            let mut memory: MemoryType = self.memory_type(memory?)?;
            if index == 0 {
                memory.minimum += u64::from(LENT);
                memory.maximum = memory.maximum.map(|most| ALL.min(most + u64::from(LENT)));
            }
            memories.memory(memory);
        }
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: wasmparser::ExportSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_export_section(self, exports, section)?;
        exports.export(EXPORT, ExportKind::Func, self.functions + 2);
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: wasmparser::CodeSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_code_section(self, code, section)?;
        code.function(&self.size());
        code.function(&self.grow());
        code.function(&self.realloc());
        Ok(())
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), Error> {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            match operators.clone().read()? {
                Operator::MemorySize { mem: 0 } if !self.tell_the_truth => {
                    operators.read()?;
                    function.instructions().call(self.size_function());
                }
                Operator::MemoryGrow { mem: 0 } if !self.tell_the_truth => {
                    operators.read()?;
                    function.instructions().call(self.grow_function());
                }
                _ => {
                    let instruction = self.parse_instruction(&mut operators)?;
                    function.instruction(&instruction);
                }
            }
        }
        code.function(&function);
        Ok(())
    }
}
