//! Guests of Spin 1: modules in its binary interface, and commands that WAGI runs.

mod support;

use std::fs;

use support::{HEALTH, Skiff};

/// A module in the binary interface of Spin 1, written by hand: the toolchains that made
/// such modules are in no registry.
fn spin_1() -> Skiff {
    let manifest = r#"
spin_manifest_version = "1"
name = "old"
trigger = { type = "http", base = "/" }
[variables]
who = { default = "world" }
[[component]]
id = "old"
source = "old.wasm"
config = { who = "hello {{ who }}" }
trigger = { route = "/..." }
"#;
    let skiff = Skiff::manifest(manifest);
    let module = wat::parse_str(include_str!("spin_1.wat")).unwrap();
    fs::write(skiff.folder().join("old.wasm"), module).unwrap();
    skiff
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn a_module_of_spin_1_answers_as_it_always_did() {
    let skiff = spin_1().start();
    let got = skiff.get("/any/path?q=1");
    assert_eq!((got.status, got.text().as_str()), (200, "/any/path?q=1"));
    assert!(
        got.head.contains("content-type: text/plain"),
        "{}",
        got.head
    );
    assert!(got.head.contains("x-method: g"), "{}", got.head);
    let got = skiff.send(&post("/any", "what was sent"));
    assert_eq!((got.status, got.text().as_str()), (200, "what was sent"));
    assert_eq!(skiff.get("/variable").text(), "hello world");
    let head = skiff.send("HEAD /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn what_a_module_of_spin_1_cannot_do_hurts_one_request() {
    let skiff = spin_1().start();
    let got = skiff.send("TRACE /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!(got.status, 405);
    assert_eq!(skiff.get("/trap").status, 500);
    assert_eq!(skiff.get("/status").status, 500);
    assert_eq!(skiff.get("/fine").text().len(), 0);
    let ended = skiff.stop();
    assert!(
        ended.stderr.contains("it has the status 601"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_module_of_spin_1_that_computes_for_ever_is_ended_and_hurts_nobody() {
    let skiff = spin_1().env("SKIFF_REQUEST_TIMEOUT", "300ms").start();
    std::thread::scope(|scope| {
        let endless: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| skiff.get("/loops").status))
            .collect();
        assert_eq!(skiff.get(HEALTH).status, 200);
        for status in endless {
            assert_eq!(status.join().unwrap(), 504);
        }
    });
    assert_eq!(skiff.get("/any/other/path").text(), "/any/other/path");
}

#[test]
fn a_command_answers_as_wagi_runs_it() {
    for source in ["{guest:wagi}", "{guest:module-wagi}"] {
        let manifest = format!(
            r#"
spin_manifest_version = 2
[application]
name = "wagi"
[[trigger.http]]
route = "/cgi/..."
component = "cgi"
executor = {{ type = "wagi" }}
[component.cgi]
source = "{source}"
environment = {{ COLOUR = "blue" }}
"#
        );
        let skiff = Skiff::manifest(&manifest).start();
        let got = skiff.send(&post("/cgi/a/b?x=1&y=2", "sent"));
        let text = got.text();
        assert_eq!(got.status, 201, "{source}: {text}");
        assert!(got.head.contains("x-from: cgi"), "{source}: {}", got.head);
        for line in [
            "arg /cgi/a/b",
            "arg x=1",
            "arg y=2",
            "env COLOUR=blue",
            "env CONTENT_LENGTH=4",
            "env PATH_INFO=/a/b",
            "env QUERY_STRING=x=1&y=2",
            "env REQUEST_METHOD=POST",
            "env SCRIPT_NAME=/cgi",
            "env X_MATCHED_ROUTE=/cgi/...",
            "env REMOTE_ADDR=127.0.0.1",
            "body sent",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{source}: {line}\n{text}"
            );
        }
        // Each request has an instance of its own.
        for _ in 0..3 {
            assert_eq!(skiff.get("/cgi").status, 201);
        }
        for path in ["/cgi?exit", "/cgi?nothing", "/cgi?trap"] {
            let got = skiff.get(path);
            assert_eq!((got.status, got.body.len()), (500, 0), "{source}: {path}");
        }
        for (path, why) in [
            ("/cgi?silent", "has none of the headers"),
            ("/cgi?text", "does not begin with headers"),
        ] {
            let got = skiff.get(path);
            assert_eq!(got.status, 500, "{source}: {path}");
            assert!(got.text().contains(why), "{source}: {}", got.text());
        }
        let got = skiff.get("/cgi?status");
        assert_eq!((got.status, got.text().as_str()), (502, "hello\n"));
        // A module has no result but its exit code, and a component no exit code but its result.
        let is_module = source.contains("module");
        let fails = skiff.get("/cgi?fails").status;
        assert_eq!(fails, if is_module { 500 } else { 201 });
        assert_eq!(skiff.get("/cgi").status, 201);
        let ended = skiff.stop();
        for told in [
            if is_module {
                "its exit code is 3"
            } else {
                "its exit code is 1"
            },
            if is_module {
                "its exit code is 1"
            } else {
                "Command returned an error"
            },
            "it printed nothing",
            "has none of the headers",
            "does not begin with headers",
            "status=\"many\"",
        ] {
            let lines = ended.stderr.lines().filter(|line| line.contains(told));
            assert_eq!(lines.count(), 1, "{source}: {told}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_command_that_prints_too_much_is_told() {
    let skiff = Skiff::manifest(WAGI).start();
    assert_eq!(skiff.get("/?large").status, 500);
    let ended = skiff.stop();
    let told = "it has more than 134217728 bytes";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

const WAGI: &str = r#"
spin_manifest_version = 2
[application]
name = "wagi"
[[trigger.http]]
route = "/..."
component = { source = "{guest:wagi}" }
executor = { type = "wagi" }
"#;

/// Requests that lead to each other end where Skiff ends them, whatever kind of guest sends
/// them.
#[test]
fn guests_of_every_old_kind_that_call_themselves_end_with_an_error() {
    let manifest = r#"
spin_manifest_version = 2
[application]
name = "loops"
[[trigger.http]]
route = "/wagi/..."
component = "wagi"
executor = { type = "wagi" }
[[trigger.http]]
route = "/module/..."
component = "module"
[component.wagi]
source = "{guest:wagi-relay}"
environment = { URL = "http://wagi.spin.internal/" }
allowed_outbound_hosts = ["http://wagi.spin.internal"]
[component.module]
source = "calls.wasm"
allowed_outbound_hosts = ["http://module.spin.internal"]
"#;
    let skiff = Skiff::manifest(manifest);
    let module = wat::parse_str(include_str!("spin_1_calls.wat")).unwrap();
    fs::write(skiff.folder().join("calls.wasm"), module).unwrap();
    let skiff = skiff.start();
    let got = skiff.get("/wagi");
    assert_eq!(got.status, 502, "{}", got.text());
    assert!(got.text().contains("LoopDetected"), "{}", got.text());
    // The number of its error `runtime-error`.
    assert_eq!(skiff.get("/module").status, 504);
    let ended = skiff.stop();
    for component in ["wagi", "module"] {
        let told = format!(
            "denied: 16 others led to it, which looks like a loop component_id=\"{component}\""
        );
        assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    }
}

#[test]
fn a_component_that_is_no_command_cannot_be_run_by_wagi() {
    let manifest = r#"
spin_manifest_version = 2
[application]
name = "wagi"
[[trigger.http]]
route = "/..."
component = { source = "{guest:hello}" }
executor = { type = "wagi" }
"#;
    let ended = Skiff::manifest(manifest).end();
    assert_eq!(ended.status.code(), Some(65), "{}", ended.stderr);
    let told = "it is not a command: wasi:cli/run is expected";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}
