//! OCI layouts as folders and as tar files.

use std::fs;
use std::path::Path;

use skiff_artifact::layout::{IMAGE_NAME, REF_NAME};
use skiff_artifact::{
    Descriptor, Digest, Image, Kind, Layout, LayoutError, Limits, Prepared, media, unpack,
};
use tempfile::TempDir;

use crate::support::{COMPONENT, Target, chain, gzip};

/// A layout with one single-component image for each list of index members.
fn layout(entries: &[String]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        entries.join(",")
    );
    fs::write(folder.path().join("index.json"), index).unwrap();
    fs::write(
        folder.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    for blob in [
        COMPONENT.to_vec(),
        b"{}".to_vec(),
        manifest("one"),
        manifest("two"),
    ] {
        fs::write(blobs.join(Digest::of(&blob).hex()), blob).unwrap();
    }
    folder
}

fn manifest(title: &str) -> Vec<u8> {
    let config = serde_json::to_string(&Descriptor::of(media::WASM_CONFIG, b"{}")).unwrap();
    let layer = serde_json::to_string(&Descriptor::of(media::WASM, COMPONENT)).unwrap();
    format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}],"annotations":{{"title":"{title}"}}}}"#
    )
    .into_bytes()
}

/// A descriptor of the manifest, with more members.
fn entry(title: &str, members: &str) -> String {
    let descriptor = Descriptor::of(media::MANIFEST, &manifest(title));
    format!(
        r#"{{"mediaType":"{}","digest":"{}","size":{}{members}}}"#,
        descriptor.media_type, descriptor.digest, descriptor.size
    )
}

fn platform(architecture: &str, os: &str) -> String {
    format!(r#","platform":{{"architecture":"{architecture}","os":"{os}"}}"#)
}

fn tar_of(folder: &Path, prefix: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all(prefix, folder).unwrap();
    archive.into_inner().unwrap()
}

#[track_caller]
fn check(layout: &Layout) {
    let descriptor = layout.manifest(None).unwrap();
    let image = Image::read(layout, &descriptor).unwrap();
    assert!(matches!(image.kind, Kind::Component { .. }));
    let target = Target::new();
    unpack(&image, layout, &target.path(), &Limits::default()).unwrap();
    let prepared = Prepared::from_unpacked(&target.path()).unwrap();
    assert_eq!(prepared.components[0].build(|_| None).unwrap(), COMPONENT);
}

#[test]
fn a_folder_and_its_tar_file_are_the_same() {
    let folder = layout(&[entry("one", "")]);
    assert!(Layout::is_layout(folder.path()));
    check(&Layout::open(folder.path()).unwrap());
    for prefix in [".", ""] {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), tar_of(folder.path(), prefix)).unwrap();
        check(&Layout::open(file.path()).unwrap());
    }
}

#[test]
fn images_are_chosen_by_name() {
    let named = |title: &str, key: &str, name: &str| {
        entry(title, &format!(r#","annotations":{{"{key}":"{name}"}}"#))
    };
    let folder = layout(&[
        named("one", REF_NAME, "v1"),
        named("two", IMAGE_NAME, "example/shop:v2"),
    ]);
    let layout = Layout::open(folder.path()).unwrap();
    let digest = |name| layout.manifest(Some(name)).unwrap().digest;
    assert_eq!(digest("v1"), Digest::of(&manifest("one")));
    assert_eq!(digest("example/shop:v2"), Digest::of(&manifest("two")));
    let error = layout.manifest(Some("v3")).unwrap_err().to_string();
    assert!(
        error.contains("named `v3`") && error.contains("`example/shop:v2`"),
        "{error}"
    );
    let error = layout.manifest(None).unwrap_err();
    assert!(matches!(error, LayoutError::Ambiguous { .. }), "{error}");
}

#[test]
fn of_several_platforms_webassembly_is_taken() {
    let folder = layout(&[
        entry("one", &platform("amd64", "linux")),
        entry("two", &platform("wasm", "wasi")),
    ]);
    let layout = Layout::open(folder.path()).unwrap();
    assert_eq!(
        layout.manifest(None).unwrap().digest,
        Digest::of(&manifest("two"))
    );
}

#[test]
fn without_webassembly_this_machines_platform_is_taken() {
    let here = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let folder = layout(&[
        entry("one", &platform("s390x", "linux")),
        entry("two", &platform(here, "linux")),
    ]);
    let layout = Layout::open(folder.path()).unwrap();
    assert_eq!(
        layout.manifest(None).unwrap().digest,
        Digest::of(&manifest("two"))
    );
}

#[test]
fn nested_indexes_are_followed_and_attestations_left_out() {
    let attestation = entry(
        "two",
        r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#,
    );
    let inner = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{attestation}]}}"#,
        entry("one", "")
    );
    let digest = Digest::of(inner.as_bytes());
    let folder = layout(&[format!(
        r#"{{"mediaType":"{}","digest":"{digest}","size":{}}}"#,
        media::INDEX,
        inner.len()
    )]);
    fs::write(
        folder.path().join("blobs/sha256").join(digest.hex()),
        &inner,
    )
    .unwrap();
    check(&Layout::open(folder.path()).unwrap());
}

/// Opening a pipe used to block until a writer came.
#[test]
fn only_regular_files_are_opened() {
    use std::os::unix::net::UnixListener;

    let pipe = |path: &Path| {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    };
    let folder = layout(&[entry("one", "")]);
    let blobs = folder.path().join("blobs/sha256");
    let manifest = blobs.join(Digest::of(&manifest("one")).hex());
    fs::remove_file(&manifest).unwrap();
    let read = || {
        let layout = Layout::open(folder.path()).unwrap();
        let descriptor = layout.manifest(None).unwrap();
        Image::read(&layout, &descriptor).unwrap_err()
    };
    pipe(&manifest);
    let error = chain(&read());
    assert!(error.contains("not a regular file"), "{error}");
    fs::remove_file(&manifest).unwrap();
    let _listener = UnixListener::bind(&manifest).unwrap();
    read();
    let index = folder.path().join("index.json");
    fs::remove_file(&index).unwrap();
    pipe(&index);
    let error = chain(&Layout::open(folder.path()).unwrap_err());
    assert!(error.contains("not a regular file"), "{error}");
    let tar = folder.path().join("layout.tar");
    pipe(&tar);
    let error = chain(&Layout::open(&tar).unwrap_err());
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn images_without_names_are_chosen_by_digest() {
    let folder = layout(&[entry("one", ""), entry("two", "")]);
    let layout = Layout::open(folder.path()).unwrap();
    let error = layout.manifest(None).unwrap_err().to_string();
    let digest = Digest::of(&manifest("two"));
    for part in [digest.to_string().as_str(), "--image"] {
        assert!(error.contains(part), "{error}");
    }
    let chosen = layout.manifest(Some(&digest.to_string())).unwrap();
    assert_eq!(chosen.digest, digest);
}

#[test]
fn what_is_no_layout_is_told() {
    let empty = tempfile::tempdir().unwrap();
    let error = Layout::open(empty.path()).unwrap_err();
    assert!(matches!(error, LayoutError::NotALayout { .. }), "{error}");
    assert!(!Layout::is_layout(empty.path()));

    let error = Layout::open(&empty.path().join("absent")).unwrap_err();
    assert!(matches!(error, LayoutError::Read { .. }), "{error}");

    let file = empty.path().join("file");
    fs::write(&file, gzip(&tar_of(layout(&[]).path(), "."))).unwrap();
    let error = Layout::open(&file).unwrap_err();
    assert!(matches!(error, LayoutError::Compressed { .. }), "{error}");

    fs::write(&file, b"hello").unwrap();
    Layout::open(&file).unwrap_err();

    let folder = layout(&[]);
    let error = Layout::open(folder.path())
        .unwrap()
        .manifest(None)
        .unwrap_err();
    assert!(error.to_string().contains("it has nothing"), "{error}");
    fs::write(folder.path().join("index.json"), b"[").unwrap();
    let error = Layout::open(folder.path()).unwrap_err();
    assert!(matches!(error, LayoutError::Json { .. }), "{error}");
}

#[test]
fn a_tar_file_that_ends_in_a_blob_is_found_out() {
    let folder = layout(&[entry("one", "")]);
    let whole = tar_of(folder.path(), ".");
    // The manifest is the longest blob: what follows its first bytes is cut off.
    let start = whole
        .windows(18)
        .position(|bytes| bytes == b"{\"schemaVersion\":2")
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &whole[..start + 20]).unwrap();
    let outcome = Layout::open(file.path()).map(|layout| {
        let descriptor = layout.manifest(None)?;
        Ok::<_, LayoutError>(Image::read(&layout, &descriptor).is_err())
    });
    assert!(!matches!(outcome, Ok(Ok(false))), "an image was read");
}
