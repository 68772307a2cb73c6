//! No text makes the reader of manifests panic, and what it accepts can be written.
//!
//! `tests/fixtures/manifests` is a good corpus to begin with.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skiff_manifest::{lock, toml};

fuzz_target!(|text: &str| {
    let Ok(application) = toml::read(text, "spin.toml") else {
        return;
    };
    let written = lock::write(&application);
    // A package of a registry has no form in locked JSON; everything else has one
    // that says the same when it is written again.
    if let Ok(read) = lock::read(&written, "spin.json") {
        assert_eq!(lock::write(&read), written);
    }
});
