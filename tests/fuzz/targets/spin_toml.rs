//! No text makes the reader of manifests panic, and an accepted manifest can be written.
//!
//! `tests/fixtures/manifests` is a good initial corpus.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skiff_manifest::{lock, toml};

fuzz_target!(|text: &str| {
    let Ok(application) = toml::read(text, "spin.toml") else {
        return;
    };
    let written = lock::write(&application);
    // A registry package has no form in locked JSON; everything else has one that
    // round-trips.
    if let Ok(read) = lock::read(&written, "spin.json") {
        assert_eq!(lock::write(&read), written);
    }
});
