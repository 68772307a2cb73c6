//! More names than a file system allows, and kernels that refuse whole paths.

use std::os::unix::fs::MetadataExt;

use skiff_artifact::{LimitError, Limits, UnpackError, media};
use tar::EntryType;

use crate::refusals::refusing;
use crate::spin::shop;
use crate::support::{Builder, COMPONENT, Entry, file, folder, link, packed, plain};

const NO_ROOM: &[(i64, i32)] = &[
    (libc::SYS_linkat, libc::EMLINK),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, libc::EMLINK),
];

const NO_WHOLE_PATHS: &[(i64, i32)] = &[(libc::SYS_openat2, libc::EPERM)];

fn image(layers: &[&[Entry<'_>]]) -> Builder {
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    layers.iter().fold(
        Builder::with_config(media::CONFIG, b"{}"),
        |image, entries| image.layer(gzip, &packed(entries)),
    )
}

#[test]
fn a_second_name_of_a_link_is_a_link_where_there_is_no_room_for_names() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "of the host").unwrap();
    let leads = secret.to_str().unwrap();
    let image = image(&[&[
        link(EntryType::Symlink, "link", leads),
        link(EntryType::Link, "second", "link"),
        plain("file", b"1"),
        link(EntryType::Link, "copy", "file"),
    ]]);
    let target = refusing(NO_ROOM, || image.unpack()).unwrap();
    let tree = target.tree("rootfs");
    assert_eq!(tree["second"], format!("-> {leads}"));
    assert_eq!(tree["copy"], "1");
}

#[test]
fn copies_are_counted_where_there_is_no_room_for_names() {
    let content = [7; 10_000];
    let files: Vec<String> = (0..20).map(|n| file(&format!("f{n}"), &content)).collect();
    let limits = Limits {
        bytes: 100_000,
        ..Limits::default()
    };
    let shop = || shop(&files.join(","), &[&content]);
    // Names do not count towards the limit.
    shop().unpack_with(&limits).unwrap();
    let refused = refusing(NO_ROOM, || shop().unpack_with(&limits).err());
    assert!(
        matches!(
            refused,
            Some(UnpackError::Limit(LimitError::Bytes { limit: 100_000 }))
        ),
        "{refused:?}"
    );
    let target = refusing(NO_ROOM, || shop().unpack()).unwrap();
    assert_eq!(target.tree("assets/cart").len(), 20);
}

#[test]
fn copies_of_an_image_are_counted_as_well() {
    let content = [7; 10_000];
    let names: Vec<String> = (0..20).map(|n| format!("f{n}")).collect();
    let names = names.iter().map(|name| link(EntryType::Link, name, "file"));
    let entries: Vec<_> = std::iter::once(plain("file", &content))
        .chain(names)
        .collect();
    let limits = Limits {
        bytes: 100_000,
        ..Limits::default()
    };
    image(&[&entries]).unpack_with(&limits).unwrap();
    let refused = refusing(NO_ROOM, || image(&[&entries]).unpack_with(&limits).err());
    assert!(
        matches!(refused, Some(UnpackError::Limit(LimitError::Bytes { .. }))),
        "{refused:?}"
    );
}

/// ext4 allows 65,000 names of a file.
#[test]
fn one_content_has_as_many_names_as_it_needs_and_few_copies() {
    const NAMES: usize = 65_010;
    let files: Vec<String> = (0..NAMES).map(|n| file(&format!("f{n}"), b"x")).collect();
    let target = shop(&files.join(","), &[b"x"]).unpack().unwrap();
    let folder = target.path().join("assets/cart");
    let mut inodes = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        inodes.insert(entry.unwrap().metadata().unwrap().ino());
    }
    assert!(inodes.len() <= 2, "{} copies", inodes.len());
    assert_eq!(std::fs::read(folder.join("f65009")).unwrap(), b"x");
}

#[test]
fn a_second_name_of_a_link_that_would_lead_out_from_there_is_refused() {
    let error = image(&[&[
        folder("a/b"),
        link(EntryType::Symlink, "a/b/up", "../../x"),
        link(EntryType::Link, "up", "a/b/up"),
    ]])
    .refused();
    assert!(matches!(error, UnpackError::LinkOut { .. }), "{error}");
}

#[test]
fn a_hard_link_in_the_place_of_what_its_target_is_in_is_refused() {
    let error = image(&[&[
        folder("a"),
        plain("a/b", b"1"),
        link(EntryType::Link, "a", "a/b"),
    ]])
    .refused();
    assert!(matches!(error, UnpackError::LinkTarget { .. }), "{error}");
}

#[test]
fn a_kernel_that_refuses_whole_paths_unpacks_the_same() {
    let outside = tempfile::tempdir().unwrap();
    let absolute = outside.path().to_str().unwrap();
    let layers: [&[Entry<'_>]; 2] = [
        &[
            folder("usr/lib"),
            link(EntryType::Symlink, "lib", "/usr/lib"),
            link(EntryType::Symlink, "out", absolute),
            plain("usr/lib/a", b"1"),
            plain("d/old", b"1"),
        ],
        &[
            plain("lib/b", b"2"),
            plain("out/file", b"3"),
            link(EntryType::Link, "c", "lib/a"),
            plain("d/.wh..wh..opq", b""),
        ],
    ];
    let with = image(&layers).unpack().unwrap();
    let without = refusing(NO_WHOLE_PATHS, || image(&layers).unpack()).unwrap();
    assert_eq!(with.tree("rootfs"), without.tree("rootfs"));
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    let app = refusing(NO_WHOLE_PATHS, || {
        shop(&file("a/b", b"x"), &[b"x"])
            .layer(media::SPIN_WASM, COMPONENT)
            .unpack()
    });
    assert_eq!(app.unwrap().text("assets/cart/a/b"), "x");
}
