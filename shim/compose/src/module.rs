//! Reads once from a core module what decides how it is run.

use wasmparser::{ExternalKind, KnownCustom, Parser, Payload, ProducersSectionReader, TypeRef};

use crate::Cause;

/// The custom sections in which bindings generators keep the module's world.
const COMPONENT_TYPE: &str = "component-type";

/// The bindings generators whose version matters: `wit-bindgen-rust`, `wit-bindgen-c`, …
const BINDGEN: &str = "wit-bindgen";

/// The section that Go's own linker leaves (not TinyGo's).
const GO_BUILD: &str = "go:buildid";

/// The modules that preview 1 modules, and their predecessors, import from.
const PREVIEW_1: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// What a core module shows about its toolchain.
#[derive(Debug, Default)]
pub(crate) struct ModuleInfo {
    /// It exports a function `_start`.
    pub(crate) start: bool,
    /// It exports an allocator that the adapter can ask for memory.
    pub(crate) realloc: bool,
    /// It imports only functions of preview 1.
    pub(crate) preview_1_only: bool,
    /// It exports a handler that only modules of Spin 1 have.
    pub(crate) legacy_handler: bool,
    /// It exports the allocator of wit-bindgen 0.2.
    pub(crate) legacy_realloc: bool,
    /// The world that its bindings were generated from.
    pub(crate) world: Option<World>,
    /// The version of clang that compiled it.
    pub(crate) clang: Option<String>,
    /// It was linked by Go.
    pub(crate) go: bool,
}

/// A world, from the sections that bindings generators leave.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// The version of wit-bindgen that wrote it.
    pub(crate) bindgen: Option<String>,
    /// It has exports, so the module is called by other names than `_start`.
    pub(crate) exports: bool,
}

/// Why a module cannot be read.
#[derive(Debug)]
pub(crate) enum ModuleError {
    /// It is truncated or damaged.
    Damaged(wasmparser::BinaryReaderError),
    /// Its world cannot be read.
    World(Cause),
}

impl From<wasmparser::BinaryReaderError> for ModuleError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        ModuleError::Damaged(error)
    }
}

impl ModuleInfo {
    /// Reads the relevant sections; function bodies are skipped.
    pub(crate) fn read(module: &[u8]) -> Result<Self, ModuleError> {
        let mut info = Self {
            preview_1_only: true,
            ..Self::default()
        };
        let mut world: Option<World> = None;
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        info.preview_1_only &= matches!(import.ty, TypeRef::Func(_))
                            && PREVIEW_1.contains(&import.module);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            info.note_export(export.name);
                        }
                    }
                }
                Payload::CustomSection(section) if section.name().starts_with(COMPONENT_TYPE) => {
                    let world = world.get_or_insert_default();
                    if world.bindgen.is_none() {
                        world.bindgen = bindgen_version(section.data())?;
                    }
                }
                Payload::CustomSection(section) if section.name() == GO_BUILD => info.go = true,
                Payload::CustomSection(section) => {
                    if let KnownCustom::Producers(producers) = section.as_known() {
                        info.clang = processed_by(producers, |name| name == "clang")?;
                    }
                }
                _ => {}
            }
        }
        if let Some(world) = &mut world {
            world.exports = has_exports(module).map_err(ModuleError::World)?;
        }
        info.world = world;
        Ok(info)
    }

    /// Whether it runs to its end unchanged: it starts with `_start`, needs only preview
    /// 1, and has no world by which it is called in another way. Its other exports, such
    /// as an allocator, do not matter.
    pub(crate) fn is_command(&self) -> bool {
        self.start && self.preview_1_only && !self.is_called()
    }

    /// Whether it is called by other names than `_start`.
    pub(crate) fn is_called(&self) -> bool {
        self.legacy_handler || self.world.as_ref().is_some_and(|world| world.exports)
    }

    fn note_export(&mut self, name: &str) {
        match name {
            "_start" => self.start = true,
            "cabi_realloc" | "cabi_realloc_adapter" | "cm32p2_realloc" => self.realloc = true,
            "canonical_abi_realloc" => {
                self.realloc = true;
                self.legacy_realloc = true;
            }
            "handle-http-request" | "handle-redis-message" => self.legacy_handler = true,
            _ => {}
        }
    }
}

/// Whether the worlds of a module export anything. Sections of every generation are read
/// in the same way as the encoder does.
fn has_exports(module: &[u8]) -> Result<bool, Cause> {
    let (_, bound) = wit_component::metadata::decode(module)?;
    Ok(!bound.resolve.worlds[bound.world].exports.is_empty())
}

/// Looks for wit-bindgen among the producers inside a `component-type` section, which is
/// itself a small WebAssembly binary. Up to wit-bindgen 0.16 it follows the world's name
/// and its length.
fn bindgen_version(section: &[u8]) -> wasmparser::Result<Option<String>> {
    let start = section.windows(4).position(|window| window == b"\0asm");
    let inner = &section[start.unwrap_or_default()..];
    for payload in Parser::new(0).parse_all(inner) {
        // Reading the world reports the error.
        let Ok(payload) = payload else {
            return Ok(None);
        };
        if let Payload::CustomSection(inner) = payload
            && let KnownCustom::Producers(producers) = inner.as_known()
            && let Some(version) = processed_by(producers, |name| name.starts_with(BINDGEN))?
        {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

/// The version of the first tool under `processed-by` whose name `wanted` accepts.
fn processed_by(
    producers: ProducersSectionReader<'_>,
    wanted: impl Fn(&str) -> bool,
) -> wasmparser::Result<Option<String>> {
    for field in producers {
        let field = field?;
        if field.name != "processed-by" {
            continue;
        }
        for value in field.values {
            let value = value?;
            if wanted(value.name) {
                return Ok(Some(value.version.to_owned()));
            }
        }
    }
    Ok(None)
}
