use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::Types;
use wasmparser::{Validator, WasmFeatures};

use super::*;

fn component(version: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "wasi:clocks/types@{version}" (instance $types (export "f" (func))))
            (import "wasi:nowhere/else@0.3.0-rc-2026-01-06" (instance))
            (component $inside (import "wasi:clocks/types@{version}" (instance)))
            (instance $out (export "f" (func $types "f")))
            (export "wasi:http/handler@{version}" (instance $out)))"#
    );
    wat::parse_str(text).unwrap()
}

fn validate(component: &[u8]) -> Types {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    validator.validate_all(component).unwrap()
}

#[test]
fn a_candidate_gets_the_names_of_its_release() {
    for Candidate {
        version, settled, ..
    } in &CANDIDATES
    {
        let result = settle(Cow::Owned(component(version)));
        validate(&result);
        let names = boundary(&result).unwrap();
        let types = format!("wasi:clocks/types@{settled}");
        let other = "wasi:nowhere/else@0.3.0-rc-2026-01-06".to_owned();
        assert_eq!(names.imports, [types, other]);
        assert_eq!(names.exports, [format!("wasi:http/handler@{settled}")]);
    }
}

#[test]
fn a_release_stays_as_it_is_also_beside_a_candidate() {
    let release = component("0.3.0");
    assert!(matches!(settle(Cow::Borrowed(&release)), Cow::Borrowed(_)));
    let both = r#"(component
        (import "wasi:clocks/types@0.3.0" (instance))
        (import "wasi:clocks/types@0.3.0-rc-2026-03-15" (instance)))"#;
    let settled = settle(Cow::Owned(wat::parse_str(both).unwrap()));
    assert_eq!(
        boundary(&settled).unwrap().imports,
        [
            "wasi:clocks/types@0.3.0",
            "wasi:clocks/types@0.3.0+rc20260315"
        ]
    );
}

/// A component with two versions of `wasi:http/types`; the candidate's trailers come in a
/// result inside of `outer`.
fn with_functions(outer: &str, rest: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "wasi:http/types@0.2.0" (instance
                (export "fields" (type $f (sub resource)))
                (export "[constructor]fields" (func (result (own $f))))))
            (import "wasi:http/types@0.2.0-rc-2023-10-18" (instance $first
                (export "fields" (type $f (sub resource)))
                (export "[method]fields.get" (func (param "self" (borrow $f))))
                (export "[constructor]fields" (func (result (own $f))))))
            (alias export $first "[constructor]fields" (func))
            (import "wasi:http/types@0.2.0-rc-2023-11-10" (instance $second
                (export "future-trailers" (type $t (sub resource)))
                (export "request-options" (type $o (sub resource)))
                (type $maybe (option {outer}))
                (export "[method]future-trailers.get"
                    (func (param "self" (borrow $t)) (result $maybe)))
                (export "[method]request-options.connect-timeout-ms"
                    (func (param "self" (borrow $o))))))
            (alias export $second "[method]request-options.connect-timeout-ms" (func))
            {rest})"#
    );
    wat::parse_str(text).unwrap()
}

/// The names of an import's functions.
fn functions(component: &[u8], import: &str) -> Vec<String> {
    let types = validate(component);
    let types = types.as_ref();
    let item = types.component_item_for_import(import).unwrap();
    let ComponentEntityType::Instance(id) = item.ty else {
        panic!("{import} is not an instance");
    };
    let names = types[id].exports.keys();
    names
        .filter(|name| name.starts_with('['))
        .cloned()
        .collect()
}

#[test]
fn functions_that_differ_get_names_of_their_own() {
    let settled = settle(Cow::Owned(with_functions("(result)", "")));
    assert_eq!(
        functions(&settled, "wasi:http/types@0.2.0"),
        ["[constructor]fields"]
    );
    assert_eq!(
        functions(&settled, "wasi:http/types@0.2.0+rc20231018"),
        ["[method]fields.get", "[static]fields.new-rc20231018"]
    );
    assert_eq!(
        functions(&settled, "wasi:http/types@0.2.0+rc20231110"),
        [
            "[method]future-trailers.get-rc20231110",
            "[method]request-options.connect-timeout"
        ]
    );
}

#[test]
fn trailers_of_the_later_candidate_may_have_the_type_of_the_release() {
    let settled = settle(Cow::Owned(with_functions("(result (result))", "")));
    let functions = functions(&settled, "wasi:http/types@0.2.0+rc20231110");
    assert_eq!(functions[0], "[method]future-trailers.get");
}

#[test]
fn what_hands_such_an_interface_on_as_a_whole_is_left_unchanged() {
    for rest in [
        r#"(export "types" (instance $first))"#,
        r#"(component $c (import "x" (instance))) (instance (instantiate $c (with "x" (instance $second))))"#,
    ] {
        let component = with_functions("(result)", rest);
        assert!(matches!(
            settle(Cow::Borrowed(&component)),
            Cow::Borrowed(_)
        ));
    }
}
