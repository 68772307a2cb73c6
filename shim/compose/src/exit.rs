//! The exit code of preview 1 commands, which the standard adapter loses.
//!
//! `proc_exit` of preview 1 takes a number, but the adapter only passes on whether it is
//! zero. `exit-with-code` of `wasi:cli/exit` also takes a number, with the same core
//! signature, so a module can import it instead.

use std::borrow::Cow;

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{ImportSection, Module, RawSection};
use wasmparser::{Parser, Payload, TypeRef};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::Cause;

/// The function that commands import from preview 1.
const PROC_EXIT: (&str, &str) = ("wasi_snapshot_preview1", "proc_exit");

/// The function that replaces it.
const EXIT_WITH_CODE: (&str, &str) = ("wasi:cli/exit@0.2.12", "exit-with-code");

/// The world of a module that only has the new import.
const WORLD: &str = "
    package skiff:command;
    world command { import wasi:cli/exit@0.2.12; }
    package wasi:cli@0.2.12 {
        interface exit {
            exit: func(status: result);
            exit-with-code: func(status-code: u8);
        }
    }
";

/// Makes a command report its exit code. A command that does not import `proc_exit` is
/// left unchanged.
pub(crate) fn keep_code(module: &[u8]) -> Result<Cow<'_, [u8]>, Cause> {
    let mut changed = Module::new();
    let mut exits = false;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        if let Payload::ImportSection(section) = payload {
            let mut imports = ImportSection::new();
            for import in section.into_imports() {
                let mut import = import?;
                let is_function = matches!(import.ty, TypeRef::Func(_));
                if is_function && (import.module, import.name) == PROC_EXIT {
                    (import.module, import.name) = EXIT_WITH_CODE;
                    exits = true;
                }
                RoundtripReencoder.parse_import(&mut imports, import)?;
            }
            changed.section(&imports);
        } else if let Some((id, range)) = payload.as_section() {
            changed.section(&RawSection {
                id,
                data: &module[range],
            });
        }
    }
    if !exits {
        return Ok(Cow::Borrowed(module));
    }
    let mut changed = changed.finish();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("exit.wit", WORLD)?;
    let world = resolve.select_world(&[package], None)?;
    embed_component_metadata(&mut changed, &resolve, world, StringEncoding::UTF8)?;
    Ok(Cow::Owned(changed))
}
