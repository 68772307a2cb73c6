//! Invalid manifests and configurations.

use skiff_artifact::{BlobError, Descriptor, Digest, Image, ImageError, Kind, media};

use crate::support::{Builder, COMPONENT, Memory};

#[test]
fn a_manifest_is_read_with_its_configuration() {
    let (image, _) = Builder::new().layer(media::WASM, COMPONENT).read();
    let image = image.unwrap();
    assert!(matches!(image.kind, Kind::Component { .. }));
    assert_eq!(image.config, br#"{"architecture":"wasm","os":"Wasip1"}"#);
}

#[test]
fn a_missing_manifest_is_named() {
    let descriptor = Descriptor::of(media::MANIFEST, b"{}");
    let error = Image::read(&Memory::default(), &descriptor).unwrap_err();
    let ImageError::Blob { what, source } = error else {
        panic!("{error}");
    };
    assert_eq!(what, "image manifest");
    assert!(matches!(source, BlobError::Missing { digest } if digest == descriptor.digest));
}

#[test]
fn a_manifest_with_other_content_is_refused() {
    let mut blobs = Memory::default();
    let descriptor = Descriptor::of(media::MANIFEST, b"{\"a\":1}");
    blobs.0.insert(descriptor.digest, b"{\"a\":2}".to_vec());
    let error = Image::read(&blobs, &descriptor).unwrap_err();
    assert!(matches!(
        error,
        ImageError::Blob {
            source: BlobError::Mismatch { .. },
            ..
        }
    ));
}

#[test]
fn what_is_no_manifest_is_told() {
    let mut blobs = Memory::default();
    let mut read = |media_type: &str, bytes: &[u8]| {
        let descriptor = Descriptor::of(media_type, bytes);
        blobs.0.insert(descriptor.digest, bytes.to_vec());
        Image::read(&blobs, &descriptor).unwrap_err()
    };
    let error = read(media::INDEX, b"{}");
    assert!(matches!(error, ImageError::NotAManifest { .. }), "{error}");
    let error = read(media::MANIFEST, b"{}");
    assert!(matches!(error, ImageError::Json { .. }), "{error}");
    let digest = Digest::of(b"");
    let old = format!(
        r#"{{"schemaVersion":1,"config":{{"mediaType":"x","digest":"{digest}","size":0}},"layers":[]}}"#
    );
    let error = read(media::MANIFEST, old.as_bytes());
    assert!(error.to_string().contains("schema version 1"), "{error}");
}

#[test]
fn a_huge_manifest_is_refused_unread() {
    let descriptor = Descriptor::new(media::MANIFEST, Digest::of(b""), 1 << 40);
    let error = Image::read(&Memory::default(), &descriptor).unwrap_err();
    assert!(matches!(
        error,
        ImageError::Blob {
            source: BlobError::TooLarge { .. },
            ..
        }
    ));
}

#[test]
fn two_layers_of_a_wkg_image_are_refused() {
    let (image, _) = Builder::with_config(media::WASM_CONFIG, b"{}")
        .layer(media::WASM, COMPONENT)
        .layer(media::WASM, b"other")
        .read();
    let error = image.unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::WasmLayers {
                layers: 2,
                wasm: 2,
                ..
            }
        ),
        "{error}"
    );
}
