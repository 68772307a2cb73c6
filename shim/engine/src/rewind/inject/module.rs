//! A core module with added functions that save and restore its globals and return where
//! its memory is.

use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
use wasm_encoder::{
    ConstExpr, Encode as _, ExportKind, Function, GlobalType, Instruction, MemArg, ValType,
};
use wasmparser::{
    BinaryReader, CompositeInnerType, ConstExpr as Constant, DataKind, ElementItems, ElementKind,
    ExternalKind, Operator, TableInit, TypeRef,
};

use super::{AFTER, MEMORY, MEMORY_ITSELF, PREFIX, RESTORE, Result, SAVE, Unfit};
use super::{sections, write_section};

/// Where the length and address of the list that [`MEMORY`] returns are stored while it is
/// read.
const SCRATCH: u32 = 16;

/// Ids of sections.
const CUSTOM: u8 = 0;
const TYPE: u8 = 1;
const IMPORT: u8 = 2;
const FUNCTION: u8 = 3;
const TABLE: u8 = 4;
const MEMORY_SECTION: u8 = 5;
const GLOBAL: u8 = 6;
const EXPORT: u8 = 7;
const START: u8 = 8;
const ELEMENT: u8 = 9;
const CODE: u8 = 10;
const DATA: u8 = 11;
const DATA_COUNT: u8 = 12;
const TAG: u8 = 13;

/// The order of sections.
const ORDER: [u8; 13] = [
    TYPE,
    IMPORT,
    FUNCTION,
    TABLE,
    MEMORY_SECTION,
    TAG,
    GLOBAL,
    EXPORT,
    START,
    ELEMENT,
    DATA_COUNT,
    CODE,
    DATA,
];

/// The position of a section in that order.
fn order(id: u8) -> usize {
    ORDER
        .iter()
        .position(|one| *one == id)
        .unwrap_or(ORDER.len())
}

/// What a module has that a request may change.
#[derive(Default)]
pub(super) struct State {
    types: u32,
    functions: u32,
    globals: u32,
    mutable: Vec<(u32, ValType)>,
    pub(super) memory: bool,
    /// The address of its first data.
    contents: u32,
}

impl State {
    /// # Errors
    /// If it has other state that a request may change.
    pub(super) fn of(module: &[u8]) -> Result<State> {
        let mut state = State::default();
        let mut memories = 0;
        let mut contents = None;
        for (id, content) in sections(module)? {
            let reader = BinaryReader::new(content, 0);
            match id {
                TYPE => {
                    for group in wasmparser::TypeSectionReader::new(reader)? {
                        for ty in group?.types() {
                            let CompositeInnerType::Func(_) = ty.composite_type.inner else {
                                return Err(Unfit::Has("collected objects"));
                            };
                            state.types += 1;
                        }
                    }
                }
                IMPORT => {
                    for import in wasmparser::ImportSectionReader::new(reader)?.into_imports() {
                        let import = import?;
                        if import.name.starts_with(PREFIX) {
                            return Err(Unfit::Ours);
                        }
                        match import.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => state.functions += 1,
                            TypeRef::Global(_) => state.globals += 1,
                            TypeRef::Memory(_) => memories += 1,
                            TypeRef::Table(_) | TypeRef::Tag(_) => {}
                        }
                    }
                }
                FUNCTION => {
                    state.functions += wasmparser::FunctionSectionReader::new(reader)?.count();
                }
                TABLE => {
                    for table in wasmparser::TableSectionReader::new(reader)? {
                        if let TableInit::Expr(constant) = table?.init {
                            state.check_constant(&constant)?;
                        }
                    }
                }
                MEMORY_SECTION => {
                    for memory in wasmparser::MemorySectionReader::new(reader)? {
                        let memory = memory?;
                        memories += 1;
                        let plain = !memory.memory64 && !memory.shared;
                        if !plain || memory.initial == 0 || memory.page_size_log2.is_some() {
                            return Err(Unfit::Has("a memory of another kind"));
                        }
                        state.memory = true;
                    }
                }
                GLOBAL => {
                    for global in wasmparser::GlobalSectionReader::new(reader)? {
                        let global = global?;
                        state.check_constant(&global.init_expr)?;
                        let ty = global.ty;
                        if ty.mutable {
                            let number = RoundtripReencoder.val_type(ty.content_type);
                            match number.map_err(|_| Unfit::Unreadable)? {
                                ValType::Ref(_) => return Err(Unfit::Has("a global reference")),
                                number => state.mutable.push((state.globals, number)),
                            }
                        }
                        state.globals += 1;
                    }
                }
                EXPORT => {
                    for export in wasmparser::ExportSectionReader::new(reader)? {
                        let export = export?;
                        match export.kind {
                            ExternalKind::Func | ExternalKind::FuncExact => {
                                state.check_function(export.index)?;
                            }
                            ExternalKind::Global => state.check_global(export.index)?,
                            ExternalKind::Table | ExternalKind::Memory | ExternalKind::Tag => {}
                        }
                    }
                }
                START => state.check_function(BinaryReader::new(content, 0).read_var_u32()?)?,
                ELEMENT => {
                    for element in wasmparser::ElementSectionReader::new(reader)? {
                        let element = element?;
                        if let ElementKind::Active { offset_expr, .. } = &element.kind {
                            state.check_constant(offset_expr)?;
                        }
                        match element.items {
                            ElementItems::Functions(functions) => {
                                for function in functions {
                                    state.check_function(function?)?;
                                }
                            }
                            ElementItems::Expressions(_, constants) => {
                                for constant in constants {
                                    state.check_constant(&constant?)?;
                                }
                            }
                        }
                    }
                }
                CODE => {
                    for body in wasmparser::CodeSectionReader::new(reader)? {
                        let mut operators = body?.get_operators_reader()?;
                        while !operators.eof() {
                            state.check(&operators.read()?)?;
                        }
                    }
                }
                DATA => {
                    for data in wasmparser::DataSectionReader::new(reader)? {
                        if let DataKind::Active { offset_expr, .. } = data?.kind {
                            state.check_constant(&offset_expr)?;
                            let offset = offset_expr.get_operators_reader().read()?;
                            if let Operator::I32Const { value } = offset {
                                let begins = value.cast_unsigned();
                                contents = Some(contents.unwrap_or(begins).min(begins));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        state.contents = contents.unwrap_or_default();
        if memories > 1 {
            return Err(Unfit::Has("several memories"));
        }
        Ok(state)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.mutable.is_empty() && !self.memory
    }

    /// Whether an instruction changes only memory and the module's own globals.
    fn check(&self, operator: &Operator<'_>) -> Result<()> {
        match *operator {
            Operator::TableSet { .. }
            | Operator::TableGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::ElemDrop { .. }
            | Operator::DataDrop { .. } => {
                Err(Unfit::Has("instructions that change tables or segments"))
            }
            Operator::GlobalGet { global_index } | Operator::GlobalSet { global_index } => {
                self.check_global(global_index)
            }
            Operator::Call { function_index }
            | Operator::ReturnCall { function_index }
            | Operator::RefFunc { function_index } => self.check_function(function_index),
            _ => Ok(()),
        }
    }

    fn check_constant(&self, constant: &Constant<'_>) -> Result<()> {
        let mut operators = constant.get_operators_reader();
        while !operators.eof() {
            self.check(&operators.read()?)?;
        }
        Ok(())
    }

    /// Whether a function is the module's own, and not one that only exists after the
    /// addition.
    fn check_function(&self, index: u32) -> Result<()> {
        match index < self.functions {
            true => Ok(()),
            false => Err(Unfit::Ours),
        }
    }

    /// The same for a global.
    fn check_global(&self, index: u32) -> Result<()> {
        match index < self.globals {
            true => Ok(()),
            false => Err(Unfit::Ours),
        }
    }

    /// The module with the added functions, named [`SAVE`] and so on.
    pub(super) fn write(&self, module: &[u8]) -> Result<Vec<u8>> {
        let mut added = Added::default();
        let kept = self.globals;
        for (_, ty) in &self.mutable {
            added.global(*ty);
        }
        let scratch = kept + u32::try_from(self.mutable.len()).unwrap_or(u32::MAX);
        if self.memory {
            added.global(ValType::I64);
        }
        let [none, gives, takes] = [0, 1, 2].map(|n| self.types + n);
        added.types(&[(&[], &[]), (&[], &[ValType::I32]), (&[ValType::I32], &[])]);
        let place = MemArg {
            offset: SCRATCH.into(),
            align: 3,
            memory_index: 0,
        };
        let from_to = |pairs: &mut dyn Iterator<Item = (u32, u32)>| {
            let mut function = Function::new([]);
            for (from, to) in pairs {
                function.instruction(&Instruction::GlobalGet(from));
                function.instruction(&Instruction::GlobalSet(to));
            }
            function
        };
        let pairs = || self.mutable.iter().map(|(global, _)| *global).zip(kept..);
        let mut first = self.functions;
        let mut add = |added: &mut Added, name, ty, mut function: Function| {
            function.instruction(&Instruction::End);
            added.function(name, first, ty, &function);
            first += 1;
        };
        add(&mut added, SAVE, none, from_to(&mut pairs()));
        let mut restore = from_to(&mut pairs().map(|(global, kept)| (kept, global)));
        restore.instruction(&match self.memory {
            true => Instruction::MemorySize(0),
            false => Instruction::I32Const(0),
        });
        add(&mut added, RESTORE, gives, restore);
        if self.memory {
            let mut memory = Function::new([]);
            self.touch(&mut memory);
            memory
                .instruction(&Instruction::I32Const(0))
                .instruction(&Instruction::I64Load(place))
                .instruction(&Instruction::GlobalSet(scratch))
                .instruction(&Instruction::I32Const(0))
                .instruction(&Instruction::I64Const(0))
                .instruction(&Instruction::I64Store(place))
                .instruction(&Instruction::I32Const(SCRATCH.cast_signed()));
            add(&mut added, MEMORY, gives, memory);
            let mut after = Function::new([]);
            after
                .instruction(&Instruction::I32Const(0))
                .instruction(&Instruction::GlobalGet(scratch))
                .instruction(&Instruction::I64Store(place));
            add(&mut added, AFTER, takes, after);
            added.export(MEMORY_ITSELF, ExportKind::Memory, 0);
        }
        added.write(module)
    }

    /// Writes to the memory's first data and to its end, without changing them. The kernel
    /// maps these as separate areas, like the start, which is written to anyway: an area
    /// that is split before its first write cannot be joined again.
    fn touch(&self, function: &mut Function) {
        const WASM_PAGE_LOG2: i32 = 16;
        let byte = |offset: u32| MemArg {
            offset: offset.into(),
            align: 0,
            memory_index: 0,
        };
        function
            .instruction(&Instruction::I32Const(0))
            .instruction(&Instruction::I32Const(0))
            .instruction(&Instruction::I32Load8U(byte(self.contents)))
            .instruction(&Instruction::I32Store8(byte(self.contents)));
        for _ in 0..2 {
            function
                .instruction(&Instruction::MemorySize(0))
                .instruction(&Instruction::I32Const(WASM_PAGE_LOG2))
                .instruction(&Instruction::I32Shl)
                .instruction(&Instruction::I32Const(1))
                .instruction(&Instruction::I32Sub);
        }
        function
            .instruction(&Instruction::I32Load8U(byte(0)))
            .instruction(&Instruction::I32Store8(byte(0)));
    }
}

/// Appends entries to sections.
#[derive(Default)]
struct Added([(u32, Vec<u8>); 5]);

impl Added {
    const IDS: [u8; 5] = [TYPE, FUNCTION, GLOBAL, EXPORT, CODE];

    fn entry(&mut self, id: u8) -> &mut Vec<u8> {
        let at = Self::IDS
            .iter()
            .position(|one| *one == id)
            .unwrap_or_default();
        let (count, bytes) = &mut self.0[at];
        *count += 1;
        bytes
    }

    fn types(&mut self, types: &[(&[ValType], &[ValType])]) {
        const FUNCTION: u8 = 0x60;
        for (takes, gives) in types {
            let bytes = self.entry(TYPE);
            bytes.push(FUNCTION);
            takes.encode(bytes);
            gives.encode(bytes);
        }
    }

    fn global(&mut self, val_type: ValType) {
        let zero = match val_type {
            ValType::I32 => ConstExpr::i32_const(0),
            ValType::I64 => ConstExpr::i64_const(0),
            ValType::F32 => ConstExpr::f32_const(0.0.into()),
            ValType::F64 => ConstExpr::f64_const(0.0.into()),
            _ => ConstExpr::v128_const(0),
        };
        let bytes = self.entry(GLOBAL);
        GlobalType {
            val_type,
            mutable: true,
            shared: false,
        }
        .encode(bytes);
        zero.encode(bytes);
    }

    fn function(&mut self, name: &str, index: u32, ty: u32, body: &Function) {
        ty.encode(self.entry(FUNCTION));
        body.encode(self.entry(CODE));
        self.export(name, ExportKind::Func, index);
    }

    fn export(&mut self, name: &str, kind: ExportKind, index: u32) {
        let bytes = self.entry(EXPORT);
        name.encode(bytes);
        kind.encode(bytes);
        index.encode(bytes);
    }

    fn write(self, module: &[u8]) -> Result<Vec<u8>> {
        let mut all: Vec<(u8, Vec<u8>)> = Vec::new();
        for (id, content) in sections(module)? {
            all.push((id, content.to_vec()));
        }
        for (id, (count, entries)) in Self::IDS.into_iter().zip(self.0) {
            if count == 0 {
                continue;
            }
            let found = all.iter_mut().find(|(other, _)| *other == id);
            let (before, rest) = match &found {
                Some((_, content)) => {
                    let mut reader = BinaryReader::new(content, 0);
                    let before = reader.read_var_u32()?;
                    (before, content[reader.original_position()..].to_vec())
                }
                None => (0, Vec::new()),
            };
            let mut content = Vec::new();
            (before + count).encode(&mut content);
            content.extend(rest);
            content.extend(entries);
            match found {
                Some((_, found)) => *found = content,
                None => {
                    let later =
                        |(other, _): &(u8, Vec<u8>)| *other != CUSTOM && order(*other) > order(id);
                    let at = all.iter().position(later).unwrap_or(all.len());
                    all.insert(at, (id, content));
                }
            }
        }
        let mut bytes = module[..8].to_vec();
        for (id, content) in all {
            write_section(&mut bytes, id, &content);
        }
        Ok(bytes)
    }
}
