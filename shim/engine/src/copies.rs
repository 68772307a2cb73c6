//! Rewrites copies of a few bytes so that they compile for processors without vectors.
//!
//! Where the length of a copy (`memory.copy`, `memory.init` and the table equivalents) is a
//! small constant, wasmtime 48 emits loads and stores of 16 bytes instead, even for RISC-V
//! without the V extension, for which Cranelift lacks these instructions and panics
//! (bytecodealliance/wasmtime#13959). Other lengths become calls. So every length is hidden
//! from wasmtime's constant detection by an `or` with zero.

use std::borrow::Cow;
use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent, component_utils, utils};
use wasm_encoder::{CodeSection, Component, Function, Instruction, MemoryType, Module, TableType};
use wasmparser::{FunctionBody, Parser, Validator, WasmFeatures};

/// The same component or core module, without copies whose length is known at compile time.
/// An invalid one is returned unchanged: wasmtime reports what is wrong with it.
///
/// # Errors
///
/// If a valid component cannot be re-encoded.
pub(crate) fn of_unknown_length(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    if validator.validate_all(bytes).is_err() {
        return Ok(Cow::Borrowed(bytes));
    }
    let (mut lengths, parser) = (Lengths::default(), Parser::new(0));
    Ok(Cow::Owned(if Parser::is_core_wasm(bytes) {
        let mut changed = Module::new();
        lengths.parse_core_module(&mut changed, parser, bytes)?;
        changed.finish()
    } else {
        let mut changed = Component::new();
        lengths.parse_component(&mut changed, parser, bytes)?;
        changed.finish()
    }))
}

/// Inserts the `or` before each copy.
#[derive(Default)]
struct Lengths {
    /// Whether each memory of the module has 64-bit indices.
    memories: Vec<bool>,
    /// The same for each table.
    tables: Vec<bool>,
}

impl Lengths {
    /// Whether the length has 64 bits, if the instruction takes one. Between two memories
    /// the narrower index type counts; segments have 32 bits.
    fn of(&self, instruction: &Instruction<'_>) -> Option<bool> {
        let both = |wide: &[bool], indices: [u32; 2]| {
            let mut indices = indices.iter();
            indices.all(|index| wide.get(*index as usize) == Some(&true))
        };
        match *instruction {
            Instruction::MemoryCopy { src_mem, dst_mem } => {
                Some(both(&self.memories, [src_mem, dst_mem]))
            }
            Instruction::TableCopy {
                src_table,
                dst_table,
            } => Some(both(&self.tables, [src_table, dst_table])),
            Instruction::MemoryInit { .. } | Instruction::TableInit { .. } => Some(false),
            _ => None,
        }
    }
}

impl Reencode for Lengths {
    type Error = Infallible;

    fn memory_type(&mut self, ty: wasmparser::MemoryType) -> Result<MemoryType, Error> {
        self.memories.push(ty.memory64);
        Ok(utils::memory_type(self, ty))
    }

    fn table_type(&mut self, ty: wasmparser::TableType) -> Result<TableType, Error> {
        self.tables.push(ty.table64);
        utils::table_type(self, ty)
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), Error> {
        let mut function: Function = self.new_function_with_parsed_locals(&body)?;
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let instruction = self.parse_instruction(&mut operators)?;
            match self.of(&instruction) {
                Some(true) => function.instructions().i64_const(0).i64_or(),
                Some(false) => function.instructions().i32_const(0).i32_or(),
                None => &mut function.instructions(),
            };
            function.instruction(&instruction);
        }
        code.function(&function);
        Ok(())
    }
}

impl ReencodeComponent for Lengths {
    fn parse_component_submodule(
        &mut self,
        component: &mut Component,
        parser: Parser,
        module: &[u8],
    ) -> Result<(), Error> {
        self.memories.clear();
        self.tables.clear();
        component_utils::parse_component_submodule(self, component, parser, module)
    }
}

#[cfg(test)]
mod tests {
    use wasmparser::{Operator, Payload};
    use wasmtime::component::Component;
    use wasmtime::{Engine, Store};

    use super::*;

    /// Copies of every kind; `run` returns a checksum of the results.
    const COPIES: &str = r#"
        (component
          (component $nested
            (core module $inner
              (memory $narrow 1)
              (memory $wide i64 1)
              (table $functions 8 funcref)
              (elem $both func $one $one)
              (data $text "sixteen bytes ..")
              (func $one (result i32) i32.const 1)
              (func (export "run") (result i32)
                (local $length i32)
                (memory.init $narrow $text (i32.const 0) (i32.const 0) (i32.const 16))
                (memory.copy $narrow $narrow (i32.const 16) (i32.const 0) (i32.const 16))
                (memory.copy $wide $narrow (i64.const 8) (i32.const 16) (i32.const 16))
                (memory.copy $wide $wide (i64.const 40) (i64.const 8) (i64.const 16))
                (local.set $length (i32.const 16))
                (memory.copy $narrow $wide (i32.const 64) (i64.const 40) (local.get $length))
                (table.init $functions $both (i32.const 0) (i32.const 0) (i32.const 2))
                (table.copy $functions $functions (i32.const 2) (i32.const 0) (i32.const 2))
                (i32.add
                  (i32.load $narrow (i32.const 76))
                  (call_indirect $functions (result i32) (i32.const 3)))))
            (core instance $it (instantiate $inner))
            (func (export "run") (result u32) (canon lift (core func $it "run"))))
          (instance $it (instantiate $nested))
          (export "run" (func $it "run")))"#;

    fn run(bytes: &[u8]) -> u32 {
        let engine = Engine::default();
        let component = Component::new(&engine, bytes).unwrap();
        let mut store = Store::new(&engine, ());
        let linker = wasmtime::component::Linker::new(&engine);
        let instance = linker.instantiate(&mut store, &component).unwrap();
        let run = instance.get_typed_func::<(), (u32,)>(&mut store, "run");
        run.unwrap().call(&mut store, ()).unwrap().0
    }

    /// The number of copies, and of those that follow an `or`.
    fn copies(bytes: &[u8]) -> (usize, usize) {
        let (mut all, mut masked) = (0, 0);
        for payload in Parser::new(0).parse_all(bytes) {
            let Payload::CodeSectionEntry(body) = payload.unwrap() else {
                continue;
            };
            let mut after_or = false;
            for operator in body.get_operators_reader().unwrap() {
                let operator = operator.unwrap();
                if matches!(
                    operator,
                    Operator::MemoryCopy { .. }
                        | Operator::MemoryInit { .. }
                        | Operator::TableCopy { .. }
                        | Operator::TableInit { .. }
                ) {
                    all += 1;
                    masked += usize::from(after_or);
                }
                after_or = matches!(operator, Operator::I32Or | Operator::I64Or);
            }
        }
        (all, masked)
    }

    #[test]
    fn a_component_does_the_same_without_constant_lengths() {
        let before = wat::parse_str(COPIES).unwrap();
        assert_eq!(copies(&before), (7, 0));
        let after = of_unknown_length(&before).unwrap();
        assert_eq!(copies(&after), (7, 7));
        assert_eq!(run(&after), run(&before));
        assert_eq!(run(&after), u32::from_le_bytes(*b"s ..") + 1);
    }

    #[test]
    fn a_core_module_is_changed_as_well() {
        let text = r#"(module (memory 1) (func
            (memory.copy (i32.const 16) (i32.const 0) (i32.const 16))))"#;
        let before = wat::parse_str(text).unwrap();
        assert_eq!(copies(&before), (1, 0));
        assert_eq!(copies(&of_unknown_length(&before).unwrap()), (1, 1));
    }

    #[test]
    fn what_is_no_component_stays_for_wasmtime_to_refuse() {
        let whole = wat::parse_str(COPIES).unwrap();
        for broken in [&whole[..whole.len() / 2], b"\0asm", b"none"] {
            assert_eq!(of_unknown_length(broken).unwrap(), broken);
        }
    }
}
