//! Ordinary images: layers on top of each other.

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use skiff_artifact::{Digest, Prepared, UnpackError, media};
use tar::EntryType;

use crate::support::{
    Builder, COMPONENT, Entry, Target, archive, component, folder, gzip, link, packed, plain,
};

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

fn image(layers: &[&[Entry<'_>]]) -> Builder {
    let config = br#"{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/app.wasm"],"Cmd":["--fast"]}}"#;
    layers.iter().fold(
        Builder::with_config(media::CONFIG, config),
        |image, entries| image.layer(GZIP, &packed(entries)),
    )
}

#[track_caller]
fn tree(target: &Target) -> Vec<String> {
    let tree = target.tree("rootfs");
    tree.iter()
        .map(|(path, text)| format!("{path} {text}"))
        .collect()
}

#[test]
fn layers_of_every_packing_are_put_on_top_of_each_other() {
    let below = [
        folder("./"),
        folder("./etc/"),
        plain("./etc/a", b"1"),
        plain("b", b"1"),
    ];
    let target = Builder::with_config(media::CONFIG, b"{}")
        .layer(TAR, &archive(&below))
        .layer(GZIP, &packed(&[plain("b", b"2")]))
        .layer(DOCKER, &packed(&[plain("etc/c", b"3")]))
        .unpack()
        .unwrap();
    assert_eq!(tree(&target), ["b 2", "etc/a 1", "etc/c 3"]);
}

#[test]
fn the_entrypoint_is_the_command_line() {
    let target = image(&[&[plain("app.wasm", COMPONENT)]]).unpack().unwrap();
    let prepared = Prepared::from_unpacked(&target.path()).unwrap();
    assert_eq!(prepared.application.name, "app");
    assert_eq!(
        prepared.command.as_deref(),
        Some(&["/app.wasm".to_owned(), "--fast".to_owned()][..])
    );
    assert_eq!(prepared.components[0].build(|_| None).unwrap(), COMPONENT);
}

#[test]
fn a_whiteout_removes_what_is_below() {
    let target = image(&[
        &[
            plain("a", b"1"),
            plain("b", b"1"),
            plain("d/x", b"1"),
            plain("d/y/z", b"1"),
        ],
        &[
            plain(".wh.a", b""),
            plain("d/.wh.y", b""),
            plain(".wh.absent", b""),
        ],
    ])
    .unpack()
    .unwrap();
    assert_eq!(tree(&target), ["b 1", "d/x 1"]);
}

#[test]
fn a_whiteout_leaves_what_its_own_layer_has() {
    for second in [
        [plain("a", b"2"), plain(".wh.a", b"")],
        [plain(".wh.a", b""), plain("a", b"2")],
    ] {
        let target = image(&[&[plain("a", b"1")], &second]).unpack().unwrap();
        assert_eq!(tree(&target), ["a 2"]);
    }
}

#[test]
fn an_opaque_folder_hides_everything_below_it() {
    let below = [
        plain("d/old", b"1"),
        plain("d/e/old", b"1"),
        plain("keep", b"1"),
    ];
    let opaque = plain("d/.wh..wh..opq", b"");
    let new = plain("d/e/new", b"2");
    for second in [
        [opaque, new],
        [plain("d/e/new", b"2"), plain("d/.wh..wh..opq", b"")],
    ] {
        let target = image(&[&below, &second]).unpack().unwrap();
        assert_eq!(tree(&target), ["d/e/new 2", "keep 1"]);
    }
}

#[test]
fn a_whiteout_with_a_way_out_is_refused() {
    for name in [".wh...", ".wh.", "d/.wh..."] {
        let error = image(&[&[plain("a", b"1")], &[plain(name, b"")]]).refused();
        assert!(
            matches!(error, UnpackError::EntryPath { .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn kinds_replace_each_other() {
    let target = image(&[
        &[
            plain("a", b"1"),
            folder("b"),
            plain("b/x", b"1"),
            link(EntryType::Symlink, "c", "b"),
        ],
        &[
            folder("a"),
            plain("a/y", b"2"),
            plain("b", b"2"),
            folder("c"),
            plain("c/z", b"2"),
        ],
    ])
    .unpack()
    .unwrap();
    assert_eq!(tree(&target), ["a/y 2", "b 2", "c/z 2"]);
}

#[test]
fn links_of_an_image_are_kept_and_followed_inside() {
    let target = image(&[
        &[
            folder("usr/lib"),
            link(EntryType::Symlink, "lib", "/usr/lib"),
            link(EntryType::Symlink, "usr/up", "../usr/lib"),
            plain("usr/lib/a", b"1"),
        ],
        &[
            plain("lib/b", b"2"),
            plain("usr/up/c", b"3"),
            link(EntryType::Link, "d", "lib/a"),
        ],
    ])
    .unpack()
    .unwrap();
    assert_eq!(
        tree(&target),
        [
            "d 1",
            "lib -> /usr/lib",
            "usr/lib/a 1",
            "usr/lib/b 2",
            "usr/lib/c 3",
            "usr/up -> ../usr/lib"
        ]
    );
}

#[test]
fn a_file_written_over_a_hard_link_leaves_the_other_name() {
    let target = image(&[
        &[plain("a", b"1"), link(EntryType::Link, "b", "a")],
        &[plain("b", b"2")],
    ])
    .unpack()
    .unwrap();
    assert_eq!(tree(&target), ["a 1", "b 2"]);
}

#[test]
fn nothing_is_written_through_a_link_that_leaves() {
    let outside = tempfile::tempdir().unwrap();
    let absolute = outside.path().to_str().unwrap();
    // An absolute link refers to a folder inside the image, so it is written there.
    let target = image(&[
        &[link(EntryType::Symlink, "out", absolute)],
        &[plain("out/file", b"1"), plain("out", b"2")],
    ])
    .unpack()
    .unwrap();
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(target.text("rootfs/out"), "2");

    for (name, target) in [("out", "../../x"), ("a/out", "../../x"), ("out", "..")] {
        let error = image(&[&[link(EntryType::Symlink, name, target)]]).refused();
        assert!(matches!(error, UnpackError::LinkOut { .. }), "{error}");
    }
}

#[test]
fn hostile_entries_of_an_image_are_refused() {
    let error = image(&[&[plain("../out", b"x")]]).refused();
    assert!(matches!(error, UnpackError::EntryPath { .. }), "{error}");
    let error = image(&[&[plain("/etc/x", b"x")]]).refused();
    assert!(matches!(error, UnpackError::EntryPath { .. }), "{error}");
    let error = image(&[&[link(EntryType::Char, "dev/null", "")]]).refused();
    assert!(matches!(error, UnpackError::EntryKind { .. }), "{error}");
    let su = Entry {
        mode: 0o4755,
        ..plain("bin/su", b"x")
    };
    let error = image(&[&[su]]).refused();
    assert!(matches!(error, UnpackError::SetId { .. }), "{error}");
    let error = image(&[&[link(EntryType::Link, "a", "nowhere")]]).refused();
    assert!(matches!(error, UnpackError::LinkTarget { .. }), "{error}");
    let error = image(&[&[folder("d"), link(EntryType::Link, "a", "d")]]).refused();
    assert!(matches!(error, UnpackError::LinkTarget { .. }), "{error}");
}

#[test]
fn a_layer_is_read_as_it_is_packed_whatever_its_media_type_says() {
    let files = archive(&[plain("a.txt", b"a"), plain("b.txt", &[b'b'; 9000])]);
    let zstd = compress_to_vec(&files[..], CompressionLevel::Fastest);
    let oci = "application/vnd.oci.image.layer.v1.tar";
    let docker = "application/vnd.docker.image.rootfs.diff.tar";
    for media_type in [
        oci.to_owned(),
        format!("{oci}+gzip"),
        format!("{oci}+zstd"),
        docker.to_owned(),
        format!("{docker}.gzip"),
        format!("{docker}.zstd"),
    ] {
        for packed in [&files, &gzip(&files), &zstd] {
            let target = Builder::with_config(media::CONFIG, b"{}")
                .layer(&media_type, packed)
                .unpack()
                .unwrap();
            assert_eq!(target.text("rootfs/a.txt"), "a", "{media_type}");
            assert_eq!(target.text("rootfs/b.txt").len(), 9000, "{media_type}");
        }
    }
}

#[test]
fn a_packing_that_cannot_be_read_is_named() {
    let encrypted = "application/vnd.oci.image.layer.v1.tar+encrypted";
    let error = Builder::with_config(media::CONFIG, b"{}")
        .layer(encrypted, b"x")
        .refused();
    assert!(error.to_string().contains(encrypted), "{error}");
    let zstd = compress_to_vec(&[7; 9000][..], CompressionLevel::Fastest);
    let error = Builder::with_config(media::CONFIG, b"{}")
        .layer(GZIP, &zstd[..zstd.len() / 2])
        .refused();
    let digest = Digest::of(&zstd[..zstd.len() / 2]).to_string();
    assert!(error.to_string().contains(&digest), "{error}");
}

#[test]
fn webassembly_that_says_it_is_files_is_told_how_to_push() {
    let error = Builder::with_config(media::CONFIG, b"{}")
        .layer("application/vnd.oci.image.layer.v1.tar", COMPONENT)
        .refused();
    assert!(matches!(error, UnpackError::WasmAsFiles { .. }), "{error}");
    assert!(
        error.to_string().contains("FILE.wasm:application/wasm"),
        "{error}"
    );
}

#[test]
fn a_configuration_that_is_none_is_refused() {
    let error = Builder::with_config(media::CONFIG, b"hello").refused();
    assert!(matches!(error, UnpackError::Config { .. }), "{error}");
}

#[test]
fn a_large_image_is_unpacked_as_it_is() {
    let wasm = component(300_000, 7);
    let target = Builder::with_config(media::CONFIG, b"{}")
        .layer(GZIP, &gzip(&archive(&[plain("app.wasm", &wasm)])))
        .unpack()
        .unwrap();
    assert_eq!(
        std::fs::read(target.path().join("rootfs/app.wasm")).unwrap(),
        wasm
    );
}
