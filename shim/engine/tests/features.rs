//! WebAssembly's proposals: those that wasmtime enables by default run, from the cache and
//! in a pool; all others are refused at compilation, with their name in the error.

use skiff_engine::{Cache, Code, Compiler, Guest, Native, Pool, Portable, Runner, Tier};
use wasmtime::Store;

const STACK: usize = 1 << 20;

/// Core modules that use offered features and export `run`, which returns 7.
const OFFERED: &[(&str, &str)] = &[
    (
        "bulk memory",
        r#"(memory 1) (data $d "\07") (func (export "run") (result i32)
            (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))
            (memory.copy (i32.const 8) (i32.const 0) (i32.const 1)) (i32.load8_u (i32.const 8)))"#,
    ),
    (
        "exceptions",
        r#"(tag $t (param i32)) (func (export "run") (result i32)
            (block $caught (result i32)
                (try_table (catch $t $caught) (throw $t (i32.const 7))) (i32.const 0)))"#,
    ),
    (
        "extended constants",
        r#"(global $g i32 (i32.add (i32.const 3) (i32.const 4)))
            (func (export "run") (result i32) (global.get $g))"#,
    ),
    (
        "function references",
        r#"(type $f (func (result i32))) (elem declare func $seven)
            (func $seven (result i32) (i32.const 7))
            (func (export "run") (result i32) (call_ref $f (ref.func $seven)))"#,
    ),
    (
        "garbage collection",
        r#"(type $box (struct (field i32))) (func (export "run") (result i32)
            (struct.get $box 0 (struct.new $box (i32.const 7))))"#,
    ),
    (
        "many memories",
        r#"(memory $one 1) (memory $two 1) (func (export "run") (result i32)
            (i32.store $two (i32.const 0) (i32.const 7)) (i32.store $one (i32.const 0) (i32.const 1))
            (i32.load $two (i32.const 0)))"#,
    ),
    (
        "many tables",
        r#"(table $one 1 funcref) (table $two 1 funcref) (elem (table $two) (i32.const 0) func $seven)
            (func $seven (result i32) (i32.const 7))
            (func (export "run") (result i32) (call_indirect $two (result i32) (i32.const 0)))"#,
    ),
    (
        "memory with 64 bits",
        r#"(memory i64 1) (func (export "run") (result i32)
            (i32.store (i64.const 0) (i32.const 7)) (i32.load (i64.const 0)))"#,
    ),
    (
        "multiple values",
        r#"(func $two (result i32 i32) (i32.const 3) (i32.const 4))
            (func (export "run") (result i32) (call $two) (i32.add))"#,
    ),
    (
        "mutable globals, sign extension, conversions that saturate",
        r#"(global $g (export "g") (mut i32) (i32.const 0)) (func (export "run") (result i32)
            (global.set $g (i32.extend8_s (i32.const 0x107)))
            (i32.trunc_sat_f32_s (f32.convert_i32_s (global.get $g))))"#,
    ),
    (
        "reference types",
        r#"(table $t 1 externref) (func (export "run") (result i32)
            (table.set $t (i32.const 0) (ref.null extern))
            (i32.add (i32.const 6) (ref.is_null (table.get $t (i32.const 0)))))"#,
    ),
    (
        "relaxed vectors",
        r#"(func (export "run") (result i32) (i32x4.extract_lane 0
            (i32x4.relaxed_trunc_f32x4_s (f32x4.splat (f32.const 7)))))"#,
    ),
    (
        "tail calls",
        r#"(func $seven (result i32) (i32.const 7))
            (func (export "run") (result i32) (return_call $seven))"#,
    ),
    (
        "threads: atomic operations",
        r#"(memory 1) (func (export "run") (result i32)
            (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 7))) (i32.atomic.load (i32.const 0)))"#,
    ),
    (
        "vectors",
        r#"(func (export "run") (result i32)
            (i32x4.extract_lane 1 (i32x4.splat (i32.const 7))))"#,
    ),
];

/// Modules and components with features that are not offered, and a word of the error.
const REFUSED: &[(&str, &str)] = &[
    ("(module (memory 1 1 (pagesize 1)))", "custom page sizes"),
    (
        "(module (memory 1 2 shared) (func (export \"run\")))",
        "shared memor",
    ),
    (
        "(module (func (param i64 i64 i64 i64) (result i64 i64) (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3))))",
        "wide",
    ),
    (
        "(module (type $f (func)) (type $c (cont $f)))",
        "stack switching",
    ),
    (
        "(module (global (shared mut i32) (i32.const 0)))",
        "shared-everything-threads",
    ),
    ("(module (tag) (func try catch 0 end))", "legacy_exceptions"),
    ("(component (type (list u8 4)))", "fixed"),
    ("(component (type (map string u8)))", "map"),
    (
        "(component (core func (canon error-context.drop)))",
        "error",
    ),
    ("(component (core func (canon thread.index)))", "threading"),
];

struct Nothing;

impl Guest for Nothing {
    fn ticked(&mut self) -> wasmtime::Result<()> {
        Ok(())
    }
}

struct Node {
    folder: tempfile::TempDir,
    cache: Cache,
}

fn node() -> Node {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("cache")).unwrap();
    Node { folder, cache }
}

impl Node {
    fn compile(&self, text: &str, tier: Tier) -> Result<Native, String> {
        let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let compiler = Compiler::new(tier, false, STACK).unwrap();
        let portable = Portable::new(bytes).unwrap();
        let compiled = self.cache.compile(&compiler, &portable);
        compiled.map_err(|error| chain(&error))
    }

    /// The cache holds code, and no other file that a refusal could have left.
    fn files(&self) -> usize {
        let files = std::fs::read_dir(self.folder.path().join("cache")).unwrap();
        let ending = |file: &std::fs::DirEntry| file.path().extension().map(ToOwned::to_owned);
        files
            .filter(|file| ending(file.as_ref().unwrap()).is_some_and(|e| e == "native"))
            .count()
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text += &format!(": {deeper}");
        cause = deeper.source();
    }
    text
}

/// Runs it in a pool with room for two instances, three times each.
async fn run(native: &Native, tier: Tier) -> i32 {
    let pool = Pool {
        instances: 2,
        resources: native.resources(),
    };
    let runner = Runner::new(tier, false, STACK, &pool).unwrap();
    let Code::Module(module) = runner.load(native).unwrap() else {
        panic!("it is a module");
    };
    let mut sum = 0;
    for _ in 0..3 {
        let mut stores = [Nothing, Nothing].map(|nothing| Store::new(runner.engine(), nothing));
        let mut instances = Vec::new();
        for store in &mut stores {
            runner.ticks().interrupt(store);
            let instance = wasmtime::Instance::new_async(&mut *store, &module, &[]).await;
            instances.push(instance.unwrap());
        }
        for (store, instance) in stores.iter_mut().zip(instances) {
            let run = instance.get_typed_func::<(), i32>(&mut *store, "run");
            sum += run.unwrap().call_async(store, ()).await.unwrap();
        }
    }
    sum
}

#[tokio::test]
async fn what_wasmtime_offers_by_default_runs() {
    let node = node();
    for (name, body) in OFFERED {
        let text = format!("(module {body})");
        let native = node.compile(&text, Tier::Optimized);
        let native = native.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(run(&native, Tier::Optimized).await, 42, "{name}");
        // The baseline compiler may refuse; then the other one is used.
        if let Ok(native) = node.compile(&text, Tier::Baseline) {
            assert_eq!(run(&native, Tier::Baseline).await, 42, "{name}");
        }
    }
}

#[test]
fn what_is_not_offered_is_refused_by_name_when_it_is_compiled() {
    let node = node();
    let mut others = Vec::new();
    for (text, word) in REFUSED {
        match node.compile(text, Tier::Optimized) {
            Err(error) if error.contains(word) => {}
            Err(error) => others.push(format!("{text}: {error}")),
            Ok(_) => others.push(format!("{text}: it compiles")),
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
    assert_eq!(node.files(), 0);
}

#[test]
fn more_memories_than_a_pool_takes_are_refused_when_they_are_compiled() {
    let node = node();
    let text = |count: usize| {
        let instances = "(core instance (instantiate $m))".repeat(count);
        format!("(component (core module $m (memory 0)) {instances})")
    };
    node.compile(&text(200), Tier::Optimized).unwrap();
    let error = node.compile(&text(201), Tier::Optimized).unwrap_err();
    assert!(error.contains("201 memories"), "{error}");
}
