//! Whatever is packed can be unpacked again, and hostile input does no harm.

use std::collections::BTreeMap;
use std::fs;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use skiff_artifact::pack::{Options, to_layout};
use skiff_artifact::{Image, Layout, Limits, media, unpack};
use tar::EntryType;

use crate::folder::{nothing, shop, write};
use crate::support::{Builder, COMPONENT, Entry, Target, file, gzip, locked, packed};

/// Valid guest names, including some that look like something else.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}",
        "[a-zA-Z0-9 _.,+=@~-]{1,20}"
            .prop_filter("a name", |name| !name.trim_matches('.').is_empty()),
        "[ä-ö漢字]{1,4}",
        Just("...".to_owned()),
        Just(".wh.x".to_owned()),
        "x{150}",
    ]
}

/// A tree of files in which no file is also a folder.
fn files() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
    let path = vec(name(), 1..4).prop_map(|parts| {
        // Folders and files have distinct names.
        let (file, folders) = parts.split_last().unwrap();
        let folders: String = folders
            .iter()
            .map(|folder| format!("{folder}.d/"))
            .collect();
        format!("{folders}{file}.f")
    });
    btree_map(path, vec(any::<u8>(), 0..300), 1..12)
}

/// Parts of hostile names.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(".."),
        Just("."),
        Just(""),
        Just("a"),
        Just("b"),
        Just("c"),
        Just(".wh.a"),
        Just(".wh..wh..opq"),
        Just(".wh..."),
    ];
    vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

fn entries() -> impl Strategy<Value = Vec<(EntryType, String, String)>> {
    let kind = prop_oneof![
        3 => Just(EntryType::Regular),
        2 => Just(EntryType::Directory),
        3 => Just(EntryType::Symlink),
        1 => Just(EntryType::Link),
    ];
    vec((kind, hostile(), hostile()), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn packed_files_come_back(files in files(), archive: bool) {
        let folder = shop(r#"files = [{ source = "tree", destination = "/" }]"#);
        for (path, content) in &files {
            write(&folder.path().join("tree"), path, content);
        }
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("layout");
        let options = Options { archive, ..Options::default() };
        let packed = to_layout(folder.path(), &path, &options, |_| None, &nothing).unwrap();

        let layout = Layout::open(&path).unwrap();
        let image = Image::read(&layout, &packed.manifest).unwrap();
        let target = Target::new();
        unpack(&image, &layout, &target.path(), &Limits::default()).unwrap();
        for (path, content) in &files {
            let found = fs::read(target.path().join("assets/cart").join(path)).unwrap();
            prop_assert_eq!(&found, content, "{}", path);
        }
    }

    #[test]
    fn no_archive_of_files_leaves_its_directory(entries in entries()) {
        let entries: Vec<Entry<'_>> = entries
            .iter()
            .map(|(kind, name, target)| Entry { kind: *kind, name, target, mode: 0o644, content: b"" })
            .collect();
        let layer = packed(&entries);
        let (image, blobs) = Builder::with_config(media::CONFIG, b"{}")
            .layer("application/vnd.oci.image.layer.v1.tar+gzip", &layer)
            .layer("application/vnd.oci.image.layer.v1.tar+gzip", &layer)
            .read();
        let target = Target::new();
        let parent = target.path().parent().unwrap().to_owned();
        let unpacked = unpack(&image.unwrap(), &blobs, &target.path(), &Limits::default());
        let left: Vec<_> = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        match unpacked {
            Ok(_) => {
                prop_assert_eq!(left, ["image"]);
                let inside = fs::read_dir(target.path()).unwrap().count();
                prop_assert_eq!(inside, 2);
            }
            Err(_) => prop_assert!(left.is_empty(), "{:?}", left),
        }
    }

    #[test]
    fn any_bytes_as_an_archive_are_an_error(bytes in vec(any::<u8>(), 0..2000), compress: bool) {
        let layer = if compress { gzip(&bytes) } else { bytes };
        let target = Builder::new()
            .layer(media::SPIN_WASM, COMPONENT)
            .layer(media::SPIN_ARCHIVE, &layer)
            .layer(media::SPIN_APPLICATION, locked(&file("a", b"wanted")).as_bytes())
            .unpack();
        prop_assert!(target.is_err());
    }
}
