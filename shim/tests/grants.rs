//! Granted and missing grants: a guest without a grant starts, and is denied at the call.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;

use support::Skiff;

const V2: &str = r#"spin_manifest_version = 2
[application]
name = "a"
[[trigger.http]]
route = "/..."
component = "web"
[component.web]
source = "{guest:NAME}"
"#;

const V1: &str = r#"spin_manifest_version = "1"
name = "a"
version = "1.0.0"
trigger = { type = "http" }
[[component]]
id = "web"
source = "{guest:NAME}"
[component.trigger]
route = "/..."
"#;

fn of(manifest: &str, guest: &str, rest: &str) -> Skiff {
    Skiff::manifest(&format!("{}{rest}", manifest.replace("NAME", guest)))
}

#[test]
fn http_that_is_not_granted_is_denied_at_the_call() {
    for (manifest, rest) in [
        (V1, ""),
        (V2, ""),
        (
            V2,
            r#"allowed_outbound_hosts = ["redis://localhost", "mqtt://*:1883"]"#,
        ),
        // A host that was left blank counts as missing.
        (
            V2,
            "allowed_outbound_hosts = [\"https://{{ host }}\"]\n[variables]\nhost = { default = \"\" }\n",
        ),
    ] {
        let answer = of(manifest, "fetch", rest)
            .start()
            .get("/?host=127.0.0.1:1");
        assert_eq!(answer.status, 502, "{rest}");
        assert!(
            answer.text().contains("HttpRequestDenied"),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn a_store_that_is_not_granted_is_denied_at_the_call() {
    let skiff = of(V2, "key-value-import", "").start();
    let answer = skiff.get("/");
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert!(answer.text().contains("AccessDenied"), "{}", answer.text());
    let ended = skiff.stop();
    assert!(
        ended.stderr.contains("nothing grants it"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("fermyon:spin/key-value@2.0.0"),
        "{}",
        ended.stderr
    );
}

/// A server for one connection, which echoes its input twice.
fn server() -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut ping = [0; 4];
        stream.read_exact(&mut ping).unwrap();
        stream.write_all(&ping).unwrap();
        stream.write_all(&ping).unwrap();
    });
    (port, serving)
}

#[test]
fn a_socket_connects_where_it_was_granted() {
    for scheme in ["*", "tcp"] {
        let (port, serving) = server();
        let rest = format!("allowed_outbound_hosts = [\"{scheme}://127.0.0.1:{port}\"]");
        let skiff = of(V2, "connect", &rest);
        let ended = skiff.args(&["--", &format!("127.0.0.1:{port}")]).end();
        assert_eq!(ended.stdout, "pingping\n", "{}", ended.stderr);
        serving.join().unwrap();
    }
}

#[test]
fn socket_connections_have_a_limit_and_count_until_they_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let rest = format!("allowed_outbound_hosts = [\"tcp://{address}\"]");
    for (config, expected) in [
        ("", "10 at once\n"),
        (
            "max_socket_connections = 3",
            "3 at once: permission denied\n",
        ),
        (
            "max_socket_connections = 5\nmax_total_connections = 2",
            "2 at once: permission denied\n",
        ),
    ] {
        let config = format!("[outbound_networking]\n{config}\n");
        let skiff = of(V2, "connect-often", &rest).file("limits.toml", &config);
        let file = skiff.folder().join("limits.toml");
        let config = ["--runtime-config-file", file.to_str().unwrap()];
        let ended = skiff.args(&config).args(&["--", &address]).end();
        assert_eq!(ended.stdout, expected, "{}", ended.stderr);
        let told = ended.stderr.contains("The limit of socket connections");
        assert_eq!(told, expected.contains("denied"), "{}", ended.stderr);
    }
}

#[test]
fn a_socket_does_not_connect_where_it_was_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let other = format!(
        "allowed_outbound_hosts = [\"tcp://127.0.0.1:{}\", \"tcp://127.0.0.2:*\"]",
        address.port() ^ 1
    );
    for rest in ["", other.as_str()] {
        let ended = of(V2, "connect", rest)
            .args(&["--", &address.to_string()])
            .end();
        assert_eq!(ended.stdout, "permission denied\n", "{}", ended.stderr);
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody has connected");
}

#[test]
fn guests_see_their_manifest_and_nothing_of_ours() {
    let skiff = Skiff::manifest(
        r#"
spin_manifest_version = 2
[application]
name = "mine"
[variables]
greeting = { default = "hello" }
who = { required = true }
[[trigger.http]]
route = "/vars"
component = "vars"
[[trigger.http]]
route = "/env"
component = "env"
[[trigger.http]]
route = "/headers/:user/..."
component = "headers"
[[trigger.http]]
route = "/config"
component = "config"
[[trigger.http]]
route = "/v1"
component = "v1"
[[trigger.http]]
route = "/three"
component = "three"
[component.vars]
source = "{guest:variables}"
variables = { text = "{{ greeting }} {{ who }}" }
[component.env]
source = "{guest:environment}"
environment = { COLOUR = "blue" }
[component.headers]
source = "{guest:headers}"
[component.config]
source = "{guest:config}"
variables = { text = "{{ who }}" }
[component.v1]
source = "{guest:config-v1}"
variables = { text = "{{ who }}" }
[component.three]
source = "{guest:variables-p3}"
variables = { greeting = "{{ who }}" }
"#,
    )
    .env("SPIN_VARIABLE_WHO", "world")
    .env("HOST_SECRET", "hidden")
    .start();
    assert_eq!(skiff.get("/vars?name=text").text().trim(), "hello world");
    assert_eq!(skiff.get("/vars?name=greeting").status, 500);
    let environment = skiff.get("/env").text();
    assert!(environment.contains("env COLOUR=blue"), "{environment}");
    assert!(!environment.contains("HOST_SECRET"), "{environment}");
    assert!(skiff.get("/config?name=text").text().contains("world"));
    assert_eq!(skiff.get("/v1?name=text").text().trim(), "world");
    assert_eq!(skiff.get("/three").text().trim(), "world");
    let headers = skiff.get("/headers/ann/x/y?q=1").text();
    assert!(headers.contains("spin-path-match-user: ann"), "{headers}");
    assert!(headers.contains("spin-path-info: /x/y"), "{headers}");
    assert!(!headers.contains("\nhost:"), "{headers}");
}

#[test]
fn files_are_read_only_and_there_is_nothing_else() {
    let skiff = Skiff::manifest(
        r#"
spin_manifest_version = 2
[application]
name = "files"
[[trigger.http]]
route = "/read"
component = "read"
[[trigger.http]]
route = "/write"
component = "write"
[component.read]
source = "{guest:read-files}"
files = [{ source = "data", destination = "/" }]
[component.write]
source = "{guest:write-files}"
files = [{ source = "data", destination = "/" }]
"#,
    )
    .file("data/note.txt", "a note")
    .start();
    assert_eq!(skiff.get("/read?path=/note.txt").text(), "a note");
    assert_eq!(skiff.get("/read?path=/../../etc/passwd").status, 404);
    assert_eq!(skiff.get("/read?path=/etc/passwd").status, 404);
    assert_eq!(skiff.post("/write?path=/note.txt", "changed").status, 403);
    assert_eq!(skiff.post("/write?path=/new.txt", "new").status, 403);
    let removed =
        skiff.send("DELETE /write?path=/note.txt HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!(removed.status, 403, "{}", removed.text());
    assert_eq!(skiff.get("/read?path=/note.txt").text(), "a note");
}

#[test]
fn outbound_requests_are_denied_without_a_grant() {
    let answer = Skiff::component("fetch").start().get("/?host=127.0.0.1:1");
    assert_eq!(answer.status, 502);
    assert!(
        answer.text().to_lowercase().contains("denied"),
        "{}",
        answer.text()
    );
}
