//! No layer makes unpacking panic, and a failed unpacking leaves nothing behind.

#![no_main]

use std::collections::BTreeMap;
use std::io::Read;

use libfuzzer_sys::fuzz_target;
use skiff_artifact::{BlobError, Blobs, Descriptor, Digest, Image, Limits, media, unpack};

/// Blobs by digest.
struct Content<'a>(BTreeMap<Digest, &'a [u8]>);

impl Blobs for Content<'_> {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, BlobError> {
        let digest = descriptor.digest;
        let bytes = self.0.get(&digest).ok_or(BlobError::Missing { digest })?;
        Ok(Box::new(*bytes))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let layer = Descriptor::of("application/vnd.oci.image.layer.v1.tar", bytes);
    let config = Descriptor::of(media::CONFIG, b"{}");
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{}","size":2}},"layers":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
        config.media_type, config.digest, layer.media_type, layer.digest, layer.size
    );
    let descriptor = Descriptor::of(media::MANIFEST, manifest.as_bytes());
    let content = Content(BTreeMap::from([
        (descriptor.digest, manifest.as_bytes()),
        (config.digest, &b"{}"[..]),
        (layer.digest, bytes),
    ]));
    let image = Image::read(&content, &descriptor).expect("written here");
    let folder = tempfile::tempdir().expect("a folder");
    let limits = Limits {
        bytes: 16 << 20,
        files: 1000,
        ..Limits::default()
    };
    if unpack(&image, &content, &folder.path().join("image"), &limits).is_err() {
        let left = std::fs::read_dir(folder.path()).expect("listed").count();
        assert_eq!(left, 0, "something is left behind");
    }
});
