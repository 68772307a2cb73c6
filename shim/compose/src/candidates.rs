//! Release candidates of WASI that became a release almost unchanged: a component built
//! for them means the release, and gets its names.

use std::borrow::Cow;
use std::collections::BTreeSet;

use wasm_encoder::reencode::{ReencodeComponent, RoundtripReencoder};
use wasm_encoder::{Component, ComponentExportSection, ComponentImportSection, RawSection};
use wasmparser::{Parser, Payload};

use crate::{Cause, WasmKind, boundary, kind};

/// The versions of a candidate and its release. The newer candidate differs in nothing
/// else. In the older one a few functions have other names or types (request timeouts,
/// incoming trailers, sockets of both address families); a component that imports one of
/// them does not link.
const CANDIDATES: [(&str, &str); 2] = [
    ("0.2.0-rc-2023-11-10", "0.2.0"),
    ("0.3.0-rc-2026-03-15", "0.3.0"),
];

/// The name in the release of a candidate's interface.
fn released(name: &str) -> Option<String> {
    let (interface, version) = name.split_once('@')?;
    let (_, release) = CANDIDATES
        .iter()
        .find(|(candidate, _)| *candidate == version)?;
    interface
        .starts_with("wasi:")
        .then(|| format!("{interface}@{release}"))
}

/// Replaces the names of candidates with those of their releases, for a host that knows
/// only the releases. A component that has both is left unchanged, and so are unreadable
/// bytes: compiling them reports the error.
pub fn settle(bytes: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if kind(&bytes) != Some(WasmKind::Component) {
        return bytes;
    }
    let Ok(boundary) = boundary(&bytes) else {
        return bytes;
    };
    let mut renamed = false;
    for names in [&boundary.imports, &boundary.exports] {
        let mut known = BTreeSet::new();
        for name in names {
            let released = released(name);
            renamed |= released.is_some();
            if !known.insert(released.unwrap_or_else(|| name.clone())) {
                return bytes;
            }
        }
    }
    if !renamed {
        return bytes;
    }
    match rename(&bytes) {
        Ok(renamed) => Cow::Owned(renamed),
        Err(_) => bytes,
    }
}

/// Renames the outermost imports and exports; everything else is copied.
fn rename(bytes: &[u8]) -> Result<Vec<u8>, Cause> {
    let mut renamed = Component::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        match &payload {
            Payload::Version { .. } => {
                depth += 1;
                continue;
            }
            Payload::End(_) => {
                depth = depth.saturating_sub(1);
                continue;
            }
            // Inside a part that was copied as a whole.
            _ if depth > 1 => continue,
            _ => {}
        }
        match payload {
            Payload::ComponentImportSection(section) => {
                let mut imports = ComponentImportSection::new();
                for import in section {
                    let mut import = import?;
                    let name = released(import.name.name);
                    import.name.name = name.as_deref().unwrap_or(import.name.name);
                    let ty = RoundtripReencoder.component_type_ref(import.ty)?;
                    imports.import(import.name, ty);
                }
                renamed.section(&imports);
            }
            Payload::ComponentExportSection(section) => {
                let mut exports = ComponentExportSection::new();
                for export in section {
                    let mut export = export?;
                    let name = released(export.name.name);
                    export.name.name = name.as_deref().unwrap_or(export.name.name);
                    RoundtripReencoder.parse_component_export(&mut exports, export)?;
                }
                renamed.section(&exports);
            }
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    let data = &bytes[range];
                    renamed.section(&RawSection { id, data });
                }
            }
        }
    }
    Ok(renamed.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(version: &str) -> Vec<u8> {
        let text = format!(
            r#"(component
                (import "wasi:clocks/types@{version}" (instance $types (export "f" (func))))
                (import "wasi:nowhere/else@0.3.0-rc-2026-01-06" (instance))
                (component $inside (import "wasi:clocks/types@{version}" (instance)))
                (instance $out (export "f" (func $types "f")))
                (export "wasi:http/handler@{version}" (instance $out)))"#
        );
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn a_candidate_gets_the_names_of_its_release() {
        for (candidate, release) in CANDIDATES {
            let settled = settle(Cow::Owned(component(candidate)));
            wasmparser::Validator::new().validate_all(&settled).unwrap();
            let names = boundary(&settled).unwrap();
            let types = format!("wasi:clocks/types@{release}");
            let other = "wasi:nowhere/else@0.3.0-rc-2026-01-06".to_owned();
            assert_eq!(names.imports, [types, other]);
            assert_eq!(names.exports, [format!("wasi:http/handler@{release}")]);
        }
    }

    #[test]
    fn a_release_and_what_has_both_stay_as_they_are() {
        let release = component("0.3.0");
        assert!(matches!(settle(Cow::Borrowed(&release)), Cow::Borrowed(_)));
        let both = r#"(component
            (import "wasi:clocks/types@0.3.0" (instance))
            (import "wasi:clocks/types@0.3.0-rc-2026-03-15" (instance)))"#;
        let both = wat::parse_str(both).unwrap();
        assert!(matches!(settle(Cow::Borrowed(&both)), Cow::Borrowed(_)));
    }
}
