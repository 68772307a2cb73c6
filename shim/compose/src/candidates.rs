//! Release candidates of WASI: a component built for one gets the names of the release, and of
//! functions that the host has for what differs.
//!
//! Such an interface gets the version of its release with the candidate's date as build
//! metadata, which linkers ignore: so a component may have both, as an adapter of today and
//! bindings of that time make one.

mod plan;

use std::borrow::Cow;

use wasm_encoder::reencode::{ReencodeComponent, RoundtripReencoder};
use wasm_encoder::{
    Component, ComponentAliasSection, ComponentExportSection, ComponentImportSection,
    ComponentTypeSection, InstanceType, RawSection,
};
use wasmparser::{
    ComponentAlias, ComponentType, ComponentTypeSectionReader, InstanceTypeDeclaration, Parser,
    Payload,
};

use self::plan::{Plan, Renames};
use crate::{Cause, WasmKind, boundary, kind};

/// A release candidate.
struct Candidate {
    version: &'static str,
    /// The version that its interfaces get.
    settled: &'static str,
    /// Functions that a release has with another name or another type: interface, name, and
    /// the host's name for it. What a release has not keeps its name.
    functions: &'static [(&'static str, &'static str, &'static str)],
}

/// The candidates that are out there. The last one differs from its release in nothing.
/// The first two are described by the WIT of `wasmtime-wasi` 14, and of 15 and 16.
#[rustfmt::skip]
const CANDIDATES: [Candidate; 3] = [
    Candidate {
        version: "0.2.0-rc-2023-10-18",
        settled: "0.2.0+rc20231018",
        functions: &[
            ("wasi:filesystem/types", "[method]descriptor.open-at", "[method]descriptor.open-at-rc20231018"),
            ("wasi:http/outgoing-handler", "handle", "handle-rc20231018"),
            ("wasi:http/types", "[constructor]fields", "[static]fields.new-rc20231018"),
            ("wasi:http/types", "[constructor]outgoing-request", "[static]outgoing-request.new-rc20231018"),
            ("wasi:http/types", "[constructor]outgoing-response", "[static]outgoing-response.new-rc20231018"),
            ("wasi:http/types", "[method]fields.append", "[method]fields.append-rc20231018"),
            ("wasi:http/types", "[method]fields.delete", "[method]fields.delete-rc20231018"),
            ("wasi:http/types", "[method]fields.set", "[method]fields.set-rc20231018"),
            ("wasi:http/types", "[method]future-incoming-response.get", "[method]future-incoming-response.get-rc20231018"),
            ("wasi:http/types", "[method]future-trailers.get", "[method]future-trailers.get-rc20231018"),
            ("wasi:http/types", "[method]outgoing-request.write", "[method]outgoing-request.body"),
            ("wasi:http/types", "[method]outgoing-response.write", "[method]outgoing-response.body"),
            ("wasi:http/types", "[static]outgoing-body.finish", "[static]outgoing-body.finish-rc20231018"),
            ("wasi:http/types", "[static]response-outparam.set", "[static]response-outparam.set-rc20231018"),
            ("wasi:io/poll", "poll-list", "poll"),
            ("wasi:io/streams", "[method]output-stream.blocking-splice", "[method]output-stream.blocking-splice-rc20231018"),
            ("wasi:io/streams", "[method]output-stream.splice", "[method]output-stream.splice-rc20231018"),
            ("wasi:sockets/ip-name-lookup", "resolve-addresses", "resolve-addresses-rc20231018"),
            ("wasi:sockets/tcp", "[method]tcp-socket.keep-alive", "[method]tcp-socket.keep-alive-enabled"),
            ("wasi:sockets/tcp", "[method]tcp-socket.set-keep-alive", "[method]tcp-socket.set-keep-alive-enabled"),
            ("wasi:sockets/tcp", "[method]tcp-socket.set-unicast-hop-limit", "[method]tcp-socket.set-hop-limit"),
            ("wasi:sockets/tcp", "[method]tcp-socket.unicast-hop-limit", "[method]tcp-socket.hop-limit"),
            ("wasi:sockets/udp", "[method]udp-socket.subscribe", "[method]udp-socket.subscribe-rc20231018"),
        ],
    },
    Candidate {
        version: "0.2.0-rc-2023-11-10",
        settled: "0.2.0+rc20231110",
        functions: &[
            ("wasi:http/types", "[method]future-trailers.get", "[method]future-trailers.get-rc20231110"),
            ("wasi:http/types", "[method]request-options.between-bytes-timeout-ms", "[method]request-options.between-bytes-timeout"),
            ("wasi:http/types", "[method]request-options.connect-timeout-ms", "[method]request-options.connect-timeout"),
            ("wasi:http/types", "[method]request-options.first-byte-timeout-ms", "[method]request-options.first-byte-timeout"),
            ("wasi:http/types", "[method]request-options.set-between-bytes-timeout-ms", "[method]request-options.set-between-bytes-timeout"),
            ("wasi:http/types", "[method]request-options.set-connect-timeout-ms", "[method]request-options.set-connect-timeout"),
            ("wasi:http/types", "[method]request-options.set-first-byte-timeout-ms", "[method]request-options.set-first-byte-timeout"),
        ],
    },
    Candidate {
        version: "0.3.0-rc-2026-03-15",
        settled: "0.3.0+rc20260315",
        functions: &[],
    },
];

/// An interface's name without its version, and the candidate that the version is.
fn candidate(name: &str) -> Option<(&str, &'static Candidate)> {
    let (interface, version) = name.split_once('@')?;
    let mut known = CANDIDATES.iter();
    let candidate = known.find(|candidate| candidate.version == version)?;
    interface
        .starts_with("wasi:")
        .then_some((interface, candidate))
}

/// The name that a candidate's interface gets.
fn settled(name: &str) -> Option<String> {
    let (interface, candidate) = candidate(name)?;
    Some(format!("{interface}@{}", candidate.settled))
}

/// Replaces the names of candidates with those of their releases, for a host that knows
/// only the releases and functions for what differs from them.
///
/// A component that hands an interface with such functions on as a whole is left unchanged:
/// a component inside of it expects their names. So are unreadable bytes: compiling them
/// reports the error.
pub fn settle(bytes: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if kind(&bytes) != Some(WasmKind::Component) {
        return bytes;
    }
    let Ok(boundary) = boundary(&bytes) else {
        return bytes;
    };
    let mut names = boundary.imports.iter().chain(&boundary.exports);
    if !names.any(|name| candidate(name).is_some()) {
        return bytes;
    }
    match Plan::of(&bytes).and_then(|plan| rename(&bytes, &plan)) {
        Ok(renamed) => Cow::Owned(renamed),
        Err(_) => bytes,
    }
}

/// Renames the outermost imports and exports, and functions of the imports; everything else
/// is copied.
fn rename(bytes: &[u8], plan: &Plan) -> Result<Vec<u8>, Cause> {
    let mut renamed = Component::new();
    let mut depth = 0_usize;
    let mut first_types = plan.first_types.iter();
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
            Payload::ComponentTypeSection(section) => {
                let first = *first_types.next().ok_or("more types than there were")?;
                renamed.section(&types(section, first, plan)?);
            }
            Payload::ComponentImportSection(section) => {
                let mut imports = ComponentImportSection::new();
                for import in section {
                    let mut import = import?;
                    let name = settled(import.name.name);
                    import.name.name = name.as_deref().unwrap_or(import.name.name);
                    let ty = RoundtripReencoder.component_type_ref(import.ty)?;
                    imports.import(import.name, ty);
                }
                renamed.section(&imports);
            }
            Payload::ComponentAliasSection(section) => {
                let mut aliases = ComponentAliasSection::new();
                for alias in section {
                    let mut alias = alias?;
                    if let ComponentAlias::InstanceExport {
                        instance_index,
                        name,
                        ..
                    } = &mut alias
                        && let Some(renames) = plan.instances.get(instance_index)
                    {
                        *name = renames.get(*name).unwrap_or(name);
                    }
                    aliases.alias(RoundtripReencoder.component_alias(alias)?);
                }
                renamed.section(&aliases);
            }
            Payload::ComponentExportSection(section) => {
                let mut exports = ComponentExportSection::new();
                for export in section {
                    let mut export = export?;
                    let name = settled(export.name.name);
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

/// A section of types, the first of which has this index.
fn types(
    section: ComponentTypeSectionReader<'_>,
    first: u32,
    plan: &Plan,
) -> Result<ComponentTypeSection, Cause> {
    let mut types = ComponentTypeSection::new();
    for (index, ty) in (first..).zip(section) {
        match (ty?, plan.types.get(&index)) {
            (ComponentType::Instance(declarations), Some(renames)) => {
                types.instance(&instance(declarations, renames)?);
            }
            (ty, _) => RoundtripReencoder.parse_component_type(types.ty(), ty)?,
        }
    }
    Ok(types)
}

/// The type of an interface whose functions get other names.
fn instance(
    declarations: Box<[InstanceTypeDeclaration<'_>]>,
    renames: &Renames,
) -> Result<InstanceType, Cause> {
    let mut instance = InstanceType::new();
    for mut declaration in Vec::from(declarations) {
        if let InstanceTypeDeclaration::Export { name, .. } = &mut declaration {
            name.name = renames.get(name.name).unwrap_or(&name.name);
        }
        RoundtripReencoder.parse_component_instance_type_declaration(&mut instance, declaration)?;
    }
    Ok(instance)
}

#[cfg(test)]
mod tests;
