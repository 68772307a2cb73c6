//! What a component asks for and offers, without compiling it.

use wasmparser::{Encoding, Parser, Payload};

use crate::Cause;

/// Names at a component's boundary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boundary {
    /// What it imports, in order.
    pub imports: Vec<String>,
    /// What it exports, in order.
    pub exports: Vec<String>,
}

/// Bytes that are no component.
#[derive(Debug, thiserror::Error)]
#[error("it is not a valid component")]
pub struct BoundaryError(#[source] Cause);

/// Lists the imports and exports of a component.
///
/// # Errors
/// Where the bytes are damaged, or are a core module.
pub fn boundary(component: &[u8]) -> Result<Boundary, BoundaryError> {
    let mut boundary = Boundary::default();
    // Components nest; only what belongs to the outermost one is its boundary.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|error| BoundaryError(error.into()))? {
            Payload::Version { encoding, .. } => {
                if depth == 0 && encoding == Encoding::Module {
                    return Err(BoundaryError("it is a core module".into()));
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let import = import.map_err(|error| BoundaryError(error.into()))?;
                    boundary.imports.push(import.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export.map_err(|error| BoundaryError(error.into()))?;
                    boundary.exports.push(export.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(boundary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_and_nonsense_have_no_boundary() {
        assert!(boundary(b"\0asm\x01\0\0\0").is_err());
        assert!(boundary(b"nonsense").is_err());
    }

    #[test]
    fn an_empty_component_has_an_empty_one() {
        assert_eq!(boundary(b"\0asm\x0d\0\x01\0").unwrap(), Boundary::default());
    }
}
