//! No index makes the choice of a manifest panic, take long, or print a long message.

#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use skiff_artifact::{BlobError, Blobs, Choice, Descriptor, media};

/// Any requested platform.
struct Same<'a>(&'a [u8]);

impl Blobs for Same<'_> {
    fn open(&self, _: &Descriptor) -> Result<Box<dyn Read + '_>, BlobError> {
        Ok(Box::new(self.0))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let blobs = Same(bytes);
    let choice = Choice {
        blobs: &blobs,
        has: &|_| true,
        wanted: None,
    };
    let image = Descriptor::of(media::INDEX, bytes);
    if let Err(error) = choice.manifest(&[image]) {
        assert!(error.to_string().len() < 1 << 14);
    }
});
