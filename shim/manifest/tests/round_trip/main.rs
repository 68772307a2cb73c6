//! Writing any application and reading it back gives the same application.

mod any;
mod spin_toml;

use proptest::prelude::*;
use skiff_manifest::{Application, lock, toml};

fn read_lock(json: &[u8]) -> Result<Application, TestCaseError> {
    lock::read(json, "spin.json").map_err(|faults| {
        TestCaseError::fail(format!("{faults}\n{}", String::from_utf8_lossy(json)))
    })
}

proptest! {
    #[test]
    fn a_locked_application_is_read_as_it_was_written(application in any::locked()) {
        let json = lock::write(&application);
        let read = read_lock(&json)?;
        prop_assert_eq!(&read, &application);
        prop_assert_eq!(lock::write(&read), json, "the same application gives the same bytes");
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written(application in any::manifest()) {
        let text = spin_toml::write(&application);
        let read = toml::read(&text, "spin.toml")
            .map_err(|faults| TestCaseError::fail(format!("{faults}\n{text}")))?;
        prop_assert_eq!(read, application, "{}", text);
    }

    #[test]
    fn any_bytes_are_either_an_application_or_faults(bytes in any::nearly_json()) {
        if let Err(faults) = lock::read(&bytes, "spin.json") {
            prop_assert!(!faults.faults.is_empty());
        }
    }

    #[test]
    fn any_text_is_either_an_application_or_faults(text in any::nearly_toml()) {
        if let Err(faults) = toml::read(&text, "spin.toml") {
            prop_assert!(!faults.faults.is_empty());
            let lines = text.lines().count().max(1);
            for fault in faults.faults {
                prop_assert!(fault.line <= lines + 1, "{} is beyond the text", fault);
            }
        }
    }
}
