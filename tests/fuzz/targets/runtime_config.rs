//! No text makes the readers of runtime configurations, of files of variables and of the
//! operator's defaults panic. Defaults are the same after they were handed on, and can be
//! added to any configuration that was accepted.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skiff_manifest::runtime::{self, Defaults};

fuzz_target!(|text: &str| {
    for file in ["variables.json", "variables.toml", "variables"] {
        let _ = runtime::values(text, file);
    }
    let config = runtime::read(text, "runtime-config.toml");
    for namespace in [None, Some("shop")] {
        let Ok(defaults) = Defaults::read(text, "defaults.toml", namespace) else {
            return;
        };
        let handed_on = Defaults::from_json(defaults.to_json());
        assert_eq!(handed_on.as_ref(), Ok(&defaults));
        let _ = defaults.apply(config.clone().unwrap_or_default());
    }
});
