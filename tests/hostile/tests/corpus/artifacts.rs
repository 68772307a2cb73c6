//! Artifacts: files, manifests, components and OCI layouts that are broken or malicious.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skiff_hostile::{Skiff, guest};
use skiff_test_support::oci::{self, Descriptor, Layout};

const SPIN_APP: &str = "application/vnd.fermyon.spin.application.v1+config";
const SPIN_WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
const SPIN_DATA: &str = "application/vnd.wasm.content.layer.v1+data";
const SPIN_ARCHIVE: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";
const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn hello() -> Vec<u8> {
    fs::read(guest("hello")).expect("readable")
}

/// A file of these bytes, alone in a folder.
fn file(name: &str, bytes: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    (folder, path)
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("a module or component")
}

/// A folder with this manifest, and `hello.wasm`.
fn application(manifest: impl AsRef<[u8]>) -> tempfile::TempDir {
    let folder = folder();
    fs::write(folder.path().join("spin.toml"), manifest).expect("written");
    fs::copy(guest("hello"), folder.path().join("hello.wasm")).expect("copied");
    folder
}

/// A good manifest with these lines in its component.
fn manifest(component: &str) -> String {
    format!(
        "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"web\"\n[component.web]\n{component}\n"
    )
}

fn fifo(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).expect("a FIFO");
}

mod files {
    use super::*;

    #[test]
    fn an_empty_component_is_named_as_it_was_typed() {
        let (_folder, path) = file("empty.wasm", b"");
        Skiff::run(&path).refuses(65, &["empty.wasm"]);
    }

    #[test]
    fn half_a_component_is_named() {
        let bytes = hello();
        let (_folder, path) = file("half.wasm", &bytes[..bytes.len() / 2]);
        Skiff::run(&path).refuses(65, &["half.wasm"]);
    }

    #[test]
    fn text_native_code_and_a_script_are_not_wasm() {
        for bytes in [&b"hello"[..], b"\x7fELF\x02\x01\x01\0", b"#!/bin/sh\n"] {
            let (_folder, path) = file("app.wasm", bytes);
            Skiff::run(&path).refuses(65, &["app.wasm"]);
        }
    }

    #[test]
    fn a_fifo_in_place_of_each_file_is_told_and_not_waited_for() {
        let outer = folder();
        let path = outer.path().join("app.wasm");
        fifo(&path);
        Skiff::run(&path).refuses(65, &["app.wasm"]);

        let outer = folder();
        fifo(&outer.path().join("spin.toml"));
        Skiff::run(outer.path()).refuses(65, &["spin.toml"]);

        let app = application(manifest("source = \"pipe.wasm\""));
        fifo(&app.path().join("pipe.wasm"));
        Skiff::run(app.path()).refuses(65, &["pipe.wasm"]);

        let app = application(manifest("source = \"hello.wasm\"\nfiles = [\"pipe\"]"));
        fifo(&app.path().join("pipe"));
        Skiff::run(app.path()).refuses(65, &["pipe"]);
    }

    #[test]
    fn a_device_in_place_of_each_file_is_told_and_not_read() {
        let outer = folder();
        symlink("/dev/zero", outer.path().join("spin.toml")).expect("a link");
        Skiff::run(outer.path()).refuses(65, &["spin.toml"]);

        let outer = folder();
        let path = outer.path().join("app.wasm");
        symlink("/dev/zero", &path).expect("a link");
        Skiff::run(&path).refuses(65, &["app.wasm"]);

        let app = application(manifest("source = \"zero.wasm\""));
        symlink("/dev/zero", app.path().join("zero.wasm")).expect("a link");
        Skiff::run(app.path()).refuses(65, &["zero.wasm"]);
    }

    #[test]
    fn folders_and_loops_of_links_in_place_of_files_are_told() {
        let outer = folder();
        fs::create_dir(outer.path().join("spin.toml")).expect("a folder");
        Skiff::run(outer.path()).refuses(65, &["spin.toml"]);

        let app = application(manifest("source = \"hello.wasm\"\nfiles = [\"loop\"]"));
        symlink("loop", app.path().join("loop")).expect("a link");
        Skiff::run(app.path()).refuses(65, &["loop"]);
    }

    #[test]
    fn files_outside_of_the_application_are_refused_by_name() {
        let files = [
            r#"files = ["/etc/hostname"]"#,
            r#"files = ["link"]"#,
            r#"files = [{ source = "/etc", destination = "/x" }]"#,
        ];
        for line in files {
            let app = application(manifest(&format!("source = \"hello.wasm\"\n{line}")));
            symlink("/etc/hostname", app.path().join("link")).expect("a link");
            let verdict = Skiff::run(app.path()).end();
            assert_eq!(verdict.code, 65, "{line}: {}", verdict.stderr);
        }
    }
}

mod manifests {
    use super::*;

    #[test]
    fn what_is_no_text_or_no_toml_is_told_with_its_place() {
        for bytes in [&b"\xff\xfe"[..], b"a = \0", b"[", b"a = 1\na = 2"] {
            let app = application(bytes);
            Skiff::run(app.path()).refuses(65, &["spin.toml"]);
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_not_followed() {
        let deep = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
        let app = application(deep);
        Skiff::run(app.path()).refuses(65, &["spin.toml"]);
    }

    #[test]
    fn a_thousand_mistakes_make_a_message_that_can_be_read() {
        let mut text = manifest("source = \"hello.wasm\"");
        for n in 0..1000 {
            text += &format!("wrong{n} = 1\n");
        }
        let app = application(text);
        Skiff::run(app.path()).refuses(65, &["spin.toml"]);
    }

    #[test]
    fn a_large_manifest_is_bounded() {
        let app = application(format!("# {}\n", "x".repeat(64 << 20)));
        let verdict = Skiff::run(app.path()).end();
        assert_eq!(verdict.code, 65, "{}", verdict.stderr);
    }

    #[test]
    fn a_pattern_for_everything_finds_its_end() {
        let app = application(manifest(
            "source = \"hello.wasm\"\nfiles = [\"**/**/**/**/**/**/*\"]\nwrong = 1",
        ));
        let mut inner = app.path().to_owned();
        for _ in 0..60 {
            inner.push("d");
            fs::create_dir(&inner).expect("a folder");
        }
        Skiff::run(app.path()).refuses(65, &["wrong"]);
    }
}

mod components {
    use super::*;

    #[test]
    fn a_handler_of_another_signature_is_told() {
        let (_folder, path) = file(
            "odd.wasm",
            wat(r#"(component
                (core module $m (func (export "handle")))
                (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i "handle")))
                (instance $h (export "handle" (func $f)))
                (export "wasi:http/incoming-handler@0.2.0" (instance $h)))"#),
        );
        Skiff::run(&path).refuses(65, &["odd.wasm", "handle"]);
    }

    #[test]
    fn a_first_memory_over_the_limit_is_told_at_the_start() {
        let (_folder, path) = file(
            "large.wasm",
            wat(r#"(module (memory (export "memory") 16000) (func (export "_start")))"#),
        );
        let skiff = Skiff::run(&path).env("SKIFF_MAX_INSTANCE_MEMORY", "1Mi");
        let verdict = skiff.end();
        assert_ne!(verdict.code, 0);
        assert!(verdict.stderr.contains("large.wasm"), "{}", verdict.stderr);
    }

    #[test]
    fn ten_thousand_functions_and_types_are_no_trouble() {
        let mut text = String::from("(module (memory (export \"memory\") 1)");
        for n in 0..10_000 {
            text += &format!("(func $f{n} (result i32) i32.const {n})");
        }
        text += "(func (export \"_start\")))";
        let (_folder, path) = file("many.wasm", wat(&text));
        assert_eq!(Skiff::run(&path).end().code, 0);
    }

    #[test]
    fn an_import_that_nobody_offers_is_told_once_for_all() {
        let mut text = String::from("(component");
        for n in 0..500 {
            text += &format!("(import \"nowhere:land/teapot{n}@1.2.3\" (instance))");
        }
        text += ")";
        let (_folder, path) = file("imports.wasm", wat(&text));
        Skiff::run(&path).refuses(65, &["imports.wasm", "nowhere:land/teapot"]);
    }
}

mod layouts {
    use super::*;

    /// An empty layout and its folder.
    fn layout() -> (tempfile::TempDir, Layout) {
        let outer = folder();
        let layout = Layout::create(outer.path().join("layout")).expect("written");
        (outer, layout)
    }

    fn locked(digest: &str, files: Value) -> Value {
        json!({
            "spin_lock_version": 1,
            "metadata": { "name": "crafted" },
            "triggers": [{
                "id": "web", "trigger_type": "http",
                "trigger_config": { "component": "web", "route": "/..." },
            }],
            "components": [{
                "id": "web",
                "source": { "content_type": "application/wasm", "digest": digest },
                "files": files,
            }],
        })
    }

    /// A Spin application of `hello` whose component has these files, with these layers.
    fn spin(layout: &Layout, files: Value, others: &[Descriptor]) {
        let wasm = layout.blob(SPIN_WASM, &hello()).expect("written");
        let app = locked(&wasm.digest, files).to_string();
        let app = layout.blob(SPIN_APP, app.as_bytes()).expect("written");
        let mut layers = vec![wasm];
        layers.extend_from_slice(others);
        layout.manifest(&app, &layers).expect("written");
    }

    /// A plain image of these layers whose entrypoint is `/app.wasm`.
    fn image(layout: &Layout, layers: &[Descriptor]) {
        let config = json!({
            "architecture": "wasm", "os": "wasi",
            "config": { "Entrypoint": ["/app.wasm"] },
            "rootfs": { "type": "layers", "diff_ids": [] },
        });
        let config = config.to_string();
        let config = layout
            .blob(oci::CONFIG, config.as_bytes())
            .expect("written");
        layout.manifest(&config, layers).expect("written");
    }

    fn archive(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        fill(&mut archive);
        archive.into_inner().expect("in memory")
    }

    fn entry(kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size);
        header
    }

    /// A header whose name is used unchanged.
    fn named(name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = entry(kind, size);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        header
    }

    fn with_app(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        archive(|archive| {
            let app = hello();
            let mut header = entry(tar::EntryType::Regular, app.len() as u64);
            archive
                .append_data(&mut header, "app.wasm", app.as_slice())
                .expect("in memory");
            fill(archive);
        })
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(bytes).expect("in memory");
        packed.finish().expect("in memory")
    }

    #[test]
    fn an_index_that_is_none_is_told() {
        for index in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"manifests":[]}"#,
            r#"{"manifests":5}"#,
        ] {
            let (_outer, layout) = layout();
            fs::write(layout.folder().join("index.json"), index).expect("written");
            let verdict = Skiff::run(layout.folder()).end();
            assert_eq!(verdict.code, 65, "{index}: {}", verdict.stderr);
        }
    }

    #[test]
    fn an_index_without_end_is_told_with_its_limit() {
        let (_outer, layout) = layout();
        let index = format!(r#"{{"manifests":["{}"]}}"#, "a".repeat(5 << 20));
        fs::write(layout.folder().join("index.json"), index).expect("written");
        Skiff::run(layout.folder()).refuses(65, &["index", "4194304 bytes"]);
    }

    #[test]
    fn an_index_of_many_indexes_is_refused_in_a_few_words() {
        let (_outer, layout) = layout();
        let index = "application/vnd.oci.image.index.v1+json";
        let mut inner = layout
            .blob(index, br#"{"schemaVersion":2,"manifests":[]}"#)
            .expect("written");
        for _ in 0..12 {
            let entry = json!({ "mediaType": index, "digest": inner.digest, "size": inner.size });
            let entries = vec![entry; 40];
            let text = json!({ "schemaVersion": 2, "manifests": entries }).to_string();
            inner = layout.blob(index, text.as_bytes()).expect("written");
            fs::write(layout.folder().join("index.json"), text).expect("written");
        }
        let verdict = Skiff::run(layout.folder()).end();
        assert_eq!(verdict.code, 65, "{}", verdict.stderr);
        let verdict = Skiff::inspect(layout.folder()).end();
        assert_ne!(verdict.code, 0, "{}", verdict.stderr);
    }

    #[test]
    fn a_blob_that_is_missing_cut_or_changed_is_named_by_its_digest() {
        let damage: [fn(&Path); 3] = [
            |blob| fs::remove_file(blob).expect("removed"),
            |blob| {
                let bytes = fs::read(blob).expect("read");
                fs::write(blob, &bytes[..bytes.len() / 2]).expect("written");
            },
            |blob| {
                let mut bytes = fs::read(blob).expect("read");
                bytes[100] ^= 1;
                fs::write(blob, bytes).expect("written");
            },
        ];
        for damage in damage {
            let (_outer, layout) = layout();
            spin(&layout, json!([]), &[]);
            let digest = Descriptor::of(SPIN_WASM, &hello()).digest;
            damage(&layout.folder().join(oci::blob_name(&digest)));
            Skiff::run(layout.folder()).refuses(65, &[&digest[..20]]);
        }
    }

    #[test]
    fn a_fifo_among_the_blobs_is_told_and_not_waited_for() {
        let (_outer, layout) = layout();
        spin(&layout, json!([]), &[]);
        let digest = Descriptor::of(SPIN_WASM, &hello()).digest;
        let blob = layout.folder().join(oci::blob_name(&digest));
        fs::remove_file(&blob).expect("removed");
        fifo(&blob);
        Skiff::run(layout.folder()).refuses(65, &[&digest[..20]]);
        Skiff::inspect(layout.folder()).end();
    }

    #[test]
    fn json_that_is_deep_or_builds_much_is_refused_within_the_limit_of_memory() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let many = format!("[{}0]", "0,".repeat(8 << 20));
        for body in [deep, many] {
            let (_outer, layout) = layout();
            let text = format!(r#"{{"spin_lock_version":1,"metadata":{body}}}"#);
            let app = layout.blob(SPIN_APP, text.as_bytes()).expect("written");
            layout.manifest(&app, &[]).expect("written");
            let verdict = Skiff::run(layout.folder()).end();
            assert_eq!(verdict.code, 65, "{}", verdict.stderr);
        }
    }

    #[test]
    fn files_of_an_application_stay_in_their_folder() {
        for path in [
            "../outside",
            "/../../outside",
            "a/../../outside",
            "a\0b",
            "",
        ] {
            let (outer, layout) = layout();
            let data = layout.blob(SPIN_DATA, b"harmless").expect("written");
            let files = json!([{ "content": { "digest": data.digest }, "path": path }]);
            spin(&layout, files, &[data]);
            let verdict = Skiff::run(layout.folder()).end();
            assert_eq!(verdict.code, 65, "{path:?}: {}", verdict.stderr);
            assert!(!outer.path().join("outside").exists());
        }
    }

    #[test]
    fn archives_stay_in_their_folder() {
        let outside = folder();
        let target = outside.path().join("target");
        let inside: [(&str, &str, tar::EntryType); 6] = [
            ("../outside", "", tar::EntryType::Regular),
            ("/../outside", "", tar::EntryType::Regular),
            ("link", "../../..", tar::EntryType::Symlink),
            ("link", "/", tar::EntryType::Symlink),
            ("hard", "../../outside", tar::EntryType::Link),
            ("hard", "/etc/hostname", tar::EntryType::Link),
        ];
        for (name, link, kind) in inside {
            let bytes = with_app(|archive| {
                let mut header = named(name, kind, 0);
                if !link.is_empty() {
                    header.set_link_name_literal(link).expect("short");
                    header.set_cksum();
                }
                archive.append(&header, &[][..]).expect("in memory");
                // What would be written through the link.
                let mut header = named("link/target", tar::EntryType::Regular, 4);
                header.set_cksum();
                archive.append(&header, &b"harm"[..]).expect("in memory");
            });
            let (_outer, layout) = layout();
            let layer = layout.blob(oci::LAYER, &bytes).expect("written");
            image(&layout, &[layer]);
            // A link to a folder of the image is not an error by itself; nothing may be
            // written outside.
            Skiff::inspect(layout.folder()).end();
            Skiff::run(layout.folder())
                .env("SKIFF_MAX_STACK", "none")
                .refuses(78, &[]);
            assert!(!target.exists());
        }
        assert!(!Path::new("/outside").exists() && !Path::new("/target").exists());
    }

    #[test]
    fn names_of_an_artifact_are_shown_in_one_line_and_not_without_end() {
        let long = format!("../{}", "x".repeat(900_000));
        for name in ["../a\x1b[2J\nskiff: all is well\r", &long] {
            let bytes = with_app(|archive| {
                let length = name.len() as u64;
                let header = named("././@LongLink", tar::EntryType::GNULongName, length);
                archive.append(&header, name.as_bytes()).expect("in memory");
                let header = named("short", tar::EntryType::Regular, 0);
                archive.append(&header, &[][..]).expect("in memory");
            });
            let (_outer, layout) = layout();
            let layer = layout.blob(oci::LAYER, &bytes).expect("written");
            image(&layout, &[layer]);
            let verdict = Skiff::run(layout.folder()).end();
            assert_eq!(verdict.code, 65, "{}", verdict.stderr);
            assert_eq!(verdict.stderr.lines().count(), 1, "{}", verdict.stderr);
        }
    }

    #[test]
    fn devices_and_pipes_of_an_archive_are_not_made() {
        for kind in [
            tar::EntryType::Char,
            tar::EntryType::Block,
            tar::EntryType::Fifo,
        ] {
            let bytes = with_app(|archive| {
                let header = named("odd", kind, 0);
                archive.append(&header, &[][..]).expect("in memory");
            });
            let (_outer, layout) = layout();
            let layer = layout.blob(oci::LAYER, &bytes).expect("written");
            image(&layout, &[layer]);
            Skiff::inspect(layout.folder()).end();
        }
    }

    #[test]
    fn what_unpacks_to_more_than_it_may_is_refused_before_it_fills_the_disk() {
        // Packed piece by piece: a test's memory counts for its children.
        let zeroes = vec![0; 1 << 20];
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        for n in 0..40 {
            let header = named(&format!("zeroes{n}"), tar::EntryType::Regular, 64 << 20);
            packed.write_all(header.as_bytes()).expect("in memory");
            for _ in 0..64 {
                packed.write_all(&zeroes).expect("in memory");
            }
        }
        let packed = packed.finish().expect("in memory");
        for kind in [SPIN_ARCHIVE, LAYER_GZIP] {
            let (_outer, layout) = layout();
            let bomb = layout.blob(kind, &packed).expect("written");
            if kind == SPIN_ARCHIVE {
                let files = json!([{ "content": { "digest": bomb.digest }, "path": "/" }]);
                spin(&layout, files, std::slice::from_ref(&bomb));
            } else {
                image(&layout, std::slice::from_ref(&bomb));
            }
            let verdict = Skiff::run(layout.folder()).end();
            assert_eq!(verdict.code, 65, "{kind}: {}", verdict.stderr);
        }
    }

    #[test]
    fn a_hundred_thousand_entries_are_refused_or_unpacked_in_time() {
        let bytes = archive(|archive| {
            for n in 0..100_000 {
                let header = named(&format!("f{n}"), tar::EntryType::Regular, 0);
                archive.append(&header, &[][..]).expect("in memory");
            }
        });
        let (_outer, layout) = layout();
        let layer = layout.blob(LAYER_GZIP, &gzip(&bytes)).expect("written");
        image(&layout, &[layer]);
        let verdict = Skiff::run(layout.folder()).end();
        assert_eq!(verdict.code, 65, "{}", verdict.stderr);
    }

    #[test]
    fn an_archive_that_ends_in_the_middle_is_told() {
        let bytes = with_app(|_| ());
        let (_outer, layout) = layout();
        let layer = layout
            .blob(oci::LAYER, &bytes[..bytes.len() / 2])
            .expect("written");
        let digest = layer.digest.clone();
        image(&layout, &[layer]);
        Skiff::run(layout.folder()).refuses(65, &[&digest[..20]]);
    }
}
