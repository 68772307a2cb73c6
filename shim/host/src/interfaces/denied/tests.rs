//! One guest per family and version, which calls without a grant.

use skiff_engine::{Pool, Resources, Runner, Tier};
use wasmtime::component::{Component, Linker, Val};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WasmImport, WorldItem};

use super::*;
use crate::Grants;
use crate::interfaces::{add_to_linker, is_denied};

const MANGLING: ManglingAndAbi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);

/// A guest whose `call` forwards to functions of one interface.
struct Guest<'a> {
    /// The packages of the interface.
    packages: &'a str,
    /// The interface, and which of its types `call` uses.
    interface: &'a str,
    uses: &'a str,
    /// The signature of `call`.
    call: &'a str,
    /// The functions. The first has the parameters of `call`, each further one takes what
    /// the one before it returned, and the last returns the result.
    functions: &'a [&'a str],
}

fn flat(types: &[WasmType]) -> String {
    let name = |ty: &WasmType| match ty {
        WasmType::I64 | WasmType::PointerOrI64 => " i64",
        WasmType::F32 => " f32",
        WasmType::F64 => " f64",
        _ => " i32",
    };
    types.iter().map(name).collect()
}

impl Guest<'_> {
    fn component(&self) -> Vec<u8> {
        let Guest {
            packages,
            interface,
            uses,
            call,
            ..
        } = self;
        let uses = match *uses {
            "" => String::new(),
            types => format!("use {interface}.{{{types}}};"),
        };
        let world = format!(
            "package skiff:test; world test {{ import {interface}; {uses} export call: {call}; }} {packages}"
        );
        let mut resolve = Resolve::default();
        let package = resolve.push_str("test.wit", &world).expect(&world);
        let world = resolve.select_world(&[package], Some("test")).unwrap();
        let bytes = wat::parse_str(self.module(&resolve, world)).unwrap();
        let mut bytes = bytes;
        let utf8 = StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut bytes, &resolve, world, utf8).unwrap();
        let encoder = ComponentEncoder::default().validate(true);
        encoder.module(&bytes).unwrap().encode().unwrap()
    }

    fn module(&self, resolve: &Resolve, world: wit_parser::WorldId) -> String {
        let (mut imports, mut body, mut parameters) = (String::new(), String::new(), None);
        for (n, wanted) in self.functions.iter().enumerate() {
            let items = resolve.worlds[world].imports.iter();
            let (key, function) = items
                .filter_map(|(key, item)| match item {
                    WorldItem::Interface { id, .. } => {
                        Some((key, resolve.interfaces[*id].functions.get(*wanted)?))
                    }
                    _ => None,
                })
                .next()
                .expect(wanted);
            let (interface, func) = (Some(key), function);
            let import = WasmImport::Func { interface, func };
            let (module, name) = resolve.wasm_import_name(MANGLING, import);
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
            let (params, results) = (flat(&signature.params), flat(&signature.results));
            imports += &format!(
                "(import \"{module}\" \"{name}\" (func $f{n} (param{params}) (result{results})))"
            );
            let own = signature.params.len() - usize::from(signature.retptr);
            let arguments: String = match &parameters {
                None => (0..own).map(|n| format!("(local.get {n})")).collect(),
                // A handle, and an empty text for everything else.
                Some(_) => {
                    let handle = "(local.get $handle)".to_owned();
                    handle + &"(i32.const 0)".repeat(own - 1)
                }
            };
            parameters.get_or_insert_with(|| flat(&signature.params[..own]));
            let handle = n + 1 < self.functions.len() && !signature.retptr;
            body += &match (signature.retptr, handle) {
                (true, _) => format!("(call $f{n} {arguments} (i32.const 16))"),
                (false, true) => format!("(local.set $handle (call $f{n} {arguments}))"),
                (false, false) => format!("(call $f{n} {arguments})"),
            };
            if n + 1 == self.functions.len() && signature.retptr {
                body += "(i32.const 16)";
            }
        }
        let parameters = parameters.unwrap_or_default();
        format!(
            r#"(module {imports}
                (memory (export "memory") 1)
                (global $next (mut i32) (i32.const 1024))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (global.get $next)
                    (global.set $next (i32.and (i32.const -8)
                        (i32.add (i32.const 7) (i32.add (global.get $next) (local.get 3))))))
                (func (export "call") (param{parameters}) (result i32) (local $handle i32) {body}))"#
        )
    }

    async fn answer(&self, args: &[Val]) -> Val {
        let resources = Resources {
            memories: 1,
            tables: 1,
            table_elements: 1,
        };
        let pool = Pool {
            instances: 1,
            resources,
        };
        let runner = Runner::new(Tier::Optimized, true, 1 << 20, &pool).unwrap();
        let engine = runner.engine();
        let component = Component::new(engine, self.component()).unwrap();
        let mut linker = Linker::new(engine);
        let ty = component.component_type();
        let imports: Vec<_> = ty.imports(engine).map(|(name, _)| name).collect();
        add_to_linker(&mut linker, &imports, true).unwrap();
        for (name, import) in ty.imports(engine) {
            if is_denied(name) {
                deny(&mut linker, engine, name, &import.ty).unwrap();
            }
        }
        let grants = Arc::new(Grants::none("guest"));
        let mut store = State::store(engine, &grants, &runner.ticks());
        let instance = linker.instantiate_async(&mut store, &component).await;
        let instance = instance.unwrap();
        let call = instance.get_func(&mut store, "call").unwrap();
        let mut results = [Val::Bool(false)];
        call.call_async(&mut store, args, &mut results)
            .await
            .unwrap();
        let [answer] = results;
        answer
    }
}

fn text(text: &str) -> Val {
    Val::String(text.into())
}

/// The error with this case, and with a text if one is given.
fn denied(case: &str, payload: Option<&str>) -> Val {
    let payload = payload.map(|payload| Box::new(text(payload)));
    Val::Result(Err(Some(Box::new(Val::Variant(case.into(), payload)))))
}

fn denied_enum(case: &str) -> Val {
    Val::Result(Err(Some(Box::new(Val::Enum(case.into())))))
}

/// Interfaces with a resource that is opened by one text: the result of opening it.
#[tokio::test]
async fn what_is_opened_without_a_grant_is_denied() {
    let redis =
        "variant error { invalid-address, too-many-connections, type-error, other(string) }";
    let database = "variant error { connection-failed(string), bad-parameter(string), query-failed(string), value-conversion-failed(string), other(string) }";
    let not_permitted = Some("address postgres://db/x is not permitted");
    let failed = ("connection-failed", not_permitted);
    let invalid = ("invalid-address", None);
    for (package, interface, resource, error, is_async, open, (case, payload)) in [
        (
            "fermyon:spin@2.0.0",
            "redis",
            "connection",
            redis,
            false,
            "open",
            invalid,
        ),
        (
            "spin:redis@3.0.0",
            "redis",
            "connection",
            redis,
            true,
            "open",
            invalid,
        ),
        (
            "fermyon:spin@2.0.0",
            "postgres",
            "connection",
            database,
            false,
            "open",
            failed,
        ),
        (
            "spin:postgres@3.0.0",
            "postgres",
            "connection",
            database,
            false,
            "open",
            failed,
        ),
        (
            "spin:postgres@4.0.0",
            "postgres",
            "connection",
            database,
            false,
            "open",
            failed,
        ),
        (
            "spin:postgres@4.2.0",
            "postgres",
            "connection",
            database,
            true,
            "open-async",
            failed,
        ),
        (
            "fermyon:spin@2.0.0",
            "mysql",
            "connection",
            database,
            false,
            "open",
            failed,
        ),
        (
            "spin:mysql@3.0.0",
            "mysql",
            "connection",
            database,
            true,
            "open",
            failed,
        ),
    ] {
        let (name, version) = package.split_once('@').unwrap();
        let kind = if is_async { "async func" } else { "func" };
        let packages = format!(
            "package {package} {{ interface {interface} {{ {error}
                resource {resource} {{ {open}: static {kind}(name: string) -> result<{resource}, error>; }} }} }}"
        );
        let guest = Guest {
            packages: &packages,
            interface: &format!("{name}/{interface}@{version}"),
            uses: &format!("{resource}, error"),
            call: &format!("{kind}(name: string) -> result<{resource}, error>"),
            functions: &[&format!("[static]{resource}.{open}")],
        };
        let answer = guest.answer(&[text("postgres://db/x")]).await;
        assert_eq!(answer, denied(case, payload), "{package} {interface}");
    }
}

#[tokio::test]
async fn mqtt_without_a_grant_is_denied() {
    for (package, kind) in [
        ("fermyon:spin@2.0.0", "func"),
        ("spin:mqtt@3.0.0", "async func"),
    ] {
        let (name, version) = package.split_once('@').unwrap();
        let signature = format!(
            "{kind}(address: string, username: string, password: string, keep-alive-interval-in-secs: u64) -> result<connection, error>"
        );
        let guest = Guest {
            packages: &format!(
                "package {package} {{ interface mqtt {{
                    variant error {{ invalid-address, too-many-connections, connection-failed(string), other(string) }}
                    resource connection {{ open: static {signature}; }} }} }}"
            ),
            interface: &format!("{name}/mqtt@{version}"),
            uses: "connection, error",
            call: &signature,
            functions: &["[static]connection.open"],
        };
        let args = [text("mqtt://b:1883"), text("u"), text("p"), Val::U64(5)];
        let failed = Some("address mqtt://b:1883 is not permitted");
        assert_eq!(
            guest.answer(&args).await,
            denied("connection-failed", failed)
        );
    }
}

#[tokio::test]
async fn what_is_built_step_by_step_is_denied_at_the_last() {
    let guest = Guest {
        packages: "package spin:postgres@4.1.0 { interface postgres {
            variant error { connection-failed(string), other(string) }
            resource connection {}
            resource connection-builder {
                constructor(address: string);
                set-ca-root: func(certificate: string) -> result<_, error>;
                build: func() -> result<connection, error>; } } }",
        interface: "spin:postgres/postgres@4.1.0",
        uses: "connection, error",
        call: "func(address: string) -> result<connection, error>",
        functions: &[
            "[constructor]connection-builder",
            "[method]connection-builder.set-ca-root",
            "[method]connection-builder.build",
        ],
    };
    let answer = guest.answer(&[text("postgres://db")]).await;
    let failed = Some("address postgres://db is not permitted");
    assert_eq!(answer, denied("connection-failed", failed));
}

#[tokio::test]
async fn interfaces_without_versions_deny_as_they_can() {
    let spin = |interface: &str, body: &str| {
        format!("package fermyon:spin {{ interface {interface} {{ {body} }} }}")
    };
    let v1 = "enum error { success, error }";
    let pg = "variant pg-error { success, connection-failed(string), bad-parameter(string), query-failed(string), value-conversion-failed(string), other-error(string) }";
    let publish = "func(address: string, channel: string, payload: list<u8>) -> result<_, error>";
    let execute =
        "func(address: string, statement: string, params: list<string>) -> result<u64, pg-error>";
    let call = |interface: &'static str,
                body: String,
                name: &'static str,
                signature: &'static str,
                uses: &'static str| {
        let packages = spin(interface, &format!("{body} {name}: {signature};"));
        (
            packages,
            format!("fermyon:spin/{interface}"),
            uses,
            signature,
            name,
        )
    };
    let address = || vec![text("a://b"), text("x"), Val::List(vec![])];
    let failed = denied("connection-failed", Some("address a://b is not permitted"));
    for ((packages, interface, uses, signature, name), args, expected) in [
        (
            call("redis", v1.into(), "publish", publish, "error"),
            address(),
            denied_enum("error"),
        ),
        (
            call("postgres", pg.into(), "execute", execute, "pg-error"),
            address(),
            failed.clone(),
        ),
        (
            call("mysql", pg.into(), "execute", execute, "pg-error"),
            address(),
            failed,
        ),
    ] {
        let guest = Guest {
            packages: &packages,
            interface: &interface,
            uses,
            call: signature,
            functions: &[name],
        };
        assert_eq!(guest.answer(&args).await, expected, "{interface}");
    }
}

#[tokio::test]
async fn http_of_the_first_spin_is_denied_by_its_own_case() {
    let guest = Guest {
        packages: "package fermyon:spin { interface http {
            enum http-error { success, destination-not-allowed, invalid-url, request-error, runtime-error, too-many-requests }
            enum method { get, post, put, delete, patch, head, options }
            record request { method: method, uri: string, headers: list<tuple<string, string>>, params: list<tuple<string, string>>, body: option<list<u8>> }
            record response { status: u16, headers: option<list<tuple<string, string>>>, body: option<list<u8>> }
            send-request: func(req: request) -> result<response, http-error>; } }",
        interface: "fermyon:spin/http",
        uses: "http-error, method, request, response",
        call: "func(req: request) -> result<response, http-error>",
        functions: &["send-request"],
    };
    let request = Val::Record(vec![
        ("method".into(), Val::Enum("get".into())),
        ("uri".into(), text("https://example.com")),
        ("headers".into(), Val::List(vec![])),
        ("params".into(), Val::List(vec![])),
        ("body".into(), Val::Option(None)),
    ]);
    let answer = guest.answer(&[request]).await;
    assert_eq!(answer, denied_enum("destination-not-allowed"));
}

#[tokio::test]
async fn a_model_that_is_not_listed_is_invalid_input() {
    for at in ["", "@2.0.0"] {
        let guest = Guest {
            packages: &format!(
                "package fermyon:spin{at} {{ interface llm {{
                    variant error {{ model-not-supported, runtime-error(string), invalid-input(string) }}
                    infer: func(model: string, prompt: string) -> result<string, error>; }} }}"
            ),
            interface: &format!("fermyon:spin/llm{at}"),
            uses: "error",
            call: "func(model: string, prompt: string) -> result<string, error>",
            functions: &["infer"],
        };
        let answer = guest.answer(&[text("llama"), text("?")]).await;
        let why = "model `llama` is not granted: the component's `ai_models` does not list it";
        assert_eq!(answer, denied("invalid-input", Some(why)));
    }
}

#[tokio::test]
async fn telemetry_does_nothing_and_is_well() {
    let packages = "package wasi:otel@0.2.0-rc.2 {
        interface tracing {
            flags trace-flags { sampled }
            record span-context { trace-id: string, span-id: string, trace-flags: trace-flags,
                is-remote: bool, trace-state: list<tuple<string, string>> }
            outer-span-context: func() -> span-context; }
        interface metrics { %export: func(names: list<string>) -> result<_, string>; } }";
    let tracing = Guest {
        packages,
        interface: "wasi:otel/tracing@0.2.0-rc.2",
        uses: "span-context",
        call: "func() -> span-context",
        functions: &["outer-span-context"],
    };
    let nothing = Val::Record(vec![
        ("trace-id".into(), text(&"0".repeat(32))),
        ("span-id".into(), text(&"0".repeat(16))),
        ("trace-flags".into(), Val::Flags(vec![])),
        ("is-remote".into(), Val::Bool(false)),
        ("trace-state".into(), Val::List(vec![])),
    ]);
    assert_eq!(tracing.answer(&[]).await, nothing);
    let metrics = Guest {
        interface: "wasi:otel/metrics@0.2.0-rc.2",
        uses: "",
        call: "func(names: list<string>) -> result<_, string>",
        functions: &["export"],
        packages,
    };
    let answer = metrics.answer(&[Val::List(vec![])]).await;
    assert_eq!(answer, Val::Result(Ok(None)));
}
