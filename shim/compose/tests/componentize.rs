//! Core modules of every generation, and their conversion to components.

use std::borrow::Cow;
use std::error::Error as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use skiff_compose::{ComponentizeError, GENERATION, WasmKind, componentize, compose, kind};
use wasm_encoder::{CustomSection, ProducersField, ProducersSection, Section};
use wasmtime::component::Component;
use wasmtime::{Config, Engine};
use wit_component::StringEncoding;
use wit_parser::Resolve;

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the module is written well")
}

/// A module as wit-bindgen produces it, with its world and its producers in a section.
fn bound_module(world: &str, body: &str, bindgen: Option<(&str, &str)>) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", world).expect("WIT");
    let world = resolve.select_world(&[package], None).expect("one world");
    let mut section =
        wit_component::metadata::encode(&resolve, world, StringEncoding::UTF8, None).unwrap();
    if let Some((tool, version)) = bindgen {
        append(&mut section, &producers(tool, version));
    }
    let mut bytes = module(body);
    append(
        &mut bytes,
        &CustomSection {
            name: "component-type:test".into(),
            data: Cow::Borrowed(&section),
        },
    );
    bytes
}

fn producers(tool: &str, version: &str) -> ProducersSection {
    let mut field = ProducersField::new();
    field.value(tool, version);
    let mut section = ProducersSection::new();
    section.field("processed-by", &field);
    section
}

fn append(bytes: &mut Vec<u8>, section: &impl Section) {
    bytes.push(section.id());
    section.encode(bytes);
}

/// A component's imports and exports, after the engine has validated it.
fn surface(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
    let engine = Engine::new(&Config::new()).unwrap();
    let component = Component::new(&engine, bytes).expect("a valid component");
    let ty = component.component_type();
    let imports = ty.imports(&engine).map(|(name, _)| name.to_owned());
    let exports = ty.exports(&engine).map(|(name, _)| name.to_owned());
    (imports.collect(), exports.collect())
}

const COMMAND: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (call $exit (i32.const 0))))"#;

const WORLD: &str = "package acme:shop;
world shop { export price: func() -> u32; }";

const PRICE: &str = r#"(module (func (export "price") (result i32) (i32.const 7)))"#;

#[test]
fn a_component_stays_as_it_is() {
    let bytes = module("(component)");
    assert!(matches!(componentize(&bytes), Ok(Cow::Borrowed(same)) if same == bytes));
}

#[test]
fn a_command_exports_wasi_cli_run() {
    let component = componentize(&module(COMMAND)).unwrap().into_owned();
    assert_eq!(kind(&component), Some(WasmKind::Component));
    let (imports, exports) = surface(&component);
    assert!(exports[0].starts_with("wasi:cli/run@0.2."), "{exports:?}");
    let preview1 = imports.iter().find(|name| !name.starts_with("wasi:"));
    assert_eq!(preview1, None);
}

#[test]
fn the_same_module_gives_the_same_component() {
    let bytes = module(COMMAND);
    assert_eq!(componentize(&bytes).unwrap(), componentize(&bytes).unwrap());
}

/// If this fails, raise [`GENERATION`] and put both new numbers here: nodes keep the
/// output of earlier versions.
#[test]
fn other_components_are_of_another_generation() {
    let command = module(COMMAND);
    let component = componentize(&command).unwrap();
    let mut hasher = DefaultHasher::new();
    component.hash(&mut hasher);
    assert_eq!((GENERATION, hasher.finish()), (4, 12936892848303724729));
}

#[test]
fn new_bindings_go_through_the_reactor() {
    for tool in ["wit-bindgen-rust", "wit-bindgen-c"] {
        let bytes = bound_module(WORLD, PRICE, Some((tool, "0.24.0")));
        let (imports, exports) = surface(&componentize(&bytes).unwrap());
        assert_eq!((imports, exports), (vec![], vec!["price".to_owned()]));
    }
}

#[test]
fn start_beside_new_bindings_does_not_make_a_command() {
    let body = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start"))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "price") (result i32) (call $exit (i32.const 1)) (i32.const 7)))"#;
    let bytes = bound_module(WORLD, body, Some(("wit-bindgen-rust", "0.8.0")));
    let (_, exports) = surface(&componentize(&bytes).unwrap());
    assert_eq!(exports, ["price"]);
}

#[test]
fn bindings_of_another_generation_are_named() {
    for version in ["0.3.0", "1.0.0", "v0.6.2 (sum: h1)"] {
        let bytes = bound_module(WORLD, PRICE, Some(("wit-bindgen-go", version)));
        let error = componentize(&bytes).unwrap_err();
        assert!(
            matches!(&error, ComponentizeError::WitBindgen { version: found } if found == version),
            "{error}"
        );
        assert!(error.to_string().contains(version), "{error}");
    }
}

/// Every function that modules of Spin 1 import, with its core type.
const LEGACY: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
    (import "wasi-outbound-http" "request"
        (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "spin-config" "get-config" (func (param i32 i32 i32)))
    (import "key-value" "open" (func (param i32 i32 i32)))
    (import "key-value" "get" (func (param i32 i32 i32 i32)))
    (import "key-value" "set" (func (param i32 i32 i32 i32 i32 i32)))
    (import "key-value" "delete" (func (param i32 i32 i32 i32)))
    (import "key-value" "exists" (func (param i32 i32 i32 i32)))
    (import "key-value" "get-keys" (func (param i32 i32)))
    (import "key-value" "close" (func (param i32)))
    (import "sqlite" "open" (func (param i32 i32 i32)))
    (import "sqlite" "execute" (func (param i32 i32 i32 i32 i32 i32)))
    (import "sqlite" "close" (func (param i32)))
    (import "outbound-redis" "publish" (func (param i32 i32 i32 i32 i32 i32 i32)))
    (import "outbound-redis" "set" (func (param i32 i32 i32 i32 i32 i32 i32)))
    (import "outbound-redis" "get" (func (param i32 i32 i32 i32 i32)))
    (import "outbound-redis" "incr" (func (param i32 i32 i32 i32 i32)))
    (import "outbound-redis" "del" (func (param i32 i32 i32 i32 i32)))
    (import "outbound-redis" "sadd" (func (param i32 i32 i32 i32 i32 i32 i32)))
    (import "outbound-redis" "srem" (func (param i32 i32 i32 i32 i32 i32 i32)))
    (import "outbound-redis" "smembers" (func (param i32 i32 i32 i32 i32)))
    (import "outbound-redis" "execute" (func (param i32 i32 i32 i32 i32 i32 i32)))
    (import "outbound-pg" "query" (func (param i32 i32 i32 i32 i32 i32 i32)))
    (import "outbound-pg" "execute" (func (param i32 i32 i32 i32 i32 i32 i32)))
    (import "outbound-mysql" "query" (func (param i32 i32 i32 i32 i32 i32 i32)))
    (import "outbound-mysql" "execute" (func (param i32 i32 i32 i32 i32 i32 i32)))
    (import "llm" "infer"
        (func (param i32 i32 i32 i32 i32 i32 f32 i32 f32 i32 f32 i32)))
    (import "llm" "generate-embeddings" (func (param i32 i32 i32 i32 i32)))
    (memory (export "memory") 1)
    (func (export "_start") unreachable)
    (func (export "canonical_abi_free") (param i32 i32 i32))
    (func (export "canonical_abi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "handle-http-request")
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)
    (func (export "handle-redis-message") (param i32 i32) (result i32) unreachable))"#;

#[test]
fn a_module_of_spin_1_gets_the_names_of_today() {
    let (imports, exports) = surface(&componentize(&module(LEGACY)).unwrap());
    assert_eq!(
        exports,
        ["fermyon:spin/inbound-http", "fermyon:spin/inbound-redis"]
    );
    for interface in [
        "config",
        "http",
        "key-value",
        "llm",
        "mysql",
        "postgres",
        "redis",
        "sqlite",
    ] {
        let name = format!("fermyon:spin/{interface}");
        assert!(imports.contains(&name), "{name}: {imports:?}");
    }
    assert!(
        imports
            .iter()
            .any(|name| name.starts_with("wasi:cli/exit@0.2."))
    );
}

#[test]
fn a_module_of_spin_1_imports_only_what_it_did() {
    let bytes = module(
        r#"(module
            (import "spin-config" "get-config" (func (param i32 i32 i32)))
            (memory (export "memory") 1)
            (func (export "canonical_abi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "handle-http-request")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable))"#,
    );
    let (imports, exports) = surface(&componentize(&bytes).unwrap());
    assert!(
        imports.contains(&"fermyon:spin/config".to_owned()),
        "{imports:?}"
    );
    assert!(
        !imports.contains(&"fermyon:spin/http".to_owned()),
        "{imports:?}"
    );
    assert_eq!(exports, ["fermyon:spin/inbound-http"]);
}

#[test]
fn a_module_of_spin_1_with_another_function_is_refused_by_its_name() {
    for (import, named) in [
        (
            r#"(import "key-value" "rename" (func (param i32)))"#,
            "rename",
        ),
        (
            r#"(import "spin-config" "get-config" (func (param i32)))"#,
            "get-config",
        ),
        (r#"(import "env" "secret" (func))"#, "env"),
    ] {
        let bytes = module(&LEGACY.replacen("(module", &format!("(module {import}"), 1));
        let error = componentize(&bytes).unwrap_err();
        assert!(matches!(error, ComponentizeError::Encode { .. }), "{error}");
        let mut told = String::new();
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            told += &error.to_string();
            cause = error.source();
        }
        assert!(told.contains(named), "{told}");
    }
}

#[test]
fn a_module_nobody_can_call_is_refused() {
    let error = componentize(&module("(module)")).unwrap_err();
    assert!(matches!(error, ComponentizeError::NoEntryPoint), "{error}");
}

#[test]
fn a_world_is_enough_whoever_wrote_it() {
    let bytes = bound_module(WORLD, PRICE, None);
    let (_, exports) = surface(&componentize(&bytes).unwrap());
    assert_eq!(exports, ["price"]);
}

/// The section that wit-bindgen 0.5 to 0.16 wrote: a version, an encoding, the world's
/// name with its length, and the package.
#[test]
fn a_world_of_the_first_generation_is_read() {
    for version in ["0.5.0", "0.8.0", "0.13.1", "0.16.0"] {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("test.wit", WORLD).expect("WIT");
        let mut section = vec![3, 0, 4];
        section.extend(b"shop");
        section.extend(wit_component::encode(&resolve, package).unwrap());
        append(&mut section, &producers("wit-bindgen-rust", version));
        let mut bytes = module(PRICE);
        append(
            &mut bytes,
            &CustomSection {
                name: "component-type:shop".into(),
                data: Cow::Borrowed(&section),
            },
        );
        let (_, exports) = surface(&componentize(&bytes).unwrap());
        assert_eq!(exports, ["price"], "{version}");
    }
}

#[test]
fn a_command_that_is_joined_with_nothing_stays_a_module() {
    let realloc = COMMAND.replace(
        "(memory",
        r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable) (memory"#,
    );
    let unstable = COMMAND.replace("wasi_snapshot_preview1", "wasi_unstable");
    for text in [COMMAND, &realloc, &unstable] {
        let bytes = module(text);
        let composed = compose(&bytes, &[], |_| None).unwrap();
        assert!(matches!(composed, Cow::Borrowed(same) if same == bytes));
    }
    // A world with only imports is still a command, but one with an adapter.
    let world = "package acme:shop; world shop { import price: func() -> u32; }";
    let body = COMMAND.replace(
        "(memory",
        r#"(import "$root" "price" (func (result i32))) (memory"#,
    );
    let bytes = bound_module(world, &body, Some(("wit-bindgen-rust", "0.57.1")));
    let (imports, exports) = surface(&compose(&bytes, &[], |_| None).unwrap());
    assert!(imports.iter().any(|name| name == "price"), "{imports:?}");
    assert!(exports[0].starts_with("wasi:cli/run@0.2."), "{exports:?}");
}

#[test]
fn a_world_that_cannot_be_read_is_told() {
    let mut bytes = module(PRICE);
    append(
        &mut bytes,
        &CustomSection {
            name: "component-type:shop".into(),
            data: Cow::Borrowed(b"\x03\x00\x04sho"),
        },
    );
    let error = componentize(&bytes).unwrap_err();
    assert!(matches!(error, ComponentizeError::World { .. }), "{error}");
}

#[test]
fn a_command_of_an_unsound_clang_is_refused() {
    let mut bytes = module(COMMAND);
    append(
        &mut bytes,
        &producers("clang", "14.0.4 (https://llvm.org x)"),
    );
    let error = componentize(&bytes).unwrap_err();
    assert!(
        matches!(&error, ComponentizeError::Clang { version } if version.starts_with("14.0.4"))
    );

    let mut bytes = module(COMMAND);
    append(&mut bytes, &producers("clang", "15.0.7"));
    componentize(&bytes).unwrap();
}

#[test]
fn bytes_that_are_no_wasm_are_refused() {
    for bytes in [&b"hello"[..], b"(module)", b"", b"\0asm"] {
        let error = componentize(bytes).unwrap_err();
        assert!(matches!(error, ComponentizeError::NotWasm), "{error}");
    }
    let error = componentize(b"\x7fELF\x02\x01\x01\0").unwrap_err();
    assert!(matches!(error, ComponentizeError::Precompiled), "{error}");
}

#[test]
fn a_module_that_breaks_off_is_damaged() {
    let whole = module(COMMAND);
    let error = componentize(&whole[..whole.len() - 3]).unwrap_err();
    assert!(
        matches!(error, ComponentizeError::Damaged { .. }),
        "{error}"
    );
    assert!(error.source().is_some());
}

#[test]
fn an_import_no_adapter_has_is_told() {
    let bytes = module(
        r#"(module (import "env" "secret" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
    );
    let error = componentize(&bytes).unwrap_err();
    let ComponentizeError::Encode { source } = error else {
        panic!("{error}");
    };
    let whole = format!("{source:#}");
    assert!(
        whole.contains("env") || source.source().is_some(),
        "{whole}"
    );
}
