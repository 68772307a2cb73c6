//! Every built guest must be used by a test.

mod support;

use std::fs;
use std::path::Path;

/// Where tests refer to guests.
const TESTS: [&str; 3] = ["shim/tests", "shim/tests/support", "tests/suite/src/cases"];

fn sources() -> String {
    let mut all = String::new();
    for folder in TESTS.map(|folder| support::root().join(folder)) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                all += &fs::read_to_string(path).unwrap();
            }
        }
    }
    all
}

#[test]
fn every_guest_is_named_by_a_test() {
    let sources = sources();
    let guests = fs::read_dir(support::root().join("target/guests")).unwrap();
    let names = guests.map(|entry| entry.unwrap().path());
    let names: Vec<String> = names
        .filter_map(|path| Some(Path::new(&path).file_stem()?.to_str()?.to_owned()))
        .collect();
    assert!(names.len() > 40, "{names:?}");
    let named = |name: &str| {
        sources.contains(&format!("\"{name}\"")) || sources.contains(&format!("guest:{name}}}"))
    };
    let unnamed: Vec<_> = names.iter().filter(|name| !named(name)).collect();
    assert!(unnamed.is_empty(), "no test names {unnamed:?}");
}
