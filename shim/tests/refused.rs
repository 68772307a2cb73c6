//! Applications that cannot start report why, name the subject and the place, and exit
//! with a matching code.

mod support;

use std::net::TcpListener;

use support::Skiff;

#[track_caller]
fn refused(skiff: Skiff, code: i32, parts: &[&str]) {
    let ended = skiff.end();
    for part in parts {
        assert!(
            ended.stderr.contains(part),
            "{part:?} is missing in: {}",
            ended.stderr
        );
    }
    assert_eq!(ended.status.code(), Some(code), "{}", ended.stderr);
}

fn manifest(component: &str, rest: &str) -> Skiff {
    Skiff::manifest(&format!(
        "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"web\"\n[component.web]\nsource = \"{{guest:{component}}}\"\n{rest}"
    ))
}

#[test]
fn an_import_that_nobody_offers_names_it_and_the_component() {
    refused(
        Skiff::component("unknown-import"),
        65,
        &[
            "unknown-import.wasm`",
            "nowhere:land/teapot@1.2.3",
            "which no host offers",
        ],
    );
}

/// Applications of Spin's Python SDK import everything that the SDK knows.
#[test]
fn what_was_granted_and_is_not_offered_yet_is_told_by_component_grant_and_interface() {
    for (grant, told, interface) in [
        (
            "ai_models = [\"llama2-chat\"]",
            "ai_models grants `llama2-chat`",
            "fermyon:spin/llm@2.0.0",
        ),
        (
            "allowed_outbound_hosts = [\"redis://cache:6379\"]",
            "allowed_outbound_hosts grants `redis://cache:6379`",
            "fermyon:spin/redis@2.0.0",
        ),
        (
            "allowed_outbound_hosts = [\"postgres://db:5432\"]",
            "allowed_outbound_hosts grants `postgres://db:5432`",
            "fermyon:spin/postgres@2.0.0",
        ),
        (
            "allowed_outbound_hosts = [\"mysql://db:3306\"]",
            "allowed_outbound_hosts grants `mysql://db:3306`",
            "fermyon:spin/mysql@2.0.0",
        ),
    ] {
        let parts = ["`web`", told, interface, "does not offer yet"];
        refused(manifest("python-3-4", &format!("{grant}\n")), 65, &parts);
    }
}

#[test]
fn a_missing_variable_is_named_with_what_to_set() {
    let skiff = manifest(
        "hello",
        "variables = { x = \"{{ who }}\" }\n[variables]\nwho = { required = true }\n",
    );
    refused(skiff, 65, &["`who`", "SPIN_VARIABLE_WHO"]);
}

#[test]
fn a_setting_that_does_not_parse_is_named_with_its_value() {
    let skiff = Skiff::component("hello").env("SKIFF_REQUEST_TIMEOUT", "soon");
    refused(skiff, 78, &["SKIFF_REQUEST_TIMEOUT", "soon"]);
}

#[test]
fn manifest_mistakes_are_told_with_file_line_and_column() {
    let skiff = Skiff::manifest("spin_manifest_version = 2\n[application]\nnme = \"a\"\n");
    refused(skiff, 65, &["spin.toml:3:1"]);
}

#[test]
fn triggers_that_cannot_be_together_are_named() {
    let two = |first: &str, second: &str| {
        Skiff::manifest(&format!(
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n{first}component = \"one\"\n{second}component = \"other\"\n[component.one]\nsource = \"{{guest:args-env}}\"\n[component.other]\nsource = \"{{guest:hello}}\"\n"
        ))
    };
    let command = |id: &str| format!("[[trigger.command]]\nid = \"{id}\"\n");
    refused(
        two(&command("c1"), &command("c2")),
        65,
        &["triggers `c1`, `c2` are of type `command`"],
    );
    refused(
        two(&command("c1"), "[[trigger.http]]\nroute = \"/...\"\n"),
        65,
        &["trigger `c1` is of type `command`, and an application with HTTP triggers"],
    );
}

#[test]
fn a_component_is_not_blamed_for_a_trigger_that_is_not_served() {
    let skiff = Skiff::manifest(
        "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.redis]]\nchannel = \"c\"\ncomponent = \"one\"\n[component.one]\nsource = \"{guest:hello}\"\n",
    );
    let ended = skiff.end();
    assert!(
        ended.stderr.contains("is of type `redis`"),
        "{}",
        ended.stderr
    );
    assert!(
        !ended.stderr.contains("cannot be called"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_unknown_trigger_type_is_named() {
    let skiff = Skiff::manifest(
        "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.pigeon]]\ncomponent = \"web\"\n[component.web]\nsource = \"{guest:hello}\"\n",
    );
    refused(skiff, 65, &["pigeon"]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let by_option = Skiff::component("hello").args(&["--listen", &address]);
    refused(by_option, 69, &[&address, "in use"]);
    let by_setting = Skiff::component("hello").env("SKIFF_HTTP_LISTEN_ADDR", &address);
    refused(by_setting, 69, &[&address, "in use"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let skiff = Skiff::component("hello").env("SKIFF_CACHE_DIR", "/proc/skiff-cache");
    refused(skiff, 74, &["/proc/skiff-cache"]);
}

#[test]
fn what_is_not_wasm_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.wasm");
    std::fs::write(&path, "hello").unwrap();
    refused(Skiff::of(&path), 65, &["app.wasm"]);
    std::fs::write(&path, b"\x7fELF\x02\x01\x01\0").unwrap();
    refused(Skiff::of(&path), 65, &["precompiled"]);
}

#[test]
fn a_file_that_makes_no_component_is_told_by_the_name_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.wasm");
    // An empty core module.
    std::fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
    let named = format!("`{}`", path.display());
    refused(Skiff::of(&path), 65, &[&named]);
    let ended = Skiff::of(&path).end();
    assert!(!ended.stderr.contains("http-trigger1"), "{}", ended.stderr);
}

#[test]
fn what_does_not_exist_is_named() {
    refused(
        Skiff::of("/nowhere/at-all".as_ref()),
        65,
        &["/nowhere/at-all"],
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    // A variable without a value, missing files, components that cannot be built, and a
    // missing component.
    let skiff = Skiff::manifest(
        r#"spin_manifest_version = 2
[application]
name = "a"
[variables]
who = { required = true }
[[trigger.http]]
route = "/one"
component = "one"
[[trigger.http]]
route = "/two"
component = "two"
[[trigger.http]]
route = "/three"
component = "three"
[[trigger.http]]
route = "/four"
component = "four"
[component.one]
source = "{guest:hello}"
files = ["absent.txt"]
[component.two]
source = "empty.wasm"
[component.three]
source = "{guest:hello}"
[component.three.dependencies]
"acme:shop/price" = { path = "{guest:hello}" }
[component.four]
source = "nowhere.wasm"
"#,
    );
    std::fs::write(skiff.folder().join("empty.wasm"), b"\0asm\x01\0\0\0").unwrap();
    refused(
        skiff,
        65,
        &[
            "component `one`: `absent.txt`",
            "component `two` cannot be built",
            "component `three` cannot be built",
            "nowhere.wasm",
            "variable `who` has no value",
        ],
    );
}

#[test]
fn mistakes_of_a_manifest_are_told_with_those_of_its_components() {
    let text = r#"spin_manifest_version = 2
[application]
name = "a"
[variables]
who = { required = true }
broken = { default = 5 }
[[trigger.http]]
route = "/one"
component = "one"
[[trigger.http]]
route = "/two/*/two"
component = "two"
[[trigger.http]]
route = "/three/*rest"
component = "three"
[[trigger.http]]
route = "/four"
component = "four"
[[trigger.http]]
route = "/five"
component = "five"
[[trigger.http]]
route = "/six"
component = "six"
[[trigger.http]]
route = "/seven"
component = "seven"
[component.one]
source = "one.wasm"
variables = { greeting = "{{ nobody }}" }
[component.two]
source = "{guest:unknown-import}"
[component.three]
source = "{guest:unknown-import}"
[component.four]
description = "without a source"
[component.five]
source = "five.wasm"
[component.six]
source = "{guest:hello}"
variables = { greeting = "{{ broken }}" }
[component.seven]
source = "{guest:hello}"
dependencies = { "acme:shop/price" = { component = "four" } }
"#;
    let wrong = [
        "spin.toml:6:22: variable `broken`: `default` must be a string",
        "spin.toml:11:9: trigger `two-http-trigger`: `route` is \"/two/*/two\"",
        "spin.toml:30:26: component `one`: `variables.greeting` names the variable `nobody`",
        "spin.toml:35:1: component `four`: `source` is missing",
        "one.wasm`",
        "five.wasm` is not a WebAssembly binary",
        "trigger `three-http-trigger`: route `/three/*rest`",
        "variable `who` has no value",
        "component `two` imports `nowhere:land/teapot@1.2.3`",
        "component `three` imports `nowhere:land/teapot@1.2.3`",
    ];
    let skiff = || Skiff::manifest(text).file("five.wasm", "hello");
    let ended = skiff().end();
    refused(skiff(), 65, &wrong);
    // Nothing else is reported: things missing only because they could not be read do not
    // count.
    let told = ended.stderr.trim_end();
    assert_eq!(told.lines().count(), wrong.len(), "{told}");
    // The components to leave out may be those that could not be read.
    let skiff = skiff().env("SKIFF_COMPONENTS_TO_RETAIN", "four,five");
    let ended = skiff.end();
    assert!(!ended.stderr.contains("RETAIN"), "{}", ended.stderr);
}

#[test]
fn the_port_opens_only_for_what_runs() {
    // If the port were opened first, the error would be that it is taken.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let skiff = Skiff::manifest(
        "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\nroute = \"/a/*rest\"\ncomponent = \"web\"\n[component.web]\nsource = \"{guest:hello}\"\n",
    );
    refused(skiff.args(&["--listen", &address]), 65, &["*rest"]);
}

#[test]
fn a_memory_over_the_limit_is_told_before_the_start() {
    let skiff = Skiff::component("hello").env("SKIFF_MAX_INSTANCE_MEMORY", "64Ki");
    refused(
        skiff,
        65,
        &["component `", "SKIFF_MAX_INSTANCE_MEMORY", "65536"],
    );
}
