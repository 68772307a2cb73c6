//! A rewound instance equals a new one, byte for byte; components that cannot be rewound
//! are recognised.

use skiff_engine::{
    Beginning, Cache, Code, Compiler, Guest, Pool, Portable, Rewinds, Runner, Tier,
};
use wasmtime::component::{Component, Instance, Linker};
use wasmtime::{Engine, Store};

const STACK: usize = 1 << 20;

struct Nothing;

impl Guest for Nothing {
    fn ticked(&mut self) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// A component that serves, with this text in its module. `all` returns its whole memory.
fn component(inside: &str) -> String {
    format!(
        r#"(component
            (core module $m
                (memory (export "memory") 2)
                (data (i32.const 8) "\00\00\00\00\00\00\02\00")
                (func (export "all") (result i32) (i32.const 8))
                {inside}
            )
            (core instance $i (instantiate $m))
            (type $bytes (list u8))
            (func $all (result $bytes)
                (canon lift (core func $i "all") (memory (core memory $i "memory"))))
            (func $run (param "how" u32) (result u32) (canon lift (core func $i "run")))
            (instance $handler (export "all" (func $all)) (export "run" (func $run)))
            (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#
    )
}

/// Counts in a global and in two pages of its memory.
const COUNTS: &str = r#"
    (global $count (mut i32) (i32.const 7))
    (global $wide (mut i64) (i64.const 100))
    (global $half (mut f32) (f32.const 0.5))
    (data (i32.const 70000) "\03")
    (func (export "run") (param $how i32) (result i32)
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (global.set $wide (i64.add (global.get $wide) (i64.const 1)))
        (global.set $half (f32.mul (global.get $half) (f32.const 2)))
        (i32.store (i32.const 70000) (i32.add (i32.load (i32.const 70000)) (i32.const 1)))
        (i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (i32.const 1)))
        (if (i32.eq (local.get $how) (i32.const 1)) (then (drop (memory.grow (i32.const 1)))))
        (if (i32.eq (local.get $how) (i32.const 2)) (then (unreachable)))
        (if (i32.eq (local.get $how) (i32.const 3))
            (then (memory.fill (i32.const 1000) (i32.const 9) (i32.const 120000))))
        (i32.add
            (i32.add (global.get $count) (i32.wrap_i64 (global.get $wide)))
            (i32.add
                (i32.trunc_f32_s (global.get $half))
                (i32.add (i32.load (i32.const 70000)) (i32.load (i32.const 16))))))
"#;

/// What `run` returns the first time.
const FIRST: u32 = 8 + 101 + 1 + 4 + 1;

/// Mappings of this process, which one test uses up.
static MAPPINGS: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

struct Host {
    runner: Runner,
    component: Component,
    _cache: tempfile::TempDir,
}

impl Host {
    fn new(text: &str, tier: Tier) -> Result<Host, String> {
        Host::with(text, tier, 3)
    }

    fn with(text: &str, tier: Tier, instances: u32) -> Result<Host, String> {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let compiler = Compiler::new(tier, false, STACK).unwrap();
        let portable = Portable::new(wat::parse_str(text).unwrap()).unwrap();
        let native = cache.compile(&compiler, &portable);
        let native = native.map_err(|error| format!("{error:?}"))?;
        let pool = Pool {
            instances,
            resources: native.resources(),
        };
        let runner = Runner::new(tier, false, STACK, &pool).unwrap();
        let Code::Component(component) = runner.load(&native).unwrap() else {
            panic!("it is a component");
        };
        Ok(Host {
            runner,
            component,
            _cache: folder,
        })
    }

    fn engine(&self) -> &Engine {
        self.runner.engine()
    }

    async fn instance(&self) -> (Store<Nothing>, Instance) {
        let mut store = Store::new(self.engine(), Nothing);
        self.runner.ticks().interrupt(&mut store);
        let linker = Linker::<Nothing>::new(self.engine());
        let made = linker.instantiate_async(&mut store, &self.component).await;
        (store, made.unwrap())
    }

    /// Creates an instance; it is dropped before its store.
    async fn made(&self, rewinds: &Rewinds) -> Made {
        let (mut store, instance) = self.instance().await;
        let beginning = rewinds.begin(&mut store, &instance).await.unwrap();
        Made {
            beginning,
            store,
            instance,
        }
    }
}

struct Made {
    beginning: Option<Beginning>,
    store: Store<Nothing>,
    instance: Instance,
}

impl Made {
    fn function<P, R>(&mut self, name: &str) -> wasmtime::component::TypedFunc<P, R>
    where
        P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
        R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift,
    {
        let store = &mut self.store;
        let handler = "wasi:http/incoming-handler@0.2.3";
        let handler = self.instance.get_export_index(&mut *store, None, handler);
        let index = self
            .instance
            .get_export_index(&mut *store, handler.as_ref(), name);
        self.instance.get_typed_func(store, index.unwrap()).unwrap()
    }

    async fn run(&mut self, how: u32) -> wasmtime::Result<u32> {
        let run = self.function::<(u32,), (u32,)>("run");
        let call = run.call_async(&mut self.store, (how,));
        let (sum,) = match &self.beginning {
            Some(beginning) => beginning.run(call).await?,
            None => call.await?,
        };
        Ok(sum)
    }

    async fn rewind(&mut self, rewinds: &Rewinds) -> bool {
        let beginning = self.beginning.as_ref().unwrap();
        rewinds.rewind(beginning, &mut self.store).await.unwrap()
    }

    async fn memory(&mut self) -> Vec<u8> {
        let all = self.function::<(), (Vec<u8>,)>("all");
        let call = all.call_async(&mut self.store, ());
        call.await.unwrap().0
    }
}

#[tokio::test]
async fn a_rewound_instance_is_a_new_one() {
    let _mappings = MAPPINGS.read().await;
    for tier in [Tier::Baseline, Tier::Optimized] {
        let host = Host::new(&component(COUNTS), tier).unwrap();
        let rewinds = Rewinds::of(&host.component).unwrap();
        let (mut one, mut other) = (host.made(&rewinds).await, host.made(&rewinds).await);
        let new = one.memory().await;
        assert_eq!(new.len(), 2 << 16);
        for round in 0..3 {
            for made in [&mut one, &mut other] {
                assert_eq!(made.run(0).await.unwrap(), FIRST, "{tier:?} {round}");
                let next = made.run(3).await.unwrap();
                assert!(next > FIRST, "{next}");
                assert_ne!(made.memory().await, new);
                assert!(made.rewind(&rewinds).await);
                assert_eq!(made.memory().await, new, "{tier:?} {round}");
            }
        }
        // What one has written to is known in the next from the start.
        drop(one);
        let mut third = host.made(&rewinds).await;
        assert_eq!(third.memory().await, new);
        assert_eq!(third.run(0).await.unwrap(), FIRST);
        assert!(third.rewind(&rewinds).await);
        assert_eq!(third.memory().await, new);
    }
}

#[tokio::test]
async fn what_has_grown_or_trapped_is_made_anew_and_its_place_serves_again() {
    let _mappings = MAPPINGS.read().await;
    let host = Host::new(&component(COUNTS), Tier::Optimized).unwrap();
    let rewinds = Rewinds::of(&host.component).unwrap();
    for how in [1, 2] {
        for _ in 0..5 {
            let mut made = host.made(&rewinds).await;
            match made.run(how).await {
                Ok(_) => assert!(!made.rewind(&rewinds).await),
                Err(error) => assert!(error.to_string().contains("wasm"), "{error:#}"),
            }
        }
    }
    // The same addresses, without watching.
    for _ in 0..5 {
        let (store, instance) = host.instance().await;
        let mut made = Made {
            beginning: None,
            store,
            instance,
        };
        assert_eq!(made.run(0).await.unwrap(), FIRST);
        made.run(3).await.unwrap();
    }
    assert!(rewinds.are_worth_it());
    for _ in 0..20 {
        let mut made = host.made(&rewinds).await;
        made.run(1).await.unwrap();
        assert!(!made.rewind(&rewinds).await);
    }
    assert!(!rewinds.are_worth_it());
}

/// More pages than can be saved.
#[tokio::test]
async fn a_guest_that_writes_too_much_is_made_anew() {
    let _mappings = MAPPINGS.read().await;
    const MUCH: &str = r#"
        (memory $large 200)
        (func (export "run") (param $how i32) (result i32)
            (memory.fill $large (i32.const 0) (i32.const 1) (i32.const 13000000))
            (i32.load $large (i32.const 12999000)))
    "#;
    let text = component(MUCH).replace(r#"(memory (export "memory") 2)"#, "");
    let text = text.replace("$large 200)", "$large (export \"memory\") 200)");
    let host = Host::new(&text, Tier::Optimized).unwrap();
    let rewinds = Rewinds::of(&host.component).unwrap();
    let mut made = host.made(&rewinds).await;
    assert_eq!(made.run(0).await.unwrap(), 0x0101_0101);
    assert!(!made.rewind(&rewinds).await);
    drop(made);
    let made = host.made(&rewinds).await;
    assert!(made.beginning.is_none(), "it is not tried again");
}

#[tokio::test]
async fn what_has_other_state_is_not_rewound() {
    let _mappings = MAPPINGS.read().await;
    let run = r#"(func (export "run") (param i32) (result i32) (i32.const 1))"#;
    for other in [
        "(table $t 1 funcref) (func (table.set $t (i32.const 0) (ref.null func)))",
        "(table $t 1 funcref) (func (drop (table.grow $t (ref.null func) (i32.const 1))))",
        "(data $d \"x\") (func (data.drop $d))",
        "(global (mut funcref) (ref.null func))",
        "(memory 1)",
        "(type $b (struct (field (mut i32)))) (global (ref $b) (struct.new $b (i32.const 0)))",
    ] {
        let host = Host::new(&component(&format!("{run} {other}")), Tier::Optimized).unwrap();
        assert!(Rewinds::of(&host.component).is_none(), "{other}");
        let (store, instance) = host.instance().await;
        let mut made = Made {
            beginning: None,
            store,
            instance,
        };
        assert_eq!(made.run(0).await.unwrap(), 1, "{other}");
    }
    let plain = component(run);
    let host = Host::new(&plain, Tier::Optimized).unwrap();
    assert!(Rewinds::of(&host.component).is_some());
    let not_http = plain.replace(
        "wasi:http/incoming-handler@0.2.3",
        "other:thing/handler@0.2.3",
    );
    let host = Host::new(&not_http, Tier::Optimized).unwrap();
    assert!(Rewinds::of(&host.component).is_none());
}

/// Its first data is in the middle, as with most toolchains.
#[tokio::test]
async fn a_memory_whose_first_contents_are_in_its_middle_is_whole_again() {
    let _mappings = MAPPINGS.read().await;
    const WRITES: &str = r#"
        (data (i32.const 1048576) "first")
        (func (export "run") (param $how i32) (result i32)
            (local $at i32)
            (loop $on
                (i32.store8 (local.get $at) (i32.const 1))
                (local.set $at (i32.add (local.get $at) (i32.const 65536)))
                (br_if $on (i32.lt_u (local.get $at) (i32.const 3900000))))
            (i32.const 1))
    "#;
    let text = component(WRITES).replace(
        r#"(memory (export "memory") 2)"#,
        r#"(memory (export "memory") 60)"#,
    );
    let text = text.replace(r#"\00\00\02\00"#, r#"\00\00\3c\00"#);
    let host = Host::new(&text, Tier::Optimized).unwrap();
    let rewinds = Rewinds::of(&host.component).unwrap();
    let pieces = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().count()
    };
    let mut made = host.made(&rewinds).await;
    let new = made.memory().await;
    assert_eq!(new.len(), 60 << 16);
    made.run(0).await.unwrap();
    let split = pieces();
    assert!(made.rewind(&rewinds).await);
    assert_eq!(made.memory().await, new);
    drop(made);
    assert!(pieces() + 60 < split, "{} of {split}", pieces());
}

/// Its growth at start succeeds or fails, depending on what is left.
#[tokio::test]
async fn what_begins_with_another_size_is_not_taken_for_the_same() {
    let _mappings = MAPPINGS.read().await;
    const GROWS: &str = r#"
        (func $start (drop (memory.grow (i32.const 1))))
        (start $start)
        (func (export "run") (param $how i32) (result i32)
            (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)) (i32.const 9))
            (memory.size))
    "#;
    let host = Host::new(&component(GROWS), Tier::Optimized).unwrap();
    let rewinds = Rewinds::of(&host.component).unwrap();
    let mut large = host.made(&rewinds).await;
    assert_eq!(large.run(0).await.unwrap(), 3);
    assert!(large.rewind(&rewinds).await);
    let mut store = Store::new(host.engine(), Nothing);
    host.runner.ticks().interrupt(&mut store);
    store.limiter(|nothing| nothing);
    let linker = Linker::<Nothing>::new(host.engine());
    let instance = linker.instantiate_async(&mut store, &host.component).await;
    let instance = instance.unwrap();
    let begun = rewinds.begin(&mut store, &instance).await.unwrap();
    assert!(begun.is_none());
}

/// Growth beyond the initial size is always refused.
impl wasmtime::ResourceLimiter for Nothing {
    fn memory_growing(
        &mut self,
        current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(current == 0)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

/// Modules that use functions and globals that only exist after the addition.
#[test]
fn a_component_that_is_not_valid_by_itself_is_refused() {
    let run = |inside: &str| {
        format!(r#"(func (export "run") (param i32) (result i32) {inside} (i32.const 1))"#)
    };
    // There are two functions and no global.
    for text in [
        component(&run("(call 2)")),
        component(&run("(return_call 3)")),
        component(&run("(global.set 0 (i64.const 1))")),
        component(&run("(drop (global.get 0))")),
        component(&(run("") + r#"(export "other" (func 2))"#)),
        component(&(run("") + r#"(export "other" (global 0))"#)),
        component(&(run("") + "(start 2)")),
        component(&(run("") + "(table 1 funcref) (elem (i32.const 0) 2)")),
        component(&(run("") + "(table 1 funcref) (elem (i32.const 0) funcref (ref.func 2))")),
        component(&(run("") + "(table 1 1 funcref (ref.func 2))")),
        component(&(run("") + "(global funcref (ref.func 2))")),
        component(&run("")).replace(
            "(type $bytes",
            r#"(alias core export $i "skiff-rewind-save-" (core func)) (type $bytes"#,
        ),
    ] {
        let error = Host::new(&text, Tier::Optimized).err();
        assert!(error.is_some(), "{text}");
    }
}

/// A component with such names would be confused with the added code.
#[test]
fn a_component_with_names_of_ours_is_refused() {
    let run = r#"(func (export "run") (param i32) (result i32) (i32.const 1))"#;
    let text = component(run);
    let at = text.rfind(')').unwrap();
    let text = format!(
        "{} (export \"skiff-rewind-save-n0\" (func $run)))",
        &text[..at]
    );
    let error = Host::new(&text, Tier::Optimized).err().unwrap();
    assert!(error.contains("Skiff's own"), "{error}");
}

/// Every other page, by many instances at once: a process has a limited number of mappings.
#[tokio::test]
async fn many_that_write_here_and_there_leave_the_kernel_room() {
    let _alone = MAPPINGS.write().await;
    const HERE_AND_THERE: &str = r#"
        (memory $large (export "memory") 60)
        (func (export "run") (param $how i32) (result i32)
            (local $at i32)
            (loop $on
                (i32.store $large (local.get $at) (i32.const 1))
                (local.set $at (i32.add (local.get $at) (i32.const 8192)))
                (br_if $on (i32.lt_u (local.get $at) (i32.const 3900000))))
            (i32.const 1))
    "#;
    let text = component(HERE_AND_THERE).replace(r#"(memory (export "memory") 2)"#, "");
    let host = Host::with(&text, Tier::Optimized, 100).unwrap();
    let rewinds = Rewinds::of(&host.component).unwrap();
    let mut all = Vec::new();
    for _ in 0..60 {
        let mut made = host.made(&rewinds).await;
        assert_eq!(made.run(0).await.unwrap(), 1);
        all.push(made);
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.lines().count() < 25_000, "{}", maps.lines().count());
    drop(all);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.lines().count() < 3_000, "{}", maps.lines().count());
}
