//! Core modules of Spin 1, which speak the binary interface of wit-bindgen 0.2.
//!
//! For the interfaces of Spin that interface lays out parameters, results and memory as
//! today's canonical ABI does: only the names differ. So a module's imports and exports get
//! today's names, and the encoder does the rest.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{ExportSection, ImportSection, Module, RawSection};
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::Cause;

/// Spin's interfaces of that time.
const INTERFACES: &str = include_str!("legacy.wit");

/// The modules that were imported from, and their interfaces today.
const MODULES: [(&str, &str); 8] = [
    ("key-value", "fermyon:spin/key-value"),
    ("llm", "fermyon:spin/llm"),
    ("outbound-mysql", "fermyon:spin/mysql"),
    ("outbound-pg", "fermyon:spin/postgres"),
    ("outbound-redis", "fermyon:spin/redis"),
    ("spin-config", "fermyon:spin/config"),
    ("sqlite", "fermyon:spin/sqlite"),
    ("wasi-outbound-http", "fermyon:spin/http"),
];

/// The only function with another name today.
const REQUEST: (&str, &str) = ("request", "send-request");

/// The handlers that a module may export, their names today and their interfaces.
const HANDLERS: [(&str, &str, &str); 2] = [
    (
        "handle-http-request",
        "fermyon:spin/inbound-http#handle-request",
        "fermyon:spin/inbound-http",
    ),
    (
        "handle-redis-message",
        "fermyon:spin/inbound-redis#handle-message",
        "fermyon:spin/inbound-redis",
    ),
];

/// The allocator, and its name today. Its parameters are the same.
const REALLOC: (&str, &str) = ("canonical_abi_realloc", "cabi_realloc");

/// Gives a module of the old binary interface the names and the world of today.
pub(crate) fn renew(module: &[u8]) -> Result<Vec<u8>, Cause> {
    let mut renewed = Module::new();
    let mut exports = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        match payload {
            Payload::ImportSection(section) => {
                let mut imports = ImportSection::new();
                for import in section.into_imports() {
                    let mut import = import?;
                    if matches!(import.ty, TypeRef::Func(_)) {
                        (import.module, import.name) = import_today(import.module, import.name);
                    }
                    RoundtripReencoder.parse_import(&mut imports, import)?;
                }
                renewed.section(&imports);
            }
            Payload::ExportSection(section) => {
                let mut renamed = ExportSection::new();
                for export in section {
                    let mut export = export?;
                    if export.kind == ExternalKind::Func {
                        export.name = export_today(export.name, &mut exports);
                    }
                    RoundtripReencoder.parse_export(&mut renamed, export)?;
                }
                renewed.section(&renamed);
            }
            _ => {
                if let Some((id, range)) = payload.as_section() {
                    let data = &module[range];
                    renewed.section(&RawSection { id, data });
                }
            }
        }
    }
    let mut renewed = renewed.finish();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("legacy.wit", &world(&exports))?;
    let world = resolve.select_world(&[package], None)?;
    embed_component_metadata(&mut renewed, &resolve, world, StringEncoding::UTF8)?;
    Ok(renewed)
}

fn import_today<'a>(module: &'a str, name: &'a str) -> (&'a str, &'a str) {
    let Some((_, interface)) = MODULES.iter().find(|(old, _)| *old == module) else {
        return (module, name);
    };
    match name == REQUEST.0 && module == "wasi-outbound-http" {
        true => (interface, REQUEST.1),
        false => (interface, name),
    }
}

/// The name of an export today; a handler's interface is added to `exports`.
fn export_today<'a>(name: &'a str, exports: &mut Vec<&'static str>) -> &'a str {
    if name == REALLOC.0 {
        return REALLOC.1;
    }
    match HANDLERS.iter().find(|(old, ..)| *old == name) {
        Some((_, today, interface)) => {
            exports.push(interface);
            today
        }
        None => name,
    }
}

/// The world of a module that exports these interfaces. The encoder leaves out the imports
/// that the module does not use.
fn world(exports: &[&str]) -> String {
    let mut world = "package skiff:legacy;\nworld legacy {\n".to_owned();
    for (_, interface) in MODULES {
        world += &format!("import {interface};\n");
    }
    for interface in exports {
        world += &format!("export {interface};\n");
    }
    world + "}\n" + INTERFACES
}
