//! Spin applications and single components, valid and invalid.

use skiff_artifact::{
    BlobError, Digest, LimitError, Limits, PathError, PrepareError, Prepared, UnpackError, media,
    unpack,
};

use crate::support::{
    Builder, COMPONENT, Target, chain, component, file, locked, locked_with, only,
};

/// An application of `COMPONENT` with these files, and a layer for each content.
pub(crate) fn shop(files: &str, contents: &[&[u8]]) -> Builder {
    let image = Builder::new().layer(media::SPIN_WASM, COMPONENT);
    contents
        .iter()
        .fold(image, |image, content| {
            image.layer(media::SPIN_DATA, content)
        })
        .layer(media::SPIN_APPLICATION, locked(files).as_bytes())
}

#[test]
fn an_application_is_unpacked_with_its_files() {
    let files = [
        file("static/a.css", b"body {}"),
        file("static/copy.css", b"body {}"),
        r#"{"inline":"aGk","path":"hi.txt"}"#.to_owned(),
    ];
    let target = shop(&files.join(","), &[b"body {}"]).unpack().unwrap();
    assert_eq!(target.text("assets/cart/static/a.css"), "body {}");
    assert_eq!(target.tree("assets/cart").len(), 3);
    assert_eq!(target.text("assets/cart/hi.txt"), "hi");
    assert_eq!(target.text("app.json"), locked(&files.join(",")));

    let prepared = Prepared::from_unpacked(&target.path()).unwrap();
    assert_eq!(prepared.application.name, "shop");
    let [cart] = prepared.components.as_slice() else {
        panic!("one component");
    };
    assert_eq!(cart.digest, Digest::of(COMPONENT));
    assert_eq!(cart.key(), cart.digest);
    assert_eq!(cart.build(|_| None).unwrap(), COMPONENT);
    assert_eq!(cart.mounts.len(), 1);
    assert_eq!(cart.mounts[0].guest, "/");
    assert_eq!(cart.mounts[0].host, target.path().join("assets/cart"));
    // The staging folder is gone.
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 3);
}

#[test]
fn a_component_without_files_has_no_mounts() {
    let target = shop("", &[]).unpack().unwrap();
    let prepared = Prepared::from_unpacked(&target.path()).unwrap();
    assert_eq!(prepared.components[0].mounts, []);
}

#[test]
fn an_application_of_spin_1_is_its_own_configuration() {
    let locked = locked(&file("a", b"text"));
    let target = Builder::with_config(media::SPIN_APPLICATION, locked.as_bytes())
        .layer(media::SPIN_DATA, b"text")
        .layer(media::SPIN_WASM, COMPONENT)
        .unpack()
        .unwrap();
    assert_eq!(target.text("assets/cart/a"), "text");
}

#[test]
fn a_single_component_becomes_an_application() {
    let target = Builder::with_config(media::WASM_CONFIG, b"{}")
        .layer(media::WASM, COMPONENT)
        .unpack()
        .unwrap();
    let prepared = Prepared::from_unpacked(&target.path()).unwrap();
    assert_eq!(prepared.application.name, Digest::of(COMPONENT).hex());
    assert_eq!(prepared.components[0].id, Digest::of(COMPONENT).to_string());
    assert_eq!(prepared.components[0].build(|_| None).unwrap(), COMPONENT);
}

#[test]
fn a_dependency_that_was_not_composed_is_kept() {
    let (parent, child) = (component(200, 1), component(200, 2));
    let json = locked_with(&Digest::of(&parent).to_string(), "").replace(
        r#""files":[]"#,
        &format!(
            r#""dependencies":{{"acme:shop/price":{{"source":{{"content_type":"application/wasm","digest":"{}"}},"export":null,"inherit":"All"}}}}"#,
            Digest::of(&child)
        ),
    );
    let build = |layers: &[&[u8]]| {
        layers
            .iter()
            .fold(Builder::new(), |image, layer| {
                image.layer(media::SPIN_WASM, layer)
            })
            .layer(media::SPIN_APPLICATION, json.as_bytes())
    };
    let target = build(&[&parent, &child]).unpack().unwrap();
    let prepared = Prepared::from_unpacked(&target.path()).unwrap();
    let cart = &prepared.components[0];
    assert_eq!(cart.dependencies[0].digest, Digest::of(&child));
    assert_ne!(cart.key(), cart.digest);
    // The empty parent imports nothing that the dependency could satisfy.
    let error = cart.build(|_| None).unwrap_err();
    assert!(error.to_string().contains("`cart`"), "{error}");

    let error = build(&[&parent]).refused();
    assert!(
        matches!(&error, UnpackError::MissingContent { what, .. } if what == "dependency `acme:shop/price`"),
        "{error}"
    );
}

#[test]
fn middleware_is_refused_with_its_component() {
    let around = format!(
        r#""trigger_dependencies":{{"middleware":[{{"source":{{"content_type":"application/wasm","digest":"{}"}},"export":null}}]}}"#,
        Digest::of(COMPONENT)
    );
    let of_component = locked("").replace(r#""files":[]"#, &around);
    let of_trigger = locked("").replace(
        r#""trigger_type":"http","#,
        &format!(r#""trigger_type":"http",{around},"#),
    );
    for json in [of_component, of_trigger] {
        let target = Builder::new()
            .layer(media::SPIN_WASM, COMPONENT)
            .layer(media::SPIN_APPLICATION, json.as_bytes())
            .unpack()
            .unwrap();
        let error = only(Prepared::from_unpacked(&target.path()).unwrap_err());
        assert!(
            matches!(&error, PrepareError::Middleware { component } if component == "cart"),
            "{error}"
        );
        assert!(
            error.to_string().contains("`cart` has middleware"),
            "{error}"
        );
    }
    // An empty middleware list does not count as middleware.
    let none = locked("").replace(
        r#""files":[]"#,
        r#""trigger_dependencies":{"middleware":[]}"#,
    );
    let target = Builder::new()
        .layer(media::SPIN_WASM, COMPONENT)
        .layer(media::SPIN_APPLICATION, none.as_bytes())
        .unpack()
        .unwrap();
    Prepared::from_unpacked(&target.path()).unwrap();
}

#[test]
fn a_small_binary_may_be_inline_only() {
    let json = locked("").replace(
        &format!(r#""digest":"{}""#, Digest::of(COMPONENT)),
        r#""inline":"AGFzbQ0AAQA""#,
    );
    let target = Builder::new()
        .layer(media::SPIN_APPLICATION, json.as_bytes())
        .unpack()
        .unwrap();
    let prepared = Prepared::from_unpacked(&target.path()).unwrap();
    assert_eq!(prepared.components[0].build(|_| None).unwrap(), COMPONENT);
}

#[test]
fn an_existing_directory_is_left_alone() {
    let (image, blobs) = shop("", &[]).read();
    let target = Target::new();
    std::fs::create_dir(target.path()).unwrap();
    std::fs::write(target.path().join("mine"), "mine").unwrap();
    let error = unpack(&image.unwrap(), &blobs, &target.path(), &Limits::default()).unwrap_err();
    assert!(matches!(error, UnpackError::Exists { .. }), "{error}");
    assert_eq!(target.text("mine"), "mine");
}

#[test]
fn a_path_listed_twice_has_the_last_content() {
    let files = [file("a", b"one"), file("b", b"one"), file("a", b"two")].join(",");
    let target = shop(&files, &[b"one", b"two"]).unpack().unwrap();
    assert_eq!(target.text("assets/cart/a"), "two");
    assert_eq!(target.text("assets/cart/b"), "one");
}

#[test]
fn a_missing_layer_is_named() {
    let error = Builder::new()
        .lost_layer(media::SPIN_WASM, COMPONENT)
        .layer(media::SPIN_APPLICATION, locked("").as_bytes())
        .refused();
    assert!(
        matches!(&error, UnpackError::Blob(BlobError::Missing { digest }) if *digest == Digest::of(COMPONENT)),
        "{error}"
    );
}

#[test]
fn content_in_no_layer_is_named_with_its_component() {
    let error = shop(&file("a.css", b"body {}"), &[]).refused();
    assert_eq!(
        error.to_string(),
        format!(
            "component `cart`: file `a.css` {} is in no layer of the image",
            Digest::of(b"body {}")
        )
    );
    let error = Builder::new()
        .layer(media::SPIN_APPLICATION, locked("").as_bytes())
        .refused();
    assert!(
        matches!(error, UnpackError::MissingContent { .. }),
        "{error}"
    );
}

#[test]
fn a_layer_with_another_digest_is_refused() {
    let wrong = component(100, 1);
    let right = component(100, 2);
    let error = Builder::new()
        .forged_layer(media::SPIN_WASM, &right, &wrong)
        .layer(
            media::SPIN_APPLICATION,
            locked_with(&Digest::of(&right).to_string(), "").as_bytes(),
        )
        .refused();
    assert!(
        matches!(&error, UnpackError::Blob(BlobError::Mismatch { found, .. }) if *found == Digest::of(&wrong)),
        "{error}"
    );
}

#[test]
fn a_truncated_layer_is_refused() {
    let whole = component(100, 1);
    let json = locked_with(&Digest::of(&whole).to_string(), "");
    let error = Builder::new()
        .forged_layer(media::SPIN_WASM, &whole, &whole[..50])
        .layer(media::SPIN_APPLICATION, json.as_bytes())
        .refused();
    assert!(
        matches!(
            error,
            UnpackError::Blob(BlobError::Truncated { found: 50, .. })
        ),
        "{error}"
    );
    let longer = [whole.as_slice(), b"more"].concat();
    let error = Builder::new()
        .forged_layer(media::SPIN_WASM, &whole, &longer)
        .layer(media::SPIN_APPLICATION, json.as_bytes())
        .refused();
    assert!(
        matches!(error, UnpackError::Blob(BlobError::Oversized { .. })),
        "{error}"
    );
}

#[test]
fn a_layer_that_is_not_wasm_is_refused_by_digest() {
    for (bytes, hint) in [
        (&b"hello, world"[..], "is not WebAssembly"),
        (b"(component)", "text form"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        (b"", "is not WebAssembly"),
    ] {
        let digest = Digest::of(bytes);
        let error = Builder::new()
            .layer(media::SPIN_WASM, bytes)
            .layer(
                media::SPIN_APPLICATION,
                locked_with(&digest.to_string(), "").as_bytes(),
            )
            .refused();
        assert!(
            matches!(&error, UnpackError::NotWasm { layer, .. } if *layer == digest),
            "{error}"
        );
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[test]
fn precompiled_bytes_are_refused_by_digest() {
    let native = b"\x7fELF\x02\x01\x01\0\0\0\0\0 and so on";
    for image in [
        Builder::new().layer(media::WASM, native),
        Builder::new().layer(media::SPIN_WASM, native).layer(
            media::SPIN_APPLICATION,
            locked_with(&Digest::of(native).to_string(), "").as_bytes(),
        ),
    ] {
        let error = image.refused();
        assert!(
            matches!(&error, UnpackError::Precompiled { layer } if *layer == Digest::of(native)),
            "{error}"
        );
    }
}

#[test]
fn a_file_that_would_leave_its_folder_is_refused() {
    for path in ["../a", "a/../../b", "/etc/passwd", "..", "."] {
        let error = shop(&file(path, b"text"), &[b"text"]).refused();
        let refused = match &error {
            UnpackError::Application { source } => source.to_string().contains(path),
            UnpackError::FilePath {
                path: found,
                source,
                ..
            } => {
                found == path
                    && [PathError::Parent, PathError::Absolute, PathError::Empty].contains(source)
            }
            _ => false,
        };
        assert!(refused, "{path}: {error}");
    }
}

#[test]
fn a_component_id_that_names_no_folder_is_refused() {
    for id in ["..", "a/b", "/a", "."] {
        let json = locked("").replace(r#""cart""#, &format!(r#""{id}""#));
        let error = Builder::new()
            .layer(media::SPIN_WASM, COMPONENT)
            .layer(media::SPIN_APPLICATION, json.as_bytes())
            .refused();
        assert!(
            matches!(
                error,
                UnpackError::Application { .. } | UnpackError::ComponentId { .. }
            ),
            "{id}: {error}"
        );
    }
}

#[test]
fn inline_content_has_to_have_its_digest() {
    let files = format!(
        r#"{{"inline":"aGk","digest":"{}","path":"hi.txt"}}"#,
        Digest::of(b"ho")
    );
    let error = shop(&files, &[]).refused();
    assert!(
        matches!(&error, UnpackError::Inline { component, .. } if component == "cart"),
        "{error}"
    );
}

#[test]
fn padded_inline_content_is_refused() {
    let error = shop(r#"{"inline":"aGk=","path":"hi.txt"}"#, &[]).refused();
    assert!(matches!(error, UnpackError::Application { .. }), "{error}");
}

#[test]
fn files_that_stayed_where_the_image_was_made_are_refused() {
    let error = shop(r#"{"source":"file:///home/dev/static","path":"/"}"#, &[]).refused();
    assert!(
        matches!(&error, UnpackError::NotPushed { reference, .. } if reference == "file:///home/dev/static"),
        "{error}"
    );
}

#[test]
fn an_application_with_mistakes_names_their_places() {
    let error = Builder::new()
        .layer(media::SPIN_APPLICATION, b"{\"spin_lock_version\":7}")
        .refused();
    let printed = chain(&error);
    assert!(
        printed.starts_with("the application in the image is not valid: locked application:1:"),
        "{printed}"
    );
}

#[test]
fn limits_are_named_when_they_are_met() {
    let files = [file("a", b"one"), file("b", b"two")].join(",");
    let image = || shop(&files, &[b"one", b"two"]);
    let limits = Limits {
        files: 3,
        ..Limits::default()
    };
    let error = image().unpack_with(&limits).err().unwrap();
    assert!(
        matches!(error, UnpackError::Limit(LimitError::Files { limit: 3 })),
        "{error}"
    );
    let limits = Limits {
        bytes: 12,
        ..Limits::default()
    };
    let error = image().unpack_with(&limits).err().unwrap();
    assert!(
        matches!(error, UnpackError::Limit(LimitError::Bytes { limit: 12 })),
        "{error}"
    );
    let limits = Limits {
        wasm: 7,
        ..Limits::default()
    };
    let error = image().unpack_with(&limits).err().unwrap();
    assert!(
        matches!(
            error,
            UnpackError::Limit(LimitError::Wasm {
                limit: 7,
                size: 8,
                ..
            })
        ),
        "{error}"
    );
}

#[test]
fn one_deep_path_counts_its_folders() {
    let path = "d/".repeat(500) + "file";
    let limits = Limits {
        files: 400,
        ..Limits::default()
    };
    let error = shop(&file(&path, b"x"), &[b"x"])
        .unpack_with(&limits)
        .err()
        .unwrap();
    assert!(
        matches!(error, UnpackError::Limit(LimitError::Files { .. })),
        "{error}"
    );
}
