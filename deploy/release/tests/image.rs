//! The installer's image, read as containerd and the installer read it.

use std::fs;
use std::path::{Path, PathBuf};

use skiff_artifact::{Digest, Image, Index, Kind, Layout, Limits, Prepared, media, unpack};
use skiff_release::{InstallerImage, Platform};
use tempfile::TempDir;

/// An image of made-up binaries for two platforms.
fn image(folder: &TempDir) -> InstallerImage {
    let binaries = |platform: Platform| {
        let at = folder.path().join(platform.architecture());
        fs::create_dir_all(&at).unwrap();
        for name in ["skiff", "skiff-installer"] {
            fs::write(at.join(name), format!("{name} for {platform}")).unwrap();
        }
        (platform, at)
    };
    InstallerImage {
        version: "1.2.3".to_owned(),
        revision: Some("abc".to_owned()),
        date: 1_000_000_000,
        platforms: vec![binaries(Platform::Amd64), binaries(Platform::Arm64)],
    }
}

/// The one image of a layout, unpacked, and its platform.
fn unpacked(layout: &Path, folder: &TempDir) -> (PathBuf, Kind) {
    let layout = Layout::open(layout).unwrap();
    let descriptor = layout.manifest(None).unwrap();
    let image = Image::read(&layout, &descriptor).unwrap();
    let into = folder.path().join(descriptor.digest.hex());
    unpack(&image, &layout, &into, &Limits::default()).unwrap();
    (into, image.kind)
}

#[test]
fn the_same_binaries_make_the_same_digest() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("not/yet/there");
    let first = image(&folder).write(&layout).unwrap();
    // Written again, so with other dates and perhaps in another order on the disk.
    let elsewhere = tempfile::tempdir().unwrap();
    let second = image(&elsewhere).write(&layout).unwrap();
    assert_eq!(first.digest, second.digest);

    let other = InstallerImage {
        version: "1.2.4".to_owned(),
        ..image(&folder)
    };
    assert_ne!(other.write(&layout).unwrap().digest, first.digest);
}

#[test]
fn the_index_names_an_image_for_each_platform() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    let index = image(&folder).write(&layout).unwrap();
    assert_eq!(index.media_type, media::INDEX);

    let outer = fs::read_to_string(layout.join("index.json")).unwrap();
    assert!(
        outer.contains(r#""io.containerd.image.name":"ghcr.io/skiff-dev/installer:1.2.3""#),
        "{outer}"
    );
    let blob = fs::read(layout.join("blobs/sha256").join(index.digest.hex())).unwrap();
    let index: Index = serde_json::from_slice(&blob).unwrap();
    let platforms: Vec<_> = index
        .manifests
        .iter()
        .filter_map(|manifest| manifest.platform.as_ref())
        .map(|platform| platform.architecture.as_str())
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
}

#[test]
fn every_blob_is_what_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    image(&folder).write(&layout).unwrap();
    let blobs = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let mut count = 0;
    for blob in blobs {
        let path = blob.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(Digest::of_file(&path).unwrap().hex(), name);
        count += 1;
    }
    // Two layers, a configuration and a manifest for each platform, and the index.
    assert_eq!(count, 9);
}

#[test]
fn the_payload_is_where_the_installer_looks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    let only = InstallerImage {
        platforms: vec![image(&folder).platforms[0].clone()],
        ..image(&folder)
    };
    only.write(&layout).unwrap();
    let (root, kind) = unpacked(&layout, &folder);
    assert_eq!(kind, Kind::RootFs);
    let root = root.join("rootfs");
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(read("skiff-installer"), "skiff-installer for linux/amd64");
    assert_eq!(read("payload/skiff"), "skiff for linux/amd64");
    assert_eq!(read("payload/version"), "1.2.3\n");

    let (hello, kind) = unpacked(&root.join("payload/hello"), &folder);
    // The check runs it without having unpacked it.
    assert!(matches!(kind, Kind::Component { .. }), "{kind:?}");
    let prepared = Prepared::from_unpacked(&hello).unwrap();
    let component = prepared.components[0].build().unwrap();
    let boundary = skiff_compose::boundary(&component).unwrap();
    let [export] = boundary.exports.as_slice() else {
        panic!("not one export: {:?}", boundary.exports);
    };
    assert!(export.starts_with("wasi:cli/run@0.2."), "{export}");
}

#[test]
fn what_is_no_layout_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("amd64/skiff");
    let image = image(&folder);
    let refused = image.write(&folder.path().join("amd64")).unwrap_err();
    assert!(refused.to_string().contains("exists already"), "{refused}");
    assert!(kept.exists());
}
