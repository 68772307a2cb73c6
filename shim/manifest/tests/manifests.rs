//! Compares manifests and locked applications with their expected results. To add a case,
//! add a file and its expectation.

use std::fs;
use std::path::{Path, PathBuf};

use skiff_manifest::{Application, Faults, lock, toml};

const FIXTURES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/fixtures/manifests"
);

#[test]
fn accepted_manifests_are_locked_as_expected() {
    check("accepted", |name, result| match result {
        Ok(application) => pretty(&lock::write(&application)),
        Err(faults) => panic!("{name} is refused:\n{faults}"),
    });
}

#[test]
fn rejected_manifests_tell_every_mistake() {
    check("rejected", |name, result| match result {
        Ok(_) => panic!("{name} is accepted"),
        Err(faults) => format!("{faults}\n"),
    });
}

/// Reads every `.toml` and `.json` of a folder, and compares `outcome` of the result with
/// the file of the same name and the extension `.expected`.
fn check(folder: &str, outcome: impl Fn(&str, Result<Application, Faults>) -> String) {
    let folder = Path::new(FIXTURES).join(folder);
    let mut cases: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("a folder of fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|ext| ext == "toml" || ext == "json")
        })
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    let mut wrong = Vec::new();
    for case in cases {
        let name = case
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a plain name");
        let bytes = fs::read(&case).expect("a readable case");
        let result = match name.ends_with(".toml") {
            true => toml::read(&String::from_utf8(bytes).expect("UTF-8"), name),
            false => lock::read(&bytes, name),
        };
        let outcome = outcome(name, result);
        let expected = folder.join(format!("{name}.expected"));
        if fs::read_to_string(&expected).ok().as_ref() != Some(&outcome) {
            wrong.push(format!("--- {} should be\n{outcome}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Formatted JSON, for people to compare.
fn pretty(json: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    let mut text = serde_json::to_string_pretty(&value).expect("JSON");
    text.push('\n');
    text
}
