//! A component's imports and exports, without compiling it.

use wasmparser::{Encoding, MemoryType, Parser, Payload};

use crate::{Cause, WasmKind};

/// The names of a component's imports and exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    /// A component, or a core module that runs unchanged.
    pub kind: WasmKind,
    /// Its imports, in order; for a core module, the modules that it imports from.
    pub imports: Vec<String>,
    /// Its exports, in order.
    pub exports: Vec<String>,
    /// Size in bytes of the largest linear memory at the start.
    pub memory: u64,
}

/// Bytes that are neither a component nor a core module.
#[derive(Debug, thiserror::Error)]
#[error("it is not a valid component")]
pub struct BoundaryError(#[source] Cause);

impl From<wasmparser::BinaryReaderError> for BoundaryError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        BoundaryError(error.into())
    }
}

/// Lists the imports and exports of a component, or of a core module.
///
/// # Errors
/// If the bytes are damaged.
pub fn boundary(bytes: &[u8]) -> Result<Boundary, BoundaryError> {
    let mut boundary = Boundary {
        kind: WasmKind::Component,
        imports: Vec::new(),
        exports: Vec::new(),
        memory: 0,
    };
    // Components can be nested; only the outermost one's imports and exports count.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding, .. } => {
                if depth == 0 && encoding == Encoding::Module {
                    boundary.kind = WasmKind::Module;
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    boundary.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    boundary.exports.push(export?.name.name.to_owned());
                }
            }
            Payload::ImportSection(section) if depth == 1 => {
                for import in section.into_imports() {
                    let module = import?.module;
                    if !boundary.imports.iter().any(|known| known == module) {
                        boundary.imports.push(module.to_owned());
                    }
                }
            }
            Payload::ExportSection(section) if depth == 1 => {
                for export in section {
                    boundary.exports.push(export?.name.to_owned());
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    boundary.memory = boundary.memory.max(at_start(&memory?));
                }
            }
            _ => {}
        }
    }
    Ok(boundary)
}

/// Size in bytes of a memory at the start.
fn at_start(memory: &MemoryType) -> u64 {
    let page = 1_u64
        .checked_shl(memory.page_size_log2.unwrap_or(16))
        .unwrap_or(u64::MAX);
    memory.initial.saturating_mul(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_has_no_boundary() {
        assert!(boundary(b"nonsense").is_err());
    }

    #[test]
    fn an_empty_component_has_an_empty_one() {
        let empty = boundary(b"\0asm\x0d\0\x01\0").unwrap();
        assert_eq!(empty.kind, WasmKind::Component);
        assert!(empty.imports.is_empty() && empty.exports.is_empty() && empty.memory == 0);
    }

    #[test]
    fn a_module_has_its_own_names_and_the_largest_memory_counts() {
        let text = r#"(module (import "a" "x" (func)) (import "a" "y" (func)) (import "b" "x" (func))
            (memory 1) (memory 3) (func (export "_start")))"#;
        let module = boundary(&wat::parse_str(text).unwrap()).unwrap();
        assert_eq!(module.kind, WasmKind::Module);
        assert_eq!(module.imports, ["a", "b"]);
        assert_eq!(module.exports, ["_start"]);
        assert_eq!(module.memory, 3 << 16);
        let inside = format!("(component (core {}", text.trim_start_matches('('));
        let component = boundary(&wat::parse_str(format!("{inside})")).unwrap()).unwrap();
        assert_eq!(component.kind, WasmKind::Component);
        assert!(component.imports.is_empty() && component.exports.is_empty());
        assert_eq!(component.memory, 3 << 16);
    }
}
