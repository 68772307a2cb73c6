//! What decides how a core module becomes a component, read from the module once.

use wasmparser::{ExternalKind, KnownCustom, Parser, Payload, ProducersSectionReader};

/// The custom sections in which bindings generators keep the module's world.
const COMPONENT_TYPE: &str = "component-type";

/// The generators of bindings whose version decides; `wit-bindgen-rust`, `wit-bindgen-c`, …
const BINDGEN: &str = "wit-bindgen";

/// What a core module tells about its making.
#[derive(Debug, Default)]
pub(crate) struct ModuleInfo {
    /// It exports a function `_start`.
    pub(crate) start: bool,
    /// It exports the allocator of today's bindings or that of wit-bindgen 0.2.
    pub(crate) realloc: bool,
    /// An export only modules of the legacy Spin ABI have.
    pub(crate) legacy_export: Option<String>,
    /// It has a section with its world.
    pub(crate) component_type: bool,
    /// The version of wit-bindgen that wrote that section.
    pub(crate) bindgen: Option<String>,
    /// The version of clang that compiled it.
    pub(crate) clang: Option<String>,
}

impl ModuleInfo {
    /// Reads the sections that matter; function bodies are skipped.
    pub(crate) fn read(module: &[u8]) -> wasmparser::Result<Self> {
        let mut info = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            info.note_export(export.name);
                        }
                    }
                }
                Payload::CustomSection(section) if section.name().starts_with(COMPONENT_TYPE) => {
                    info.component_type = true;
                    if info.bindgen.is_none() {
                        info.bindgen = bindgen_version(section.data())?;
                    }
                }
                Payload::CustomSection(section) => {
                    if let KnownCustom::Producers(producers) = section.as_known() {
                        info.clang = processed_by(producers, |name| name == "clang")?;
                    }
                }
                _ => {}
            }
        }
        Ok(info)
    }

    fn note_export(&mut self, name: &str) {
        match name {
            "_start" => self.start = true,
            "cabi_realloc" => self.realloc = true,
            "canonical_abi_realloc" => {
                self.realloc = true;
                self.legacy_export.get_or_insert_with(|| name.to_owned());
            }
            "handle-http-request" | "handle-redis-message" => {
                self.legacy_export = Some(name.to_owned());
            }
            _ => {}
        }
    }
}

/// Looks for wit-bindgen among the producers inside a `component-type` section, which
/// is a small WebAssembly binary of its own.
fn bindgen_version(section: &[u8]) -> wasmparser::Result<Option<String>> {
    for payload in Parser::new(0).parse_all(section) {
        // Early generators wrote another encoding, which has no version to find.
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
