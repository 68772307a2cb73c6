//! Components that a manifest names by URL, from a stand-in of ours for a release page.

mod support;

use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use skiff_artifact::Digest;
use support::stand_in::server;
use support::{Skiff, guest};

fn manifest(url: &str, digest: &str) -> String {
    format!(
        r#"
spin_manifest_version = 2
[application]
name = "fetched"
[[trigger.http]]
route = "/..."
component = "hello"
[component.hello]
source = {{ url = "{url}/hello.wasm", digest = "{digest}" }}
"#
    )
}

#[test]
fn a_component_is_downloaded_checked_and_kept() {
    let wasm = fs::read(guest("hello")).unwrap();
    let digest = Digest::of(&wasm).to_string();
    let url = server(move |_| (200, wasm.clone()));
    let cache = tempfile::tempdir().unwrap();
    let start = |url: &str| {
        let skiff = Skiff::manifest(&manifest(url, &digest));
        skiff.env("SKIFF_CACHE_DIR", cache.path().to_str().unwrap())
    };
    let skiff = start(&url).start();
    assert_eq!(skiff.get("/").text(), "Hello from Wasm\n");
    drop(skiff);
    // Nobody is asked again.
    let skiff = start("http://127.0.0.1:1").start();
    assert_eq!(skiff.get("/").text(), "Hello from Wasm\n");
}

#[test]
fn a_component_that_is_not_the_manifests_is_refused_with_both_digests() {
    let url = server(|_| (200, b"\0asm".to_vec()));
    let digest = format!("sha256:{}", "0".repeat(64));
    let ended = Skiff::manifest(&manifest(&url, &digest)).end();
    assert_eq!(ended.status.code(), Some(65), "{}", ended.stderr);
    let found = Digest::of(b"\0asm").to_string();
    for told in ["component `hello`: cannot get source", &digest, &found] {
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
    let ended = Skiff::manifest(&manifest("http://127.0.0.1:1", &digest)).end();
    assert_eq!(ended.status.code(), Some(65), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot download"), "{}", ended.stderr);
}

#[test]
fn a_download_that_is_killed_leaves_nothing_after_the_next() {
    let wasm = fs::read(guest("hello")).unwrap();
    let digest = Digest::of(&wasm).to_string();
    let cache = tempfile::tempdir().unwrap();
    let of = |url: &str| {
        let skiff = Skiff::manifest(&manifest(url, &digest));
        skiff.env("SKIFF_CACHE_DIR", cache.path().to_str().unwrap())
    };
    let downloads = || {
        fs::read_dir(cache.path().join("downloads"))
            .unwrap()
            .count()
    };
    let (asked, is_asked) = mpsc::channel();
    let (never, answers) = mpsc::channel::<()>();
    let silent = server(move |_| {
        asked.send(()).unwrap();
        let _ = answers.recv();
        (200, Vec::new())
    });
    let (mut killed, _folders) = of(&silent).spawn();
    is_asked.recv_timeout(Duration::from_secs(60)).unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(downloads(), 1);
    let url = server(move |_| (200, wasm.clone()));
    assert_eq!(of(&url).start().get("/").status, 200);
    assert_eq!(downloads(), 1, "the file alone");
    drop(never);
}
