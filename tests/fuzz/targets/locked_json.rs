//! No bytes make the reader of locked applications panic, and an accepted application is
//! the same after writing and reading it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skiff_manifest::lock;

fuzz_target!(|bytes: &[u8]| {
    let Ok(application) = lock::read(bytes, "spin.json") else {
        return;
    };
    let written = lock::write(&application);
    assert_eq!(lock::read(&written, "spin.json").as_ref(), Ok(&application));
});
