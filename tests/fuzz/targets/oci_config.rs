//! No manifest and no configuration make reading an image panic. The input is a manifest,
//! an empty line, and a configuration.

#![no_main]

use std::collections::BTreeMap;
use std::io::Read;

use libfuzzer_sys::fuzz_target;
use skiff_artifact::{BlobError, Blobs, Descriptor, Digest, Image, media};

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
    let end = bytes.windows(2).position(|two| two == b"\n\n");
    let (manifest, config) = bytes.split_at(end.unwrap_or(bytes.len()));
    let config = config.get(2..).unwrap_or_default();
    // The configuration's digest in the manifest is corrected.
    let text = String::from_utf8_lossy(manifest);
    let manifest = text
        .replace("$DIGEST", &Digest::of(config).to_string())
        .replace("\"$SIZE\"", &config.len().to_string())
        .into_bytes();
    let descriptor = Descriptor::of(media::MANIFEST, &manifest);
    let content = Content(BTreeMap::from([
        (descriptor.digest, manifest.as_slice()),
        (Digest::of(config), config),
    ]));
    if let Ok(image) = Image::read(&content, &descriptor) {
        image.environment();
        image.command();
    }
});
