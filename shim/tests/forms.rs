//! An application in each form in which it can be named; no form may lose any of it.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_spec::image::ImageConfiguration;
use serde_json::{Value, json};
use skiff_artifact::pack::Writer;
use skiff_artifact::{Digest, Manifest, media};
use support::{Skiff, guest};

/// A folder `app` with a manifest, a guest that reads files, and two files matched by a
/// pattern.
fn application() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app");
    fs::create_dir_all(app.join("static/sub")).unwrap();
    let manifest = r#"spin_manifest_version = 2
[application]
name = "app"
[[trigger.http]]
route = "files"
component = "c"
[component.c]
source = "app.wasm"
files = ["static/**/*"]
"#;
    fs::write(app.join("spin.toml"), manifest).unwrap();
    fs::write(app.join("static/a.txt"), "a").unwrap();
    fs::write(app.join("static/sub/b.txt"), "b").unwrap();
    fs::copy(guest("read-files"), app.join("app.wasm")).unwrap();
    symlink("app", folder.path().join("link")).unwrap();
    folder
}

/// The working directory, and the command's arguments.
const FORMS: [(&str, &[&str]); 9] = [
    ("app", &[]),
    ("app", &["."]),
    ("app", &["./"]),
    ("app", &["spin.toml"]),
    ("app", &["./spin.toml"]),
    (".", &["app"]),
    (".", &["./app"]),
    (".", &["app/spin.toml"]),
    (".", &["link"]),
];

#[test]
fn skiff_run_shows_every_file_in_every_form() {
    let folder = application();
    for (place, named) in FORMS {
        let skiff = Skiff::named(&folder.path().join(place), named).start();
        for (file, content) in [("/static/a.txt", "a"), ("/static/sub/b.txt", "b")] {
            let answer = skiff.get(&format!("/files?path={file}"));
            let told = format!("{place} {named:?}: {}", answer.text());
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, content),
                "{told}"
            );
        }
    }
    let skiff = Skiff::of(&folder.path().join("app")).start();
    let route = skiff.lines(1).remove(0);
    let url = format!("http://{}/files", skiff.address);
    assert_eq!(route, format!("  c: {url}"));
}

#[test]
fn skiff_push_packs_every_file_in_every_form() {
    let folder = application();
    for (number, (place, named)) in FORMS.into_iter().enumerate() {
        let layout = folder.path().join(format!("layout-{number}"));
        let pushed = Command::new(env!("CARGO_BIN_EXE_skiff"))
            .current_dir(folder.path().join(place))
            .args(["push", "--to-layout"])
            .arg(&layout)
            .args(named)
            .output()
            .unwrap();
        assert!(pushed.status.success(), "{named:?}: {pushed:?}");
        let skiff = Skiff::of(&layout).start();
        let answer = skiff.get("/files?path=/static/sub/b.txt");
        assert_eq!(answer.text(), "b", "{place} {named:?}");
    }
}

#[test]
fn what_is_pushed_is_an_image_to_whoever_reads_its_configuration() {
    let folder = application();
    let layout = folder.path().join("layout");
    let pushed = Command::new(env!("CARGO_BIN_EXE_skiff"))
        .args(["push", "--to-layout"])
        .arg(&layout)
        .arg(folder.path().join("app"))
        .output()
        .unwrap();
    assert!(pushed.status.success(), "{pushed:?}");
    let blob = |digest: &str| layout.join("blobs").join(digest.replace(':', "/"));
    let digest = String::from_utf8(pushed.stdout).unwrap();
    let manifest: Manifest =
        serde_json::from_slice(&fs::read(blob(digest.trim())).unwrap()).unwrap();
    // The same way as containerd's and Spin's shims read it.
    let config = ImageConfiguration::from_file(blob(&manifest.config.digest.to_string())).unwrap();
    assert_eq!(config.architecture().to_string(), "wasm");
    let execution = config.config().as_ref().unwrap();
    assert_eq!(execution.entrypoint(), &Some(vec!["/".to_owned()]));
    let labels = execution.labels().as_ref().unwrap();
    let locked = manifest.layers.last().unwrap();
    assert_eq!(locked.media_type, media::SPIN_APPLICATION);
    assert_eq!(
        labels["com.fermyon.spin.lockedAppDigest"],
        locked.digest.to_string()
    );
}

/// A layout in `folder` with an ordinary image that has one layer of files.
fn image(folder: &Path, config: &Value, files: &[(&str, &Path)]) -> PathBuf {
    let layout = folder.join("layout");
    let writer = Writer::beside(&layout).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, file) in files {
        archive.append_path_with_name(file, name).unwrap();
    }
    let files = archive.into_inner().unwrap();
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let config = json!({
        "architecture": "wasm",
        "os": "wasi",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&files).to_string()] },
    });
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::MANIFEST.to_owned()),
        config: writer.json(media::CONFIG, &config).unwrap(),
        layers: vec![writer.bytes(layer, &files).unwrap()],
        annotations: Default::default(),
    };
    let manifest = writer.json(media::MANIFEST, &manifest).unwrap();
    writer.finish(&manifest, None).unwrap();
    layout
}

#[test]
fn an_image_starts_in_its_working_directory_with_its_environment() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "WorkingDir": "/app",
        "Entrypoint": ["cli.wasm"],
        "Cmd": ["one"],
        "Env": ["COLOUR=green", "SIZE=small", "SKIFF_LOG_LEVEL=nonsense", "SPIN_VARIABLE_X=y"],
    });
    let layout = image(
        folder.path(),
        &config,
        &[("app/cli.wasm", &guest("args-env"))],
    );
    let ended = Skiff::of(&layout)
        .args(&["--env", "SIZE=large", "--", "two"])
        .end();
    let lines: Vec<_> = ended.stdout.lines().collect();
    let expected = [
        "arg cli.wasm",
        "arg one",
        "arg two",
        "env COLOUR=green",
        "env SIZE=large",
    ];
    assert_eq!(lines, expected, "{}", ended.stderr);
}

#[test]
fn an_image_gives_values_of_variables_that_a_person_can_change() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("spin.toml");
    let text = r#"spin_manifest_version = 2
[application]
name = "app"
[variables]
colour = { required = true }
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "app.wasm"
variables = { colour = "{{ colour }}" }
"#;
    fs::write(&manifest, text).unwrap();
    let wasm = guest("environment");
    let config = json!({ "Env": ["SPIN_VARIABLE_COLOUR=green", "SECRET=s"] });
    let files: [(&str, &Path); 2] = [("spin.toml", &manifest), ("app.wasm", &wasm)];
    let skiff = Skiff::of(&image(folder.path(), &config, &files)).start();
    // With a manifest, guests only see the manifest's environment.
    assert!(
        !skiff.get("/").text().contains("SECRET"),
        "{}",
        skiff.get("/").text()
    );
}
