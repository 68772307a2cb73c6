//! Archive layers, valid and hostile.

use skiff_artifact::{BlobError, LimitError, Limits, UnpackError, media};
use tar::EntryType;

use crate::support::{
    Builder, COMPONENT, Entry, archive, chain, file, folder, gzip, link, locked, packed, plain,
};

/// An application with the file `wanted.txt`, and its archive.
fn shop(archive: &[u8]) -> Builder {
    Builder::new()
        .layer(media::SPIN_WASM, COMPONENT)
        .layer(media::SPIN_ARCHIVE, archive)
        .layer(
            media::SPIN_APPLICATION,
            locked(&file("wanted.txt", b"wanted")).as_bytes(),
        )
}

#[test]
fn files_are_found_in_archives_by_digest() {
    let files = [
        file("a/one.txt", b"1"),
        file("b/two.txt", b"2"),
        file("c.txt", b"1"),
    ]
    .join(",");
    let first = packed(&[
        folder("./"),
        plain("./one.txt", b"1"),
        plain("other", b"other"),
    ]);
    let second = packed(&[folder("deep/"), plain("deep/two.txt", b"2")]);
    let target = Builder::new()
        .layer(media::SPIN_WASM, COMPONENT)
        .layer(media::SPIN_ARCHIVE, &first)
        .layer(media::SPIN_ARCHIVE, &second)
        .layer(media::SPIN_APPLICATION, locked(&files).as_bytes())
        .unpack()
        .unwrap();
    let tree = target.tree("assets/cart");
    let tree: Vec<_> = tree
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    assert_eq!(
        tree,
        [("a/one.txt", "1"), ("b/two.txt", "2"), ("c.txt", "1")]
    );
}

#[test]
fn links_that_stay_inside_are_passed_over() {
    let entries = [
        plain("wanted.txt", b"wanted"),
        link(EntryType::Symlink, "a/link", "../wanted.txt"),
        link(EntryType::Link, "hard", "wanted.txt"),
    ];
    let target = shop(&packed(&entries)).unpack().unwrap();
    assert_eq!(target.tree("assets/cart").len(), 1);
}

#[test]
fn names_that_leave_are_refused() {
    for name in ["../out", "a/../../out", "/etc/passwd", "a/.."] {
        let error = shop(&packed(&[plain(name, b"wanted")])).refused();
        assert!(
            matches!(&error, UnpackError::EntryPath { path, .. } if path.to_str() == Some(name)),
            "{name}: {error}"
        );
    }
    for (kind, target) in [
        (EntryType::Regular, ""),
        (EntryType::Symlink, "a"),
        (EntryType::Link, "a"),
    ] {
        let error = shop(&packed(&[link(kind, "./", target)])).refused();
        assert!(matches!(error, UnpackError::EntryPath { .. }), "{error}");
    }
}

#[test]
fn links_that_lead_out_are_refused() {
    for (kind, target) in [
        (EntryType::Symlink, "../../etc/passwd"),
        (EntryType::Symlink, "/etc/passwd"),
        (EntryType::Symlink, ""),
        (EntryType::Link, "../out"),
        (EntryType::Link, "/etc/passwd"),
        (EntryType::Link, ""),
    ] {
        let error = shop(&packed(&[link(kind, "a/link", target)])).refused();
        assert!(
            matches!(&error, UnpackError::LinkOut { target: found, .. } if found.to_str() == Some(target)),
            "{target}: {error}"
        );
    }
}

#[test]
fn devices_and_pipes_are_refused_by_kind() {
    for (kind, name) in [
        (EntryType::Char, "character device"),
        (EntryType::Block, "block device"),
        (EntryType::Fifo, "named pipe"),
        (EntryType::GNUSparse, "special file"),
        (EntryType::new(b'Z'), "special file"),
    ] {
        let error = shop(&packed(&[link(kind, "dev/x", "")])).refused();
        assert!(
            matches!(&error, UnpackError::EntryKind { kind, .. } if *kind == name),
            "{kind:?}: {}",
            chain(&error)
        );
    }
}

#[test]
fn set_id_bits_are_refused() {
    for mode in [0o4755, 0o2755, 0o6711] {
        let entry = Entry {
            mode,
            ..plain("bin/su", b"x")
        };
        let error = shop(&packed(&[entry])).refused();
        assert!(
            matches!(&error, UnpackError::SetId { path, .. } if path.to_str() == Some("bin/su")),
            "{error}"
        );
    }
}

#[test]
fn what_comes_after_the_wanted_file_is_judged_as_well() {
    let entries = [plain("wanted.txt", b"wanted"), plain("../out", b"x")];
    let error = shop(&packed(&entries)).refused();
    assert!(matches!(error, UnpackError::EntryPath { .. }), "{error}");
}

#[test]
fn a_truncated_gzip_is_told() {
    // Random enough to leave a stream that can be cut.
    let noise: Vec<u8> = (0..20_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let whole = packed(&[plain("noise", &noise), plain("wanted.txt", b"wanted")]);
    let error = shop(&whole[..whole.len() / 2]).refused();
    assert!(matches!(error, UnpackError::Truncated { .. }), "{error}");
    assert!(error.to_string().contains("truncated"), "{error}");
}

#[test]
fn an_archive_that_ends_in_a_file_is_told() {
    let mut whole = archive(&[plain("wanted.txt", &[b'x'; 4000])]);
    whole.truncate(512 + 1000);
    let error = shop(&gzip(&whole)).refused();
    assert!(matches!(error, UnpackError::Truncated { .. }), "{error}");
}

#[test]
fn what_is_no_archive_is_told() {
    for bytes in [&b"hello"[..], b"", &gzip(&[b'x'; 4096])] {
        let error = shop(bytes).refused();
        assert!(
            matches!(
                error,
                UnpackError::Archive { .. }
                    | UnpackError::Truncated { .. }
                    | UnpackError::MissingContent { .. }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_damaged_blob_is_told_before_what_follows_from_it() {
    let whole = packed(&[plain("wanted.txt", b"wanted")]);
    let mut damaged = whole.clone();
    damaged[20] ^= 0xff;
    let image = |stored: &[u8]| {
        Builder::new()
            .layer(media::SPIN_WASM, COMPONENT)
            .forged_layer(media::SPIN_ARCHIVE, &whole, stored)
            .layer(
                media::SPIN_APPLICATION,
                locked(&file("wanted.txt", b"wanted")).as_bytes(),
            )
    };
    let error = image(&damaged).refused();
    assert!(
        matches!(error, UnpackError::Blob(BlobError::Mismatch { .. })),
        "{error}"
    );
    let error = image(&whole[..whole.len() - 9]).refused();
    assert!(
        matches!(error, UnpackError::Blob(BlobError::Truncated { .. })),
        "{error}"
    );
}

#[test]
fn a_bomb_stops_at_the_ratio() {
    let zeros = vec![0; 64 << 20];
    let bomb = packed(&[plain("zeros", &zeros), plain("wanted.txt", b"wanted")]);
    assert!((bomb.len() as u64) < (zeros.len() as u64) / 200);
    let error = shop(&bomb).refused();
    assert!(
        matches!(
            error,
            UnpackError::Limit(LimitError::Ratio { limit: 200, .. })
        ),
        "{error}"
    );
    assert!(error.to_string().contains("200 times"), "{error}");
}

#[test]
fn a_bomb_stops_at_the_bytes() {
    let limits = Limits {
        bytes: 1 << 20,
        ratio: u64::MAX,
        ..Limits::default()
    };
    let bomb = packed(&[plain("zeros", &vec![0; 2 << 20])]);
    let error = shop(&bomb).unpack_with(&limits).err().unwrap();
    assert!(
        matches!(error, UnpackError::Limit(LimitError::Bytes { limit }) if limit == 1 << 20),
        "{error}"
    );
}

#[test]
fn many_entries_stop_at_the_files() {
    let names: Vec<String> = (0..200).map(|n| format!("f{n}")).collect();
    let entries: Vec<_> = names.iter().map(|name| plain(name, b"")).collect();
    let limits = Limits {
        files: 100,
        ..Limits::default()
    };
    let error = shop(&packed(&entries)).unpack_with(&limits).err().unwrap();
    assert!(
        matches!(error, UnpackError::Limit(LimitError::Files { limit: 100 })),
        "{error}"
    );
}

#[test]
fn a_name_that_fills_the_memory_is_refused() {
    let name = vec![b'a'; 8 << 20];
    let long = Entry {
        kind: EntryType::GNULongName,
        ..plain("././@LongLink", &name)
    };
    let error = shop(&packed(&[long, plain("x", b"")])).refused();
    assert!(
        matches!(error, UnpackError::Limit(LimitError::Header { .. })),
        "{error}"
    );
}

#[test]
fn long_names_are_read() {
    let name = format!("{}/wanted.txt", "d".repeat(200));
    let long = Entry {
        kind: EntryType::GNULongName,
        ..plain("././@LongLink", name.as_bytes())
    };
    let target = shop(&packed(&[long, plain("short", b"wanted")]))
        .unpack()
        .unwrap();
    assert_eq!(target.text("assets/cart/wanted.txt"), "wanted");
}
