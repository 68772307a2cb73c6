//! Core modules whose allocators assume that all memory is their own, together with the
//! adapter in the same memory.

use std::borrow::Cow;

use skiff_compose::componentize;
use wasm_encoder::{CustomSection, Section};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wit_component::StringEncoding;
use wit_parser::Resolve;

/// Fills its own memory, lets the adapter write into it and keep state between two calls,
/// and checks that nothing else was touched.
const OWNER: &str = r#"(module
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (memory (export "memory") 2 4)
    (func $own (param $from i32) (param $to i32)
        (memory.fill (local.get $from) (i32.const 0xaa) (i32.sub (local.get $to) (local.get $from))))
    (func $is_own (param $from i32) (param $to i32) (result i32)
        (loop $next
            (if (i32.ge_u (local.get $from) (local.get $to)) (then (return (i32.const 1))))
            (if (i32.ne (i32.load8_u (local.get $from)) (i32.const 0xaa)) (then (return (i32.const 0))))
            (local.set $from (i32.add (local.get $from) (i32.const 1)))
            (br $next))
        unreachable)
    (func $ask (result i32)
        (i32.or
            (i32.or
                (call $sizes (i32.const 0) (i32.const 4))
                (call $environ (i32.const 16) (i32.const 64)))
            (call $random (i32.const 512) (i32.const 16))))
    (func (export "price") (result i32)
        (local $first i32) (local $second i32)
        FIRST
        (if (call $ask) (then (return (i32.const 1))))
        (if (i32.eqz (call $is_own (i32.const 1024) (local.get $first))) (then (return (i32.const 2))))
        SECOND
        (call $own (local.get $second) (i32.add (local.get $second) (i32.const 65536)))
        (if (call $ask) (then (return (i32.const 3))))
        (if (i32.eqz (call $is_own (i32.const 1024) (local.get $first))) (then (return (i32.const 4))))
        (if (i32.eqz (call $is_own (local.get $second) (i32.add (local.get $second) (i32.const 65536))))
            (then (return (i32.const 5))))
        ;; "COLO"
        (if (i32.ne (i32.load (i32.const 64)) (i32.const 0x4f4c4f43)) (then (return (i32.const 6))))
        (if (i32.ne (i32.load (i32.const 0)) (i32.const 1)) (then (return (i32.const 7))))
        (i32.const 0)))"#;

/// Like the allocators of AssemblyScript and C: uses memory from the end of the data to
/// `memory.size`, and what `memory.grow` returns.
fn as_most_do() -> String {
    let first = "(local.set $first (i32.shl (memory.size) (i32.const 16)))
        (call $own (i32.const 1024) (local.get $first))";
    let second = "(local.set $second (i32.shl (memory.grow (i32.const 1)) (i32.const 16)))
        (if (i32.ne (i32.shl (memory.size) (i32.const 16)) (i32.add (local.get $second) (i32.const 65536)))
            (then (return (i32.const 8))))
        (if (i32.ne (memory.grow (i32.const 0)) (memory.size)) (then (return (i32.const 9))))";
    OWNER.replace("FIRST", first).replace("SECOND", second)
}

/// Like Go: uses memory behind `memory.size` at the start, contiguously.
fn as_go_does() -> String {
    let first = "(local.set $first (i32.const 131072))
        (call $own (i32.const 1024) (local.get $first))
        (local.set $second (i32.shl (memory.size) (i32.const 16)))";
    let second = "(drop (memory.grow (i32.const 1)))";
    OWNER.replace("FIRST", first).replace("SECOND", second)
}

fn append(bytes: &mut Vec<u8>, name: &str, data: &[u8]) {
    let (name, data) = (name.into(), Cow::Borrowed(data));
    let section = CustomSection { name, data };
    bytes.push(section.id());
    wasm_encoder::Encode::encode(&section, bytes);
}

/// The module with a world, made into a component.
fn component(text: &str, go: bool) -> Vec<u8> {
    let mut bytes = wat::parse_str(text).expect("the module is written well");
    let mut resolve = Resolve::default();
    let world = "package acme:shop; world shop { export price: func() -> u32; }";
    let package = resolve.push_str("test.wit", world).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let world = wit_component::metadata::encode(&resolve, world, StringEncoding::UTF8, None);
    append(&mut bytes, "component-type:test", &world.unwrap());
    if go {
        append(&mut bytes, "go:buildid", b"test");
    }
    componentize(&bytes)
        .expect("it fits the adapter")
        .into_owned()
}

struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

#[track_caller]
fn price(component: &[u8]) -> u32 {
    let engine = Engine::default();
    let component = Component::new(&engine, component).expect("a valid component");
    let mut linker = Linker::<Host>::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker).unwrap();
    let host = Host {
        wasi: WasiCtx::builder().env("COLOUR", "blue").build(),
        table: ResourceTable::new(),
    };
    let mut store = Store::new(&engine, host);
    let instance = linker.instantiate(&mut store, &component).unwrap();
    let price = instance.get_typed_func::<(), (u32,)>(&mut store, "price");
    price.unwrap().call(&mut store, ()).unwrap().0
}

#[test]
fn the_adapter_has_memory_of_its_own_beside_an_allocator_that_owns_all() {
    assert_eq!(price(&component(&as_most_do(), false)), 0);
}

#[test]
fn gos_runtime_keeps_what_it_takes_behind_the_memorys_end() {
    assert_eq!(price(&component(&as_go_does(), true)), 0);
}
