//! `skiff inspect` as a person calls it.

mod support;

use std::fs::File;
use std::io::pipe;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{Skiff, guest};

fn inspect(application: &Path, stdout: impl Into<Stdio>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skiff"))
        .arg("inspect")
        .arg(application)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
}

#[test]
fn it_tells_what_an_application_asks_for_and_offers_but_no_secret() {
    let application = Skiff::manifest(
        r#"spin_manifest_version = 2
[application]
name = "shop"
version = "1.2.3"
[variables]
colour = { default = "blue" }
token = { default = "hidden", secret = true }
who = { required = true }
[[trigger.http]]
id = "front"
route = "/..."
component = "web"
[[trigger.http]]
route = { private = true }
component = "web"
[component.web]
source = "{guest:hello}"
files = [{ source = "data", destination = "/data" }]
"#,
    )
    .file("data/notes.txt", "a note");
    let told = inspect(application.folder(), Stdio::piped());
    assert!(told.status.success(), "{told:?}");
    let text = String::from_utf8(told.stdout).unwrap();
    for line in [
        "shop 1.2.3\n",
        "variable colour: default \"blue\"\n",
        "variable token: has a default\n",
        "variable who: required\n",
        "trigger front: http /... -> web\n",
        ": http (private) -> web\n",
        "component web: sha256:",
        "  imports wasi:",
        "  exports wasi:http/",
        "  sees /\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing in: {text}");
    }
    assert!(!text.contains("hidden"), "{text}");
}

#[test]
fn what_is_not_there_or_no_component_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.wasm");
    std::fs::write(&broken, "\0asm, or so it says").unwrap();
    for path in [&broken, &folder.path().join("absent")] {
        let told = inspect(path, Stdio::piped());
        assert_eq!(told.status.code(), Some(65), "{told:?}");
        let stderr = String::from_utf8_lossy(&told.stderr);
        assert!(stderr.contains(path.to_str().unwrap()), "{stderr}");
        assert!(told.stdout.is_empty(), "{told:?}");
    }
}

#[test]
fn a_reader_who_leaves_is_no_failure_and_a_full_disk_is_one() {
    let application = guest("hello");
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let told = inspect(&application, writer);
    assert!(told.status.success() && told.stderr.is_empty(), "{told:?}");

    let full = File::options().write(true).open("/dev/full").unwrap();
    let told = inspect(&application, full);
    let stderr = String::from_utf8_lossy(&told.stderr);
    assert!(
        stderr.starts_with("skiff: cannot write to the standard output: No space left"),
        "{stderr}"
    );
    assert!(!told.status.success());
}

#[test]
fn what_others_wrote_moves_no_terminals_cursor() {
    let manifest = r#"spin_manifest_version = 2
[application]
name = "shop"
version = "1\u001b[2J\r"
[[trigger.http]]
route = "/..."
component = "web"
[component.web]
source = "{guest:hello}"
"#;
    let application = Skiff::manifest(manifest);
    let told = inspect(application.folder(), Stdio::piped());
    assert!(told.status.success(), "{told:?}");
    let text = String::from_utf8(told.stdout).unwrap();
    let control = |letter: char| letter.is_control() && letter != '\n';
    assert!(!text.contains(control), "{text:?}");
    assert!(text.starts_with("shop 1\\u{1b}[2J\\r\n"), "{text:?}");
}
