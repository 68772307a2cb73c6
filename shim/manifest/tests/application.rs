//! Querying an application, and reducing it to some components.

use std::collections::BTreeSet;

use skiff_manifest::{
    Application, ContentRef, HttpRoute, HttpTarget, RetainError, TriggerKind, lock, toml,
};

fn read(text: &str) -> Application {
    toml::read(text, "spin.toml").unwrap_or_else(|faults| panic!("{faults}"))
}

/// `a` calls `b`, `w` may call all, `l` is only composed into `b`, and nothing runs `n`.
fn shop() -> Application {
    read(
        r#"
        spin_manifest_version = 2
        application.name = "shop"
        [variables]
        host = { default = "c" }
        [[trigger.http]]
        route = "/a"
        component = "a"
        [[trigger.http]]
        route = { private = true }
        component = "b"
        [[trigger.http]]
        route = "/static"
        static_response = {}
        [[trigger.redis]]
        component = "a"
        channel = "x"
        [[trigger.http]]
        route = "/w"
        component = "w"
        [component.a]
        source = "a.wasm"
        allowed_outbound_hosts = ["http://b.spin.internal", "http://{{ host }}.spin.internal"]
        [component.b]
        source = "b.wasm"
        dependencies = { l = { component = "l" } }
        [component.l]
        source = "l.wasm"
        [component.n]
        source = "n.wasm"
        [component.w]
        source = "w.wasm"
        allowed_outbound_hosts = ["*://*.spin.internal:*"]
        "#,
    )
}

fn retained(ids: &[&str]) -> Result<(Vec<String>, Vec<String>), RetainError> {
    let mut application = shop();
    application.retain(ids)?;
    let triggers = application
        .triggers
        .into_iter()
        .map(|trigger| trigger.id)
        .collect();
    let components = application
        .components
        .into_iter()
        .map(|component| component.id)
        .collect();
    Ok((triggers, components))
}

#[test]
fn a_single_file_answers_on_every_route_and_is_granted_nothing() {
    let source = ContentRef {
        source: Some("hello.wasm".into()),
        ..ContentRef::default()
    };
    let application = Application::single_component("hello", "hello.wasm", source.clone());
    assert_eq!(application.name, "hello");
    let [trigger] = &application.triggers[..] else {
        panic!("one trigger")
    };
    assert_eq!(trigger.id, "http-trigger1");
    let TriggerKind::Http(http) = &trigger.kind else {
        panic!("an HTTP trigger")
    };
    assert_eq!(http.route, HttpRoute::Path("/...".into()));
    assert_eq!(http.target, HttpTarget::Component("hello.wasm".into()));
    let component = application.component("hello.wasm").expect("the component");
    assert_eq!(component.source, source);
    assert!(component.allowed_outbound_hosts.is_empty());
    let read = lock::read(&lock::write(&application), "spin.json");
    assert_eq!(read.as_ref(), Ok(&application));
}

#[test]
fn triggers_that_nothing_serves_can_be_found() {
    let application = shop();
    assert_eq!(
        application.trigger_types(),
        BTreeSet::from(["http", "redis"])
    );
    let unknown = application.unknown_triggers(&["http", "command"]);
    let ids: Vec<_> = unknown.iter().map(|trigger| trigger.id.as_str()).collect();
    assert_eq!(ids, ["a-redis-trigger"]);
}

#[test]
fn retaining_keeps_the_triggers_of_a_component() {
    let (triggers, components) = retained(&["a", "b"]).expect("both exist");
    assert_eq!(
        triggers,
        ["a-http-trigger", "b-http-trigger", "a-redis-trigger"]
    );
    assert_eq!(
        components,
        ["a", "b", "l"],
        "what `b` is composed with stays as well"
    );
}

#[test]
fn a_component_that_nothing_runs_is_not_retained() {
    assert_eq!(retained(&["n"]), Ok((Vec::new(), Vec::new())));
}

#[test]
fn retaining_nothing_leaves_nothing() {
    assert_eq!(retained(&[]), Ok((Vec::new(), Vec::new())));
}

#[test]
fn an_unknown_component_cannot_be_retained() {
    let error = retained(&["b", "c"]).expect_err("there is no `c`");
    assert_eq!(
        error.to_string(),
        "component `c` is to be retained but does not exist; there are `a`, `b`, `l`, `n`, `w`"
    );
}

#[test]
fn a_component_that_would_be_called_must_be_retained_too() {
    let error = retained(&["a"]).expect_err("`a` calls `b`");
    assert_eq!(
        error,
        RetainError::Chains {
            component: "a".into(),
            target: "b".into()
        }
    );
    let error = retained(&["a", "b", "w"]).expect_err("`w` may call all");
    assert_eq!(
        error,
        RetainError::ChainsToAll {
            component: "w".into()
        }
    );
}

#[test]
fn an_application_that_cannot_be_cut_down_is_left_whole() {
    let mut application = shop();
    application.retain(&["a"]).expect_err("`a` calls `b`");
    assert_eq!(application, shop());
}

#[test]
fn chaining_is_required_where_a_host_is_a_component() {
    let application = shop();
    let needs = |id: &str| {
        application
            .component(id)
            .expect("a component")
            .needs_service_chaining()
    };
    assert!(needs("a"));
    assert!(needs("w"));
    assert!(!needs("b"));
}

#[test]
fn of_a_manifest_with_mistakes_the_rest_is_what_was_written() {
    let text = r#"spin_manifest_version = 2
[application]
name = "shop"
[variables]
broken = { default = 5 }
[[trigger.http]]
route = "/whole/*/whole"
component = "whole"
[[trigger.http]]
route = "/nothing"
component = "nothing"
[component.whole]
source = "whole.wasm"
files = ["a"]
[component.wrong]
source = "wrong.wasm"
files = ["../a"]
[component.uses-broken]
source = "uses.wasm"
allowed_outbound_hosts = ["https://{{ broken }}"]
[component.nothing]
description = "without a source"
[component.without-it]
source = "without.wasm"
dependencies = { "acme:shop/price" = { component = "nothing" } }
"#;
    let faults = toml::read(text, "spin.toml").expect_err("mistakes");
    assert_eq!(faults.faults.len(), 4, "{faults}");
    let rest = *faults.rest.expect("what could be read");
    let components = rest.application.components.iter();
    let components: Vec<_> = components.map(|c| (c.id.as_str(), c.files.len())).collect();
    assert_eq!(
        components,
        [
            ("whole", 1),
            ("wrong", 0),
            ("uses-broken", 0),
            ("without-it", 0)
        ]
    );
    let partial: Vec<_> = rest.partial.iter().map(String::as_str).collect();
    assert_eq!(partial, ["nothing", "uses-broken", "without-it", "wrong"]);
    let triggers = rest.application.triggers.iter();
    let triggers: Vec<_> = triggers.map(|t| t.component()).collect();
    assert_eq!(triggers, [Some("whole")]);
    assert!(rest.application.variables.is_empty());
}
