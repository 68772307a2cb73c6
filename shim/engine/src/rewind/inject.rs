//! Code added to a component before compilation so that its instances can be rewound:
//! functions that save and restore the globals of each module, and one that returns where
//! its memory is. wasmtime gives a host access to neither, and a component exports neither.
//!
//! Everything is added at the end, so that no existing index changes.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentSection as _, ComponentTypeSection, ComponentValType,
    Encode as _, ExportKind, PrimitiveValType,
};
use wasmparser::{
    BinaryReader, CanonicalFunction, ComponentAlias, ComponentExternalKind,
    ComponentOuterAliasKind, ComponentType, ComponentTypeRef, ExternalKind, Instance,
};

use module::State;

mod module;

/// The prefix of the added names. A component that already has such names is not compiled.
pub(crate) const PREFIX: &str = "skiff-rewind-";

/// The version of what is added: part of the key of compiled code.
pub(crate) const VERSION: u32 = 3;

/// Saves the globals of a module: `func()`.
pub(super) const SAVE: &str = "skiff-rewind-save-";
/// Restores them: `func() -> u32`, which returns the pages of the memory.
pub(super) const RESTORE: &str = "skiff-rewind-restore-";
/// Returns where the memory is: `func() -> list<u8>`, an empty list at its start.
pub(super) const MEMORY: &str = "skiff-rewind-memory-";
/// Called after that was read, inside the module.
const AFTER: &str = "skiff-rewind-after-";
/// The memory, inside the module.
const MEMORY_ITSELF: &str = "skiff-rewind-memory";

/// Exports that answer HTTP requests and may be rewound in between.
const HANDLER: &str = "wasi:http/incoming-handler@0.2.";

/// Why a component is left unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is not valid, or not a binary that is understood here.
    Unreadable,
    /// It uses names that only exist after the addition, so it is not valid.
    Ours,
    /// It has state that is not saved here, or does not serve requests.
    Has(&'static str),
}

impl From<wasmparser::BinaryReaderError> for Unfit {
    fn from(_: wasmparser::BinaryReaderError) -> Self {
        Unfit::Unreadable
    }
}

type Result<T> = std::result::Result<T, Unfit>;

/// The sections of a module or component, unchanged.
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

/// Ids of a component's sections.
const MODULE: u8 = 1;
const CORE_INSTANCE: u8 = 2;
const COMPONENT: u8 = 4;
const ALIAS: u8 = 6;
const TYPE: u8 = 7;
const CANONICAL: u8 = 8;
const START: u8 = 9;
const IMPORT: u8 = 10;
const EXPORT: u8 = 11;

/// How many items of each kind a component has, excluding nested components.
#[derive(Default)]
struct Counts {
    types: u32,
    functions: u32,
    core_functions: u32,
    core_memories: u32,
    /// The module of each instance, if it is an instance of one.
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
            CORE_INSTANCE => {
                for instance in wasmparser::InstanceSectionReader::new(reader)? {
                    self.core_instances.push(match instance? {
                        Instance::Instantiate { module_index, .. } => Some(module_index),
                        Instance::FromExports(_) => None,
                    });
                }
            }
            // A component that only has types and passes functions on has no state.
            COMPONENT if has_state(content)? => return Err(Unfit::Has("components inside")),
            ALIAS => {
                for alias in wasmparser::ComponentAliasSectionReader::new(reader)? {
                    match alias? {
                        ComponentAlias::InstanceExport { kind, .. } => self.kind(kind)?,
                        ComponentAlias::CoreInstanceExport { name, .. }
                            if name.starts_with(PREFIX) =>
                        {
                            return Err(Unfit::Ours);
                        }
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
            TYPE => {
                for ty in wasmparser::ComponentTypeSectionReader::new(reader)? {
                    if matches!(ty?, ComponentType::Resource { .. }) {
                        return Err(Unfit::Has("resources of its own"));
                    }
                    self.types += 1;
                }
            }
            CANONICAL => {
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
            START => return Err(Unfit::Has("a start function")),
            IMPORT => {
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
            EXPORT => {
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
/// components that could have these.
fn has_state(component: &[u8]) -> Result<bool> {
    let mut sections = sections(component)?.into_iter();
    Ok(sections.any(|(id, _)| matches!(id, MODULE | CORE_INSTANCE | COMPONENT | CANONICAL)))
}

/// Whether a component has names that are reserved for what is added here.
pub(crate) fn has_our_names(component: &[u8]) -> bool {
    let Ok(sections) = sections(component) else {
        return false;
    };
    let exports = sections.iter().filter(|(id, _)| *id == EXPORT);
    let names = exports.filter_map(|(_, content)| {
        wasmparser::ComponentExportSectionReader::new(BinaryReader::new(content, 0)).ok()
    });
    names
        .flatten()
        .flatten()
        .any(|export| export.name.name.starts_with(PREFIX))
}

/// Makes a component whose instances can be rewound.
///
/// # Errors
/// Why that is not possible; the component is then to be compiled unchanged.
pub(crate) fn rewindable(component: &[u8]) -> Result<Vec<u8>> {
    let sections = sections(component)?;
    let mut counts = Counts::default();
    for (id, content) in &sections {
        counts.section(*id, content)?;
    }
    // Modules are large: most unfit components are recognised before they are looked at.
    if !counts.serves {
        return Err(Unfit::Has("no handler"));
    }
    let mut bytes = component.get(..8).ok_or(Unfit::Unreadable)?.to_vec();
    let mut modules = Vec::new();
    for (id, content) in &sections {
        if *id != MODULE {
            write_section(&mut bytes, *id, content);
            continue;
        }
        let state = State::of(content)?;
        match state.is_empty() {
            true => write_section(&mut bytes, MODULE, content),
            false => write_section(&mut bytes, MODULE, &state.write(content)?),
        }
        modules.push(state);
    }
    let mut types = ComponentTypeSection::new();
    types.defined_type().list(PrimitiveValType::U8);
    let list = counts.types;
    for result in [
        None,
        Some(PrimitiveValType::U32.into()),
        Some(ComponentValType::Type(list)),
    ] {
        let nothing: [(&str, ComponentValType); 0] = [];
        types.function().params(nothing).result(result);
    }
    let [save, restore, memory] = [1, 2, 3].map(|n| list + n);
    let mut aliases = ComponentAliasSection::new();
    let mut lifts = CanonicalFunctionSection::new();
    let mut exports = ComponentExportSection::new();
    let instances = counts.core_instances.iter().enumerate();
    for (number, (instance, state)) in instances
        .filter_map(|(instance, module)| {
            let state = modules.get((*module)? as usize)?;
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
            alias(MEMORY_ITSELF, ExportKind::Memory);
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
    types.append_to_component(&mut bytes);
    aliases.append_to_component(&mut bytes);
    lifts.append_to_component(&mut bytes);
    exports.append_to_component(&mut bytes);
    Ok(bytes)
}
