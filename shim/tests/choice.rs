//! Choosing one of several images on the command line.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use skiff_artifact::{Descriptor, Digest, media};
use support::{Skiff, guest};

fn skiff(verb: &str, application: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skiff"))
        .arg(verb)
        .arg(application)
        .args(options)
        .output()
        .unwrap()
}

/// The layout of an application that answers on `/NAME`, and the digest of its manifest.
fn pushed(folder: &Path, name: &str) -> (PathBuf, Digest) {
    let app = folder.join(format!("{name}-app"));
    fs::create_dir(&app).unwrap();
    let manifest = format!(
        "spin_manifest_version = 2\n[application]\nname = \"{name}\"\n[[trigger.http]]\nroute = \"/{name}\"\ncomponent = \"c\"\n[component.c]\nsource = \"c.wasm\"\n"
    );
    fs::write(app.join("spin.toml"), manifest).unwrap();
    fs::copy(guest("hello"), app.join("c.wasm")).unwrap();
    let layout = folder.join(name);
    let options = ["--name", name, "--to-layout", layout.to_str().unwrap()];
    let pushed = skiff("push", &app, &options);
    assert!(pushed.status.success(), "{pushed:?}");
    let digest = String::from_utf8(pushed.stdout).unwrap();
    (layout, digest.trim().parse().unwrap())
}

/// A layout with the image `several` (`first` for WASI 0.1, `second` for WASI 0.2) and
/// the image `third`. Returns the digest of `third`.
fn layout(folder: &Path) -> (PathBuf, String) {
    let (layout, third) = pushed(folder, "third");
    let blob = |layout: &Path, digest: &Digest| layout.join("blobs/sha256").join(digest.hex());
    let platforms = [("first", "wasip1"), ("second", "wasip2")].map(|(name, os)| {
        let (from, digest) = pushed(folder, name);
        for entry in fs::read_dir(from.join("blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(
                entry.path(),
                layout.join("blobs/sha256").join(entry.file_name()),
            )
            .unwrap();
        }
        let bytes = fs::read(blob(&layout, &digest)).unwrap();
        let mut manifest = json!(Descriptor::of(media::MANIFEST, &bytes));
        manifest["platform"] = json!({ "os": os, "architecture": "wasm" });
        manifest
    });
    let several = json!({ "schemaVersion": 2, "manifests": platforms });
    let several = serde_json::to_vec(&several).unwrap();
    let mut descriptor = json!(Descriptor::of(media::INDEX, &several));
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": "several" });
    fs::write(blob(&layout, &Digest::of(&several)), several).unwrap();
    let file = layout.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    index["manifests"].as_array_mut().unwrap().push(descriptor);
    fs::write(file, index.to_string()).unwrap();
    (layout, third.to_string())
}

#[test]
fn an_image_is_chosen_by_name_by_digest_and_by_platform() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, third) = layout(folder.path());
    let choices: [(&[&str], &str); 6] = [
        (&["--image", "third"], "third"),
        (&["--image", &third], "third"),
        (&["--image=several", "--platform=wasip1/wasm"], "first"),
        (&["--platform=wasip2/wasm", "--image=several"], "second"),
        (&["--platform=Wasip2/wasm", "--image=several"], "second"),
        (&["--platform=wasip1/wasm"], "first"),
    ];
    for (options, expected) in choices {
        let told = skiff("inspect", &layout, options);
        let text = String::from_utf8_lossy(&told.stdout);
        let first = format!("{expected} ");
        assert!(text.starts_with(&first), "{options:?}: {told:?}");

        let running = Skiff::of(&layout).args(options).start();
        let answer = running.get(&format!("/{expected}"));
        assert_eq!(answer.text(), "Hello from Wasm\n", "{options:?}");
    }
}

#[test]
fn what_names_no_image_or_several_is_refused_with_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, _) = layout(folder.path());
    let app = folder.path().join("third-app");
    let wasm = guest("hello");
    let refusals: [(&Path, &[&str], i32, &[&str]); 13] = [
        (&layout, &[], 65, &["several images", "`third`", "--image"]),
        (
            &layout,
            &["--image=several"],
            65,
            &["wasip1/wasm", "wasip2/wasm", "--platform"],
        ),
        (
            &layout,
            &["--image=nobody"],
            65,
            &["no image named `nobody`", "`several`", "`third`"],
        ),
        (
            &layout,
            &["--image=several", "--platform=linux/arm64"],
            65,
            &["no manifest for linux/arm64", "wasip1/wasm"],
        ),
        (
            &layout,
            &["--platform=wasm"],
            64,
            &["`wasm` is not a platform"],
        ),
        (&layout, &["--platform="], 64, &["--platform"]),
        (&layout, &["--platform=/wasm"], 64, &["is not a platform"]),
        (&layout, &["--platform=a/b/c/d"], 64, &["is not a platform"]),
        (&layout, &["--platform"], 64, &["--platform"]),
        (&layout, &["--image"], 64, &["--image"]),
        (
            &layout,
            &["--image=third", "--image=several"],
            64,
            &["--image"],
        ),
        (&app, &["--image=third"], 65, &["--image chooses in an OCI"]),
        (
            &wasm,
            &["--platform=wasip1/wasm"],
            65,
            &["--platform chooses in an OCI layout"],
        ),
    ];
    for (path, options, code, parts) in refusals {
        let inspected = skiff("inspect", path, options);
        let inspected = (
            inspected.status,
            String::from_utf8_lossy(&inspected.stderr).into_owned(),
        );
        let ran = Skiff::of(path).args(options).end();
        for (status, stderr) in [inspected, (ran.status, ran.stderr)] {
            assert_eq!(status.code(), Some(code), "{options:?}: {stderr}");
            for part in parts {
                assert!(stderr.contains(part), "{part:?} is missing in: {stderr}");
            }
        }
    }
}

#[test]
fn a_push_makes_one_image_and_says_what_it_does_not_understand() {
    let folder = tempfile::tempdir().unwrap();
    pushed(folder.path(), "app");
    let app = folder.path().join("app-app");
    let layout = folder.path().join("layout");
    let to = format!("--to-layout={}", layout.display());
    let wrong: [(&[&str], &str); 9] = [
        (&[], "--to-layout"),
        (&["--to-layout"], "--to-layout"),
        (&[&to, "--platform=wasip1/wasm"], "--platform"),
        (&[&to, "--image=app"], "--image"),
        (&[&to, "--annotation=colour"], "expected NAME=VALUE"),
        (&[&to, "--name"], "--name"),
        (&[&to, "--name="], "--name"),
        (&[&to, "--name=my app"], "--name"),
        (&[&to, "--created=yesterday"], "--created"),
    ];
    for (options, part) in wrong {
        let told = skiff("push", &app, options);
        let stderr = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(64), "{options:?}: {stderr}");
        assert!(stderr.contains(part), "{part:?} is missing in: {stderr}");
        assert!(!layout.exists(), "{options:?} made a layout");
    }
}
