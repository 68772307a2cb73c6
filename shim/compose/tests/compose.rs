//! Composes components with their dependencies, and runs them.

use std::borrow::Cow;

use skiff_compose::{Capability, ComposeError, Dependency, Inherit};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};

/// A host's capabilities for the interfaces used here.
fn capability(interface: &str) -> Option<Capability> {
    let (key, is_called_at_start) = match interface {
        "wasi:cli/environment" => ("environment", true),
        "fermyon:spin/http" | "wasi:http/outgoing-handler" => ("allowed_outbound_hosts", false),
        "fermyon:spin/key-value" => ("key_value_stores", false),
        "spin:variables/variables" | "wasi:config/store" => ("variables", false),
        _ => return None,
    };
    Some(Capability {
        key,
        is_called_at_start,
    })
}

fn compose<'a>(
    parent: &'a [u8],
    dependencies: &[Dependency<'_>],
) -> Result<Cow<'a, [u8]>, ComposeError> {
    skiff_compose::compose(parent, dependencies, capability)
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the component is written well")
}

/// Imports one function of each of `imports` and exports `run`, which adds up their
/// results.
fn caller(imports: &[&str]) -> Vec<u8> {
    let mut lowered = String::new();
    let mut core_imports = String::new();
    let mut with = String::new();
    let mut sum = String::from("i32.const 0");
    for (n, import) in imports.iter().enumerate() {
        lowered += &format!(
            r#"(import "{import}" (instance $i{n} (export "get" (func (result u32)))))
               (core func $f{n} (canon lower (func $i{n} "get")))"#
        );
        core_imports += &format!(r#"(import "d" "f{n}" (func $f{n} (result i32)))"#);
        with += &format!(r#"(export "f{n}" (func $f{n}))"#);
        sum += &format!(" call $f{n} i32.add");
    }
    component(&format!(
        r#"(component {lowered}
            (core module $m {core_imports} (func (export "run") (result i32) {sum}))
            (core instance $c (instantiate $m (with "d" (instance {with}))))
            (func (export "run") (result u32) (canon lift (core func $c "run"))))"#
    ))
}

/// Exports `get` under each of `exports`; all return `value`.
fn giver(exports: &[&str], value: u32) -> Vec<u8> {
    let exports: String = exports
        .iter()
        .map(|name| format!(r#"(export "{name}" (instance $i))"#))
        .collect();
    component(&format!(
        r#"(component
            (core module $m (func (export "get") (result i32) i32.const {value}))
            (core instance $c (instantiate $m))
            (func $get (result u32) (canon lift (core func $c "get")))
            (instance $i (export "get" (func $get)))
            {exports})"#
    ))
}

/// Exports `acme:shop/price`, whose `get` returns the result of `import`.
fn relay(import: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
            (import "{import}" (instance $in (export "get" (func (result u32)))))
            (core func $f (canon lower (func $in "get")))
            (core module $m (import "d" "f" (func $f (result i32)))
                (func (export "get") (result i32) call $f))
            (core instance $c (instantiate $m (with "d" (instance (export "f" (func $f))))))
            (func $get (result u32) (canon lift (core func $c "get")))
            (instance $i (export "get" (func $get)))
            (export "acme:shop/price@1.0.0" (instance $i)))"#
    ))
}

const PRICE: &str = "acme:shop/price@1.0.0";
const NOTHING: Inherit<'static> = Inherit::Keys(&[]);

fn dependency<'a>(name: &'a str, bytes: &'a [u8], inherit: Inherit<'a>) -> Dependency<'a> {
    Dependency {
        name,
        bytes,
        export: None,
        inherit,
    }
}

fn imports(bytes: &[u8]) -> Vec<String> {
    let engine = Engine::new(&Config::new()).unwrap();
    let component = Component::new(&engine, bytes).unwrap();
    let ty = component.component_type();
    ty.imports(&engine)
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Calls `run` with a host whose `get` of every interface in `host` returns 1000.
fn run(bytes: &[u8], host: &[&str]) -> Result<u32, String> {
    let engine = Engine::new(&Config::new()).unwrap();
    let component = Component::new(&engine, bytes).unwrap();
    let mut linker = Linker::<()>::new(&engine);
    for interface in host {
        let mut instance = linker.instance(interface).unwrap();
        instance
            .func_wrap("get", |_, (): ()| Ok((1000_u32,)))
            .unwrap();
    }
    let mut store = Store::new(&engine, ());
    let instance = linker
        .instantiate(&mut store, &component)
        .map_err(|error| format!("{error:#}"))?;
    let run = instance
        .get_typed_func::<(), (u32,)>(&mut store, "run")
        .unwrap();
    let (sum,) = run
        .call(&mut store, ())
        .map_err(|error| format!("{error:#}"))?;
    Ok(sum)
}

#[test]
fn without_dependencies_the_bytes_stay() {
    let parent = caller(&[PRICE]);
    assert!(matches!(compose(&parent, &[]), Ok(Cow::Borrowed(same)) if same == parent));
}

#[test]
fn a_dependency_satisfies_an_import() {
    let (parent, price) = (caller(&[PRICE]), giver(&[PRICE], 41));
    for name in [PRICE, "acme:shop/price", "acme:shop", "acme:shop@1.0.0"] {
        let whole = compose(&parent, &[dependency(name, &price, NOTHING)]).unwrap();
        assert_eq!(imports(&whole), Vec::<String>::new());
        assert_eq!(run(&whole, &[]), Ok(41));
    }
}

#[test]
fn composing_twice_gives_the_same_bytes() {
    let (parent, price) = (caller(&[PRICE]), giver(&[PRICE], 41));
    let dependencies = [dependency(PRICE, &price, NOTHING)];
    assert_eq!(
        compose(&parent, &dependencies).unwrap(),
        compose(&parent, &dependencies).unwrap()
    );
}

#[test]
fn a_plain_name_matches_an_import_of_that_name() {
    let (parent, price) = (caller(&["price"]), giver(&["price"], 5));
    let whole = compose(&parent, &[dependency("price", &price, NOTHING)]).unwrap();
    assert_eq!(run(&whole, &[]), Ok(5));
}

#[test]
fn a_package_satisfies_all_its_interfaces_and_leaves_the_rest() {
    let parent = caller(&[PRICE, "acme:shop/tax@1.0.0", "acme:clock/now"]);
    let shop = giver(&[PRICE, "acme:shop/tax@1.0.0"], 10);
    let whole = compose(&parent, &[dependency("acme:shop", &shop, NOTHING)]).unwrap();
    assert_eq!(imports(&whole), ["acme:clock/now"]);
    assert_eq!(run(&whole, &["acme:clock/now"]), Ok(1020));
}

#[test]
fn two_dependencies_satisfy_one_import_each() {
    let parent = caller(&[PRICE, "acme:shop/tax@1.0.0"]);
    let (price, tax) = (giver(&[PRICE], 1), giver(&["acme:shop/tax@1.0.0"], 2));
    let whole = compose(
        &parent,
        &[
            dependency("acme:shop/price", &price, NOTHING),
            dependency("acme:shop/tax", &tax, NOTHING),
        ],
    )
    .unwrap();
    assert_eq!(run(&whole, &[]), Ok(3));
}

#[test]
fn another_export_can_be_named() {
    let (parent, price) = (caller(&[PRICE]), giver(&["other:shop/price@2.0.0"], 9));
    let with_export = Dependency {
        export: Some("other:shop/price@2.0.0"),
        ..dependency(PRICE, &price, NOTHING)
    };
    let whole = compose(&parent, &[with_export]).unwrap();
    assert_eq!(run(&whole, &[]), Ok(9));
}

#[test]
fn a_name_that_matches_nothing_is_told_with_the_imports() {
    let (parent, price) = (caller(&[PRICE]), giver(&[PRICE], 1));
    let error = compose(&parent, &[dependency("acme:shop/tax", &price, NOTHING)]).unwrap_err();
    assert!(
        matches!(&error, ComposeError::Unmatched { dependency, .. } if dependency == "acme:shop/tax")
    );
    assert!(error.to_string().contains(PRICE), "{error}");
    let error = compose(&parent, &[dependency("no name", &price, NOTHING)]).unwrap_err();
    assert!(matches!(error, ComposeError::Name { .. }), "{error}");
}

#[test]
fn two_dependencies_for_one_import_are_a_conflict() {
    let (parent, price) = (caller(&[PRICE]), giver(&[PRICE], 1));
    let error = compose(
        &parent,
        &[
            dependency("acme:shop/price", &price, NOTHING),
            dependency("acme:shop@1.0.0", &price, NOTHING),
        ],
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "import `acme:shop/price@1.0.0` is matched by two dependencies, `acme:shop/price` and `acme:shop@1.0.0`"
    );
}

#[test]
fn a_missing_export_is_named() {
    let (parent, tax) = (caller(&[PRICE]), giver(&["acme:shop/tax@1.0.0"], 1));
    let error = compose(&parent, &[dependency(PRICE, &tax, NOTHING)]).unwrap_err();
    assert!(matches!(&error, ComposeError::MissingExport { export, .. } if export == PRICE));
}

#[test]
fn an_export_of_another_type_is_refused() {
    let parent = caller(&[PRICE]);
    let price = component(
        r#"(component
            (core module $m (func (export "get") (result i64) i64.const 1))
            (core instance $c (instantiate $m))
            (func $get (result u64) (canon lift (core func $c "get")))
            (instance $i (export "get" (func $get)))
            (export "acme:shop/price@1.0.0" (instance $i)))"#,
    );
    let error = compose(&parent, &[dependency(PRICE, &price, NOTHING)]).unwrap_err();
    assert!(
        matches!(error, ComposeError::Incompatible { .. }),
        "{error}"
    );
}

#[test]
fn what_is_no_component_is_told_by_name() {
    let (parent, price) = (caller(&[PRICE]), giver(&[PRICE], 1));
    let error = compose(b"text", &[dependency(PRICE, &price, NOTHING)]).unwrap_err();
    assert!(matches!(error, ComposeError::Parent { .. }), "{error}");
    let error = compose(&parent, &[dependency(PRICE, b"text", NOTHING)]).unwrap_err();
    assert!(matches!(&error, ComposeError::Dependency { dependency, .. } if dependency == PRICE));
    let broken = &price[..price.len() - 2];
    for inherit in [NOTHING, Inherit::All] {
        let error = compose(&parent, &[dependency(PRICE, broken, inherit)]).unwrap_err();
        assert!(
            matches!(
                error,
                ComposeError::Invalid { .. } | ComposeError::Isolate { .. }
            ),
            "{error}"
        );
    }
}

#[test]
fn what_is_not_inherited_traps() {
    let parent = caller(&[PRICE]);
    for denied in [
        "spin:variables/variables@3.0.0",
        "fermyon:spin/key-value@2.0.0",
        "wasi:http/outgoing-handler@0.2.6",
        "fermyon:spin/http",
        "wasi:config/store@0.2.0-draft-2024-09-27",
    ] {
        let price = relay(denied);
        let open = compose(&parent, &[dependency(PRICE, &price, Inherit::All)]).unwrap();
        assert_eq!(imports(&open), [denied]);
        assert_eq!(run(&open, &[denied]), Ok(1000));

        let closed = compose(&parent, &[dependency(PRICE, &price, NOTHING)]).unwrap();
        assert_eq!(imports(&closed), Vec::<String>::new(), "{denied}");
        let error = run(&closed, &[denied]).unwrap_err();
        assert!(error.contains("unreachable"), "{denied}: {error}");
    }
}

#[test]
fn a_key_opens_its_own_interfaces_only() {
    let parent = caller(&[PRICE]);
    let price = relay("spin:variables/variables@3.0.0");
    let keys = ["variables".to_owned(), "of the future".to_owned()];
    let whole = compose(&parent, &[dependency(PRICE, &price, Inherit::Keys(&keys))]).unwrap();
    assert_eq!(run(&whole, &["spin:variables/variables@3.0.0"]), Ok(1000));
    let keys = ["files".to_owned()];
    let whole = compose(&parent, &[dependency(PRICE, &price, Inherit::Keys(&keys))]).unwrap();
    assert_eq!(imports(&whole), Vec::<String>::new());
}

#[test]
fn what_is_no_capability_stays_the_hosts() {
    let parent = caller(&[PRICE]);
    let price = relay("wasi:clocks/monotonic-clock@0.2.6");
    let whole = compose(&parent, &[dependency(PRICE, &price, NOTHING)]).unwrap();
    assert_eq!(
        run(&whole, &["wasi:clocks/monotonic-clock@0.2.6"]),
        Ok(1000)
    );
}

#[test]
fn the_parent_keeps_what_its_dependency_lost() {
    let variables = "spin:variables/variables@3.0.0";
    let parent = caller(&[PRICE, variables]);
    let price = giver(&[PRICE], 1);
    let whole = compose(&parent, &[dependency(PRICE, &price, NOTHING)]).unwrap();
    assert_eq!(run(&whole, &[variables]), Ok(1001));
}

#[test]
fn an_environment_that_is_not_inherited_is_empty() {
    let parent = caller(&[PRICE]);
    let price = component(
        r#"(component
            (import "wasi:cli/environment@0.2.6" (instance $env
                (export "get-environment" (func (result (list (tuple string string)))))
                (export "initial-cwd" (func (result (option string))))))
            (core module $memory
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (if (local.get 3) (then unreachable))
                    (local.get 2)))
            (core instance $mem (instantiate $memory))
            (core func $get (canon lower (func $env "get-environment")
                (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
            (core func $cwd (canon lower (func $env "initial-cwd")
                (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
            (core module $m
                (import "d" "memory" (memory 1))
                (import "d" "get" (func $get (param i32)))
                (import "d" "cwd" (func $cwd (param i32)))
                (func (export "get") (result i32)
                    (i32.store (i32.const 20) (i32.const 77))
                    (call $get (i32.const 16))
                    (call $cwd (i32.const 32))
                    (i32.add (i32.load (i32.const 20)) (i32.load8_u (i32.const 32)))))
            (core instance $c (instantiate $m (with "d" (instance
                (export "memory" (memory $mem "memory"))
                (export "get" (func $get))
                (export "cwd" (func $cwd))))))
            (func $price (result u32) (canon lift (core func $c "get")))
            (instance $i (export "get" (func $price)))
            (export "acme:shop/price@1.0.0" (instance $i)))"#,
    );
    let whole = compose(&parent, &[dependency(PRICE, &price, NOTHING)]).unwrap();
    assert_eq!(run(&whole, &[]), Ok(0));
}
