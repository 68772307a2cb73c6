//! The chart under Helm: rendered objects, refused values, notes.

use std::fs;

use skiff_chart_tests::helm::{Helm, HelmError};
use skiff_chart_tests::{cases, chart, readme};

/// How to accept the differences.
const ACCEPT: &str = "if this is intended, `cargo run --bin charts` writes it";

#[test]
fn helm_finds_nothing_to_say_about_the_chart() {
    let said = Helm::new().unwrap().lint(&chart());
    said.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn each_case_renders_as_expected() {
    let helm = Helm::new().unwrap();
    for case in cases::rendered().unwrap() {
        let rendered = helm
            .template(&chart(), &case.values)
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let expected = fs::read_to_string(&case.expected).unwrap_or_default();
        if let Some((line, wanted, got)) = first_difference(&expected, &rendered) {
            panic!(
                "{}: line {line}\n- {wanted}\n+ {got}\n{ACCEPT}",
                case.expected.display()
            );
        }
    }
}

#[test]
fn wrong_values_are_refused_with_the_reason() {
    let helm = Helm::new().unwrap();
    for case in cases::rejected().unwrap() {
        let reason = fs::read_to_string(&case.expected).unwrap();
        match helm.template(&chart(), &case.values) {
            Err(HelmError::Refused { said }) => assert!(
                said.contains(reason.trim()),
                "{}: Helm does not say `{}`, but\n{said}",
                case.name,
                reason.trim()
            ),
            other => panic!("{}: Helm does not refuse it: {other:?}", case.name),
        }
    }
}

#[test]
fn the_notes_tell_how_to_follow_each_pool() {
    let helm = Helm::new().unwrap();
    let cases = cases::rendered().unwrap();
    let pools = cases.iter().find(|case| case.name == "pools").unwrap();
    let notes = helm.notes(&chart(), &pools.values).unwrap();
    for name in ["skiff-general", "skiff-wasm"] {
        let told = format!("--namespace skiff-system rollout status daemonset/{name}\n");
        assert!(notes.contains(&told), "{notes}");
    }
    assert!(notes.contains("helm --namespace skiff-system test skiff\n"));
}

#[test]
fn the_readme_lists_the_values_as_they_are() {
    let values = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let readme = fs::read_to_string(chart().join("README.md")).unwrap();
    let made = readme::with_values(&readme, &values).unwrap();
    if let Some((line, wanted, got)) = first_difference(&made, &readme) {
        panic!("README.md: line {line}\n- {wanted}\n+ {got}\n{ACCEPT}");
    }
}

/// The number of the first differing line, and that line in both.
fn first_difference<'a>(one: &'a str, other: &'a str) -> Option<(usize, &'a str, &'a str)> {
    let longest = one.lines().count().max(other.lines().count());
    let end = || std::iter::repeat("(nothing)");
    let lines = one.lines().chain(end()).zip(other.lines().chain(end()));
    lines
        .take(longest)
        .enumerate()
        .find(|(_, (one, other))| one != other)
        .map(|(index, (one, other))| (index + 1, one, other))
}
