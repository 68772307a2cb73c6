//! Packing: the artifact that `spin registry push` would create, reproducibly.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::Value;
use skiff_artifact::layout::{IMAGE_NAME, REF_NAME};
use skiff_artifact::pack::{Options, PackError, Packed, to_layout};
use skiff_artifact::{
    Descriptor, Digest, Image, Kind, Layout, Limits, Prepared, media, read_whole, unpack,
};
use tempfile::TempDir;

use crate::folder::{nothing, shop, write};
use crate::support::{COMPONENT, Target, component};

/// An artifact in a layout, and what is in it.
struct Artifact {
    folder: TempDir,
    packed: Packed,
}

impl Artifact {
    fn of(source: &Path, options: &Options) -> Result<Self, PackError> {
        let folder = tempfile::tempdir().unwrap();
        let packed = to_layout(
            source,
            &folder.path().join("layout"),
            options,
            |_| None,
            &nothing,
        )?;
        Ok(Self { folder, packed })
    }

    #[track_caller]
    fn new(source: &TempDir, options: &Options) -> Self {
        Self::of(source.path(), options).unwrap()
    }

    fn layout(&self) -> Layout {
        Layout::open(&self.folder.path().join("layout")).unwrap()
    }

    fn image(&self) -> Image {
        Image::read(&self.layout(), &self.packed.manifest).unwrap()
    }

    fn json(&self, blob: &Descriptor) -> Value {
        let bytes = read_whole(&self.layout(), blob, 1 << 20, "JSON").unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn locked(&self) -> Value {
        let Kind::Spin { locked } = self.image().kind else {
            panic!("a Spin application");
        };
        self.json(&locked)
    }

    fn media_types(&self) -> Vec<String> {
        let layers = self.image().manifest.layers.into_iter();
        layers.map(|layer| layer.media_type).collect()
    }

    fn unpacked(&self) -> Target {
        let target = Target::new();
        unpack(
            &self.image(),
            &self.layout(),
            &target.path(),
            &Limits::default(),
        )
        .unwrap();
        target
    }
}

fn archived() -> Options {
    Options {
        archive: true,
        ..Options::default()
    }
}

#[test]
fn the_fixture_gives_its_expected_artifact() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/artifacts");
    let artifact = Artifact::of(&fixtures.join("shop"), &Options::default()).unwrap();
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(fixtures.join(name)).unwrap()).unwrap()
    };
    assert_eq!(artifact.locked(), read("shop.locked.json"));
    let manifest = artifact.json(&artifact.packed.manifest);
    assert_eq!(manifest, read("shop.manifest.json"));
    let config = artifact.json(&artifact.image().manifest.config);
    assert_eq!(config, read("shop.config.json"));
}

#[test]
fn the_same_folder_gives_the_same_digests() {
    for options in [Options::default(), archived()] {
        let digest = || {
            let folder = shop(r#"files = ["static", "readme.txt"]"#);
            Artifact::new(&folder, &options).packed
        };
        let first = digest();
        // Another folder, with other times, owners and inode numbers.
        assert_eq!(first, digest());
    }
}

#[test]
fn what_is_packed_is_what_is_unpacked() {
    for options in [Options::default(), archived()] {
        let folder =
            shop(r#"files = ["static", { source = "readme.txt", destination = "doc/a b.txt" }]"#);
        write(folder.path(), "static/large", &[b'x'; 5000]);
        write(folder.path(), "static/empty", b"");
        let target = Artifact::new(&folder, &options).unpacked();
        let tree = target.tree("assets/cart");
        let mut expected = vec!["static/a.css", "static/b.map", "static/deep/c.css"];
        expected.splice(0..0, ["doc/a b.txt"]);
        expected.extend(["static/empty", "static/large"]);
        assert_eq!(tree.keys().collect::<Vec<_>>(), expected);
        assert_eq!(tree["static/large"].len(), 5000);
        assert_eq!(tree["doc/a b.txt"], "read me");
        let prepared = Prepared::from_unpacked(&target.path()).unwrap();
        assert_eq!(prepared.components[0].build(|_| None).unwrap(), COMPONENT);
        assert_eq!(prepared.application.version, "1.2.0");
    }
}

#[test]
fn small_content_is_inline_and_has_no_layer() {
    let folder = shop(r#"files = ["static"]"#);
    fs::remove_dir_all(folder.path().join("static")).unwrap();
    write(folder.path(), "static/128", &[b'x'; 128]);
    write(folder.path(), "static/129", &[b'x'; 129]);
    let artifact = Artifact::new(&folder, &Options::default());
    let locked = artifact.locked();
    let files = locked["components"][0]["files"].as_array().unwrap();
    let inline = files[0]["inline"].as_str().unwrap();
    assert!(!inline.ends_with('='), "{inline}");
    assert_eq!(files[0]["digest"], Digest::of(&[b'x'; 128]).to_string());
    assert_eq!(files[1].get("inline"), None);
    assert_eq!(files[1]["path"], "static/129");
    assert_eq!(
        artifact.media_types(),
        [media::SPIN_WASM, media::SPIN_DATA, media::SPIN_APPLICATION]
    );
}

#[test]
fn a_small_binary_is_inline_and_has_its_layer() {
    let artifact = Artifact::new(&shop(""), &Options::default());
    let source = &artifact.locked()["components"][0]["source"];
    assert_eq!(source["inline"], "AGFzbQ0AAQA");
    assert_eq!(source["digest"], Digest::of(COMPONENT).to_string());
    assert_eq!(source["content_type"], "application/wasm");
    assert_eq!(
        artifact.media_types(),
        [media::SPIN_WASM, media::SPIN_APPLICATION]
    );
}

#[test]
fn equal_content_has_one_layer() {
    let folder = shop(r#"files = ["static"]"#);
    write(folder.path(), "static/x", &[b'x'; 500]);
    write(folder.path(), "static/y", &[b'x'; 500]);
    let artifact = Artifact::new(&folder, &Options::default());
    assert_eq!(artifact.packed.layers, 3);
    assert_eq!(artifact.unpacked().text("assets/cart/static/y").len(), 500);
}

#[test]
fn an_archive_is_made_when_asked_for() {
    let folder = shop(r#"files = ["static"]"#);
    let artifact = Artifact::new(&folder, &archived());
    assert!(artifact.packed.archive);
    assert_eq!(
        artifact.media_types(),
        [
            media::SPIN_WASM,
            media::SPIN_ARCHIVE,
            media::SPIN_APPLICATION
        ]
    );
    // The application still lists the files one by one.
    let plain = Artifact::new(&folder, &Options::default());
    assert_eq!(artifact.locked(), plain.locked());
}

#[test]
fn an_archive_is_made_when_there_are_too_many_layers() {
    let folder = shop(r#"files = ["many"]"#);
    let fill = |count: u32| {
        for n in 0..count {
            let content = [n.to_le_bytes(); 50].concat();
            write(folder.path(), &format!("many/{n:04}"), &content);
        }
        Artifact::new(&folder, &Options::default())
    };
    // With the binary that is 499, and one more for the application.
    let most = fill(498);
    assert!(!most.packed.archive);
    assert_eq!(most.packed.layers, 500);
    let more = fill(499);
    assert!(more.packed.archive);
    assert_eq!(more.packed.layers, 3);
    assert_eq!(more.unpacked().tree("assets/cart/many").len(), 499);
}

#[test]
fn the_configuration_is_what_kubelet_needs_to_run_it() {
    let config = |name: &str| {
        let folder = shop("");
        let path = folder.path().join("spin.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("name = \"shop\"", name)).unwrap();
        let artifact = Artifact::new(&folder, &Options::default());
        let descriptor = artifact.image().manifest.config;
        assert_eq!(descriptor.media_type, media::CONFIG);
        (descriptor.digest, artifact.json(&descriptor))
    };
    let (digest, shop) = config("name = \"shop\"");
    assert_eq!(shop["config"]["Entrypoint"], serde_json::json!(["/"]));
    // containerd distinguishes images by this blob.
    let (other, _) = config("name = \"other\"");
    assert_ne!(digest, other);
}

#[test]
fn a_form_of_the_folder_loses_no_file() {
    let folder = shop(r#"files = ["static/**/*"]"#);
    for named in ["", ".", "./", "spin.toml", "static/.."] {
        let artifact = Artifact::of(&folder.path().join(named), &Options::default()).unwrap();
        let files = artifact.unpacked().tree("assets/cart");
        assert_eq!(files.len(), 3, "{named}: {files:?}");
    }
}

#[test]
fn annotations_come_from_the_application_or_from_the_caller() {
    let folder = shop("");
    let annotations =
        |options: &Options| Artifact::new(&folder, options).image().manifest.annotations;
    let key = |name: &str| format!("org.opencontainers.image.{name}");
    let inferred = annotations(&Options::default());
    assert_eq!(inferred[&key("title")], "shop");
    assert_eq!(inferred[&key("version")], "1.2.0");
    assert_eq!(inferred[&key("authors")], "Ada <ada@example.com>, Bob");
    assert_eq!(inferred.len(), 3);

    let created = Options {
        created: Some("2026-11-21T00:00:00Z".to_owned()),
        ..Options::default()
    };
    assert_eq!(
        annotations(&created)[&key("created")],
        "2026-11-21T00:00:00Z"
    );

    let given = Options {
        annotations: [("a".to_owned(), "b".to_owned())].into(),
        ..created
    };
    assert_eq!(annotations(&given), given.annotations);
}

#[test]
fn the_index_names_the_image() {
    let options = Options {
        reference: Some("registry.example:5000/shop:1.2".to_owned()),
        ..Options::default()
    };
    let artifact = Artifact::new(&shop(""), &options);
    let named = artifact
        .layout()
        .manifest(Some("registry.example:5000/shop:1.2"))
        .unwrap();
    assert_eq!(named.digest, artifact.packed.manifest.digest);
    assert_eq!(
        named.annotations[IMAGE_NAME],
        "registry.example:5000/shop:1.2"
    );
    assert_eq!(named.annotations[REF_NAME], "1.2");
    // The name does not affect the artifact.
    let unnamed = Artifact::new(&shop(""), &Options::default());
    assert_eq!(unnamed.packed, artifact.packed);
}

#[test]
fn a_command_is_pushed_as_the_module_that_it_is() {
    let folder = shop("");
    // (module (memory (export "memory") 1) (func (export "_start")))
    let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01\
        \x07\x13\x02\x06memory\x02\0\x06_start\0\0\x0a\x04\x01\x02\0\x0b";
    write(folder.path(), "cart.wasm", module);
    let built = |options: &Options| {
        let target = Artifact::new(&folder, options).unpacked();
        let prepared = Prepared::from_unpacked(&target.path()).unwrap();
        fs::read(&prepared.components[0].wasm).unwrap()
    };
    assert_eq!(built(&Options::default()), module);
    let as_built = Options {
        as_built: true,
        ..Options::default()
    };
    assert_eq!(built(&as_built), module);
}

#[test]
fn dependencies_are_composed_or_pushed_beside() {
    let folder = shop(
        r#"[component.cart.dependencies]
"acme:shop/price" = { path = "price.wasm", inherit_configuration = true }
"#,
    );
    let price = component(300, 1);
    write(folder.path(), "price.wasm", &price);
    // The parent imports nothing, which composing reports.
    let error = Artifact::of(folder.path(), &Options::default())
        .err()
        .unwrap();
    assert!(matches!(error, PackError::Build(_)), "{error}");

    let as_built = Options {
        as_built: true,
        ..Options::default()
    };
    let artifact = Artifact::new(&folder, &as_built);
    let dependency = &artifact.locked()["components"][0]["dependencies"]["acme:shop/price"];
    assert_eq!(
        dependency["source"]["digest"],
        Digest::of(&price).to_string()
    );
    assert_eq!(dependency["inherit"], "All");
    assert_eq!(
        artifact.media_types(),
        [media::SPIN_WASM, media::SPIN_WASM, media::SPIN_APPLICATION]
    );
    let target = artifact.unpacked();
    let prepared = Prepared::from_unpacked(&target.path()).unwrap();
    assert_eq!(
        prepared.components[0].dependencies[0].digest,
        Digest::of(&price)
    );
}

#[test]
fn nothing_is_left_of_a_failure() {
    let folder = shop(r#"files = ["absent"]"#);
    let parent = tempfile::tempdir().unwrap();
    let layout = parent.path().join("layout");
    let error = to_layout(
        folder.path(),
        &layout,
        &Options::default(),
        |_| None,
        &nothing,
    )
    .unwrap_err();
    assert!(matches!(error, PackError::Prepare(_)), "{error}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn an_existing_folder_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    write(parent.path(), "layout/mine", b"mine");
    let layout = parent.path().join("layout");
    let error = to_layout(
        shop("").path(),
        &layout,
        &Options::default(),
        |_| None,
        &nothing,
    )
    .unwrap_err();
    assert!(matches!(error, PackError::Exists { .. }), "{error}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    fs::remove_file(layout.join("mine")).unwrap();
    to_layout(
        shop("").path(),
        &layout,
        &Options::default(),
        |_| None,
        &nothing,
    )
    .unwrap();
}

#[test]
fn a_file_name_that_is_not_utf_8_is_named() {
    let folder = shop(r#"files = ["static"]"#);
    fs::write(
        folder
            .path()
            .join("static")
            .join(OsStr::from_bytes(b"\xff")),
        b"x",
    )
    .unwrap();
    let error = Artifact::of(folder.path(), &Options::default())
        .err()
        .unwrap();
    assert!(matches!(&error, PackError::FileName { component, .. } if component == "cart"));
}
