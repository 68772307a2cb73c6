//! What is added to a component before it is compiled, so that its instances can be
//! rewound: functions that keep and restore the globals of each module, and one that
//! tells where its memory lies. wasmtime gives a host neither, and a component keeps
//! both to itself.
//!
//! All of it is added at the end, so that no index of what is there changes.

use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentSection, ComponentTypeSection, ConstExpr, Encode as _,
    ExportKind, Function, GlobalType, Instruction, MemArg, PrimitiveValType, ValType,
};
use wasmparser::{
    BinaryReader, CanonicalFunction, ComponentAlias, ComponentExternalKind,
    ComponentOuterAliasKind, ComponentType, ComponentTypeRef, CompositeInnerType, DataKind,
    ExternalKind, Instance, Operator, TypeRef, Validator, WasmFeatures,
};

/// How the names of what is added begin. A component that has such names itself is not
/// compiled.
pub(crate) const PREFIX: &str = "skiff-rewind-";

/// What is added, and to what: part of the key of compiled code.
pub(crate) const VERSION: u32 = 2;

/// Keeps the globals of a module as they are: `func()`.
pub(super) const SAVE: &str = "skiff-rewind-save-";
/// Gives them what was kept: `func() -> u32`, the pages of the memory.
pub(super) const RESTORE: &str = "skiff-rewind-restore-";
/// Tells where the memory lies: `func() -> list<u8>`, of no bytes at its beginning.
pub(super) const MEMORY: &str = "skiff-rewind-memory-";
/// What is run when that was read.
const AFTER: &str = "skiff-rewind-after-";

/// Where the length and place of that list are for as long as it is read.
const SCRATCH: u32 = 16;

/// What answers HTTP requests and may be rewound between them.
const HANDLER: &str = "wasi:http/incoming-handler@0.2.";

/// Why something is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is no binary that is understood here, or not valid.
    Unreadable,
    /// It has something whose state is not kept here, or nothing to serve.
    Has(&'static str),
}

impl From<wasmparser::BinaryReaderError> for Unfit {
    fn from(_: wasmparser::BinaryReaderError) -> Self {
        Unfit::Unreadable
    }
}

type Result<T> = std::result::Result<T, Unfit>;

/// The sections of a module or component, as they are.
fn sections(bytes: &[u8]) -> Result<Vec<(u8, &[u8])>> {
    const HEADER: usize = 8;
    let mut reader = BinaryReader::new(bytes.get(HEADER..).ok_or(Unfit::Unreadable)?, HEADER);
    let mut sections = Vec::new();
    while !reader.eof() {
        let id = reader.read_u8()?;
        let length = reader.read_var_u32()? as usize;
        sections.push((id, reader.read_bytes(length)?));
    }
    Ok(sections)
}

fn write_section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    bytes.push(id);
    content.encode(bytes);
}

/// Ids of sections of a module.
mod module {
    pub(super) const CUSTOM: u8 = 0;
    pub(super) const TYPE: u8 = 1;
    pub(super) const IMPORT: u8 = 2;
    pub(super) const FUNCTION: u8 = 3;
    pub(super) const MEMORY: u8 = 5;
    pub(super) const GLOBAL: u8 = 6;
    pub(super) const EXPORT: u8 = 7;
    pub(super) const CODE: u8 = 10;
    pub(super) const DATA: u8 = 11;
    pub(super) const TAG: u8 = 13;
    pub(super) const DATA_COUNT: u8 = 12;

    /// Where a section has its place.
    pub(super) fn order(id: u8) -> usize {
        const ORDER: [u8; 13] = [
            TYPE, IMPORT, FUNCTION, 4, MEMORY, TAG, GLOBAL, EXPORT, 8, 9, DATA_COUNT, CODE, 11,
        ];
        ORDER
            .iter()
            .position(|one| *one == id)
            .unwrap_or(ORDER.len())
    }
}

/// What a module has that a request may change.
#[derive(Default)]
struct State {
    types: u32,
    functions: u32,
    globals: u32,
    mutable: Vec<(u32, ValType)>,
    memory: bool,
    /// Where its first contents begin.
    contents: u32,
}

impl State {
    /// # Errors
    /// Where it has something else that a request may change.
    fn of(module: &[u8]) -> Result<State> {
        let mut state = State::default();
        let mut memories = 0;
        let mut contents = None;
        for (id, content) in sections(module)? {
            let reader = BinaryReader::new(content, 0);
            match id {
                module::TYPE => {
                    for group in wasmparser::TypeSectionReader::new(reader)? {
                        for ty in group?.types() {
                            let CompositeInnerType::Func(_) = ty.composite_type.inner else {
                                return Err(Unfit::Has("collected objects"));
                            };
                            state.types += 1;
                        }
                    }
                }
                module::IMPORT => {
                    for import in wasmparser::ImportSectionReader::new(reader)?.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => state.functions += 1,
                            TypeRef::Global(_) => state.globals += 1,
                            TypeRef::Memory(_) => memories += 1,
                            TypeRef::Table(_) | TypeRef::Tag(_) => {}
                        }
                    }
                }
                module::FUNCTION => {
                    state.functions += wasmparser::FunctionSectionReader::new(reader)?.count();
                }
                module::MEMORY => {
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
                module::GLOBAL => {
                    for global in wasmparser::GlobalSectionReader::new(reader)? {
                        let ty = global?.ty;
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
                module::CODE => {
                    for body in wasmparser::CodeSectionReader::new(reader)? {
                        let mut operators = body?.get_operators_reader()?;
                        while !operators.eof() {
                            if changes_more(&operators.read()?) {
                                return Err(Unfit::Has(
                                    "instructions that change tables or segments",
                                ));
                            }
                        }
                    }
                }
                module::DATA => {
                    for data in wasmparser::DataSectionReader::new(reader)? {
                        if let DataKind::Active { offset_expr, .. } = data?.kind
                            && let Operator::I32Const { value } =
                                offset_expr.get_operators_reader().read()?
                        {
                            let begins = value.cast_unsigned();
                            contents = Some(contents.unwrap_or(begins).min(begins));
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

    fn is_empty(&self) -> bool {
        self.mutable.is_empty() && !self.memory
    }

    /// The module with the functions that [`SAVE`] and the others name.
    fn write(&self, module: &[u8]) -> Result<Vec<u8>> {
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
            // A piece of its own to the kernel, which has to be written to before it is
            // watched, as the others are.
            let contents = MemArg {
                offset: self.contents.into(),
                align: 0,
                memory_index: 0,
            };
            let mut memory = Function::new([]);
            memory
                .instruction(&Instruction::I32Const(0))
                .instruction(&Instruction::I32Const(0))
                .instruction(&Instruction::I32Load8U(contents))
                .instruction(&Instruction::I32Store8(contents))
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
            added.export(MEMORY, ExportKind::Memory, 0);
        }
        added.write(module)
    }
}

/// Whether it changes what is neither a memory nor a global.
fn changes_more(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::TableSet { .. }
            | Operator::TableGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::ElemDrop { .. }
            | Operator::DataDrop { .. }
    )
}

/// Entries at the end of sections.
#[derive(Default)]
struct Added([(u32, Vec<u8>); 5]);

impl Added {
    const IDS: [u8; 5] = [
        module::TYPE,
        module::FUNCTION,
        module::GLOBAL,
        module::EXPORT,
        module::CODE,
    ];

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
            let bytes = self.entry(module::TYPE);
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
        let bytes = self.entry(module::GLOBAL);
        GlobalType {
            val_type,
            mutable: true,
            shared: false,
        }
        .encode(bytes);
        zero.encode(bytes);
    }

    fn function(&mut self, name: &str, index: u32, ty: u32, body: &Function) {
        ty.encode(self.entry(module::FUNCTION));
        body.encode(self.entry(module::CODE));
        self.export(name, ExportKind::Func, index);
    }

    fn export(&mut self, name: &str, kind: ExportKind, index: u32) {
        let bytes = self.entry(module::EXPORT);
        // Exports of all kinds share their names.
        let name = match kind {
            ExportKind::Memory => format!("{name}itself"),
            _ => name.to_owned(),
        };
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
                    let later = |(other, _): &(u8, Vec<u8>)| {
                        *other != module::CUSTOM && module::order(*other) > module::order(id)
                    };
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

/// How many there are of each kind in a component, outside of what is nested in it.
#[derive(Default)]
struct Counts {
    types: u32,
    functions: u32,
    core_functions: u32,
    core_memories: u32,
    /// Of which module each instance is, where it is of one.
    core_instances: Vec<Option<u32>>,
    serves: bool,
}

impl Counts {
    fn kind(&mut self, kind: ComponentExternalKind) -> Result<()> {
        match kind {
            ComponentExternalKind::Func => self.functions += 1,
            ComponentExternalKind::Type => self.types += 1,
            ComponentExternalKind::Module => return Err(Unfit::Has("modules of others")),
            ComponentExternalKind::Value
            | ComponentExternalKind::Instance
            | ComponentExternalKind::Component => {}
        }
        Ok(())
    }

    fn section(&mut self, id: u8, content: &[u8]) -> Result<()> {
        let reader = BinaryReader::new(content, 0);
        match id {
            2 => {
                for instance in wasmparser::InstanceSectionReader::new(reader)? {
                    self.core_instances.push(match instance? {
                        Instance::Instantiate { module_index, .. } => Some(module_index),
                        Instance::FromExports(_) => None,
                    });
                }
            }
            // What only has types and passes functions on has no state.
            4 if has_state(content)? => return Err(Unfit::Has("components inside")),
            6 => {
                for alias in wasmparser::ComponentAliasSectionReader::new(reader)? {
                    match alias? {
                        ComponentAlias::InstanceExport { kind, .. } => self.kind(kind)?,
                        ComponentAlias::CoreInstanceExport { kind, .. } => match kind {
                            ExternalKind::Func | ExternalKind::FuncExact => {
                                self.core_functions += 1;
                            }
                            ExternalKind::Memory => self.core_memories += 1,
                            ExternalKind::Table | ExternalKind::Global | ExternalKind::Tag => {}
                        },
                        ComponentAlias::Outer { kind, .. } => match kind {
                            ComponentOuterAliasKind::Type => self.types += 1,
                            ComponentOuterAliasKind::CoreModule => {
                                return Err(Unfit::Has("modules of others"));
                            }
                            ComponentOuterAliasKind::CoreType
                            | ComponentOuterAliasKind::Component => {}
                        },
                    }
                }
            }
            7 => {
                for ty in wasmparser::ComponentTypeSectionReader::new(reader)? {
                    if matches!(ty?, ComponentType::Resource { .. }) {
                        return Err(Unfit::Has("resources of its own"));
                    }
                    self.types += 1;
                }
            }
            8 => {
                for canonical in wasmparser::ComponentCanonicalSectionReader::new(reader)? {
                    let options = match &canonical? {
                        CanonicalFunction::Lift { options, .. } => {
                            self.functions += 1;
                            options.clone()
                        }
                        CanonicalFunction::Lower { options, .. } => {
                            self.core_functions += 1;
                            options.clone()
                        }
                        CanonicalFunction::ResourceDrop { .. } => {
                            self.core_functions += 1;
                            Box::default()
                        }
                        _ => return Err(Unfit::Has("tasks")),
                    };
                    if options
                        .iter()
                        .any(|it| matches!(it, wasmparser::CanonicalOption::Async))
                    {
                        return Err(Unfit::Has("tasks"));
                    }
                }
            }
            9 => return Err(Unfit::Has("a start function")),
            10 => {
                for import in wasmparser::ComponentImportSectionReader::new(reader)? {
                    match import?.ty {
                        ComponentTypeRef::Func(_) => self.functions += 1,
                        ComponentTypeRef::Type(_) => self.types += 1,
                        ComponentTypeRef::Module(_) => return Err(Unfit::Has("modules of others")),
                        ComponentTypeRef::Value(_)
                        | ComponentTypeRef::Instance(_)
                        | ComponentTypeRef::Component(_) => {}
                    }
                }
            }
            11 => {
                for export in wasmparser::ComponentExportSectionReader::new(reader)? {
                    let export = export?;
                    self.serves |= export.name.name.starts_with(HANDLER);
                    self.kind(export.kind)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a nested component has modules, instances of them, functions of its own, or
/// components that could.
fn has_state(component: &[u8]) -> Result<bool> {
    let mut sections = sections(component)?.into_iter();
    Ok(sections.any(|(id, _)| matches!(id, 1 | 2 | 4 | 8)))
}

/// Whether a component has names that are kept for what is added here.
pub(crate) fn has_our_names(component: &[u8]) -> bool {
    let Ok(sections) = sections(component) else {
        return false;
    };
    let exports = sections.iter().filter(|(id, _)| *id == 11);
    let names = exports.filter_map(|(_, content)| {
        wasmparser::ComponentExportSectionReader::new(BinaryReader::new(content, 0)).ok()
    });
    names
        .flatten()
        .flatten()
        .any(|export| export.name.name.starts_with(PREFIX))
}

/// A component whose instances can be rewound.
///
/// # Errors
/// What keeps it from that; the component is then to be compiled as it is.
pub(crate) fn rewindable(component: &[u8]) -> Result<Vec<u8>> {
    // Or it could name what is added here.
    Validator::new_with_features(WasmFeatures::all()).validate_all(component)?;
    let sections = sections(component)?;
    let mut counts = Counts::default();
    let mut modules = Vec::new();
    for (id, content) in &sections {
        match id {
            1 => modules.push((State::of(content)?, *content)),
            _ => counts.section(*id, content)?,
        }
    }
    if !counts.serves {
        return Err(Unfit::Has("no handler"));
    }
    let mut bytes = component.get(..8).ok_or(Unfit::Unreadable)?.to_vec();
    let mut states = modules.iter();
    for (id, content) in &sections {
        match (id, *id == 1) {
            (_, true) => match states.next() {
                Some((state, _)) if !state.is_empty() => {
                    write_section(&mut bytes, 1, &state.write(content)?);
                }
                _ => write_section(&mut bytes, 1, content),
            },
            _ => write_section(&mut bytes, *id, content),
        }
    }
    let mut types = ComponentTypeSection::new();
    types.defined_type().list(PrimitiveValType::U8);
    let list = counts.types;
    types
        .function()
        .params::<_, wasm_encoder::ComponentValType>([])
        .result(None);
    types
        .function()
        .params::<_, wasm_encoder::ComponentValType>([])
        .result(Some(PrimitiveValType::U32.into()));
    types
        .function()
        .params::<_, wasm_encoder::ComponentValType>([])
        .result(Some(wasm_encoder::ComponentValType::Type(list)));
    let [save, restore, memory] = [1, 2, 3].map(|n| list + n);
    let mut aliases = ComponentAliasSection::new();
    let mut lifts = CanonicalFunctionSection::new();
    let mut exports = ComponentExportSection::new();
    let instances = counts.core_instances.iter().enumerate();
    for (number, (instance, state)) in instances
        .filter_map(|(instance, module)| {
            let (state, _) = modules.get((*module)? as usize)?;
            (!state.is_empty()).then_some((instance, state))
        })
        .enumerate()
    {
        let instance = u32::try_from(instance).unwrap_or(u32::MAX);
        let mut alias = |name: &str, kind| {
            aliases.alias(Alias::CoreInstanceExport {
                instance,
                kind,
                name,
            });
        };
        let mut function = |name: &str| {
            alias(name, ExportKind::Func);
            counts.core_functions += 1;
            counts.core_functions - 1
        };
        let mut lifted = vec![(SAVE, function(SAVE), save, Vec::new())];
        lifted.push((RESTORE, function(RESTORE), restore, Vec::new()));
        if state.memory {
            let (tells, after) = (function(MEMORY), function(AFTER));
            alias(&format!("{MEMORY}itself"), ExportKind::Memory);
            let options = vec![
                CanonicalOption::Memory(counts.core_memories),
                CanonicalOption::PostReturn(after),
            ];
            counts.core_memories += 1;
            lifted.push((MEMORY, tells, memory, options));
        }
        for (name, function, ty, options) in lifted {
            lifts.lift(function, ty, options);
            let name = format!("{name}n{number}");
            exports.export(&*name, ComponentExportKind::Func, counts.functions, None);
            counts.functions += 1;
        }
    }
    append(&mut bytes, &types);
    append(&mut bytes, &aliases);
    append(&mut bytes, &lifts);
    append(&mut bytes, &exports);
    Ok(bytes)
}

fn append(bytes: &mut Vec<u8>, section: &impl ComponentSection) {
    section.append_to_component(bytes);
}
