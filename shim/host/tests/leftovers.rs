//! Nothing of a request is visible to the next, whether its instance is new or was rewound.

mod support;

use std::collections::HashSet;

use skiff_host::{GuestError, HttpGuest};
use support::{answer, get, http, quiet};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// The part of `wasi:http` that these guests call.
const WIT: &str = "
package skiff:test;

world test {
    import wasi:http/types@0.2.0;
    import wasi:random/insecure@0.2.0;
    import wasi:random/insecure-seed@0.2.0;
    export wasi:http/incoming-handler@0.2.0;
}

package wasi:http@0.2.0 {
    interface types {
        resource fields { constructor(); }
        resource incoming-request { method: func() -> method; }
        resource outgoing-response {
            constructor(headers: fields);
            set-status-code: func(code: u16) -> result;
        }
        resource response-outparam {
            set: static func(param: response-outparam, response: result<outgoing-response, error-code>);
        }
        variant method { get, head, post, put, delete, connect, options, trace, patch, other(string) }
        record DNS-error-payload { rcode: option<string>, info-code: option<u16> }
        record TLS-alert-received-payload { alert-id: option<u8>, alert-message: option<string> }
        record field-size-payload { field-name: option<string>, field-size: option<u32> }
        variant error-code {
            DNS-timeout,
            DNS-error(DNS-error-payload),
            destination-not-found,
            destination-unavailable,
            destination-IP-prohibited,
            destination-IP-unroutable,
            connection-refused,
            connection-terminated,
            connection-timeout,
            connection-read-timeout,
            connection-write-timeout,
            connection-limit-reached,
            TLS-protocol-error,
            TLS-certificate-error,
            TLS-alert-received(TLS-alert-received-payload),
            HTTP-request-denied,
            HTTP-request-length-required,
            HTTP-request-body-size(option<u64>),
            HTTP-request-method-invalid,
            HTTP-request-URI-invalid,
            HTTP-request-URI-too-long,
            HTTP-request-header-section-size(option<u32>),
            HTTP-request-header-size(option<field-size-payload>),
            HTTP-request-trailer-section-size(option<u32>),
            HTTP-request-trailer-size(field-size-payload),
            HTTP-response-incomplete,
            HTTP-response-header-section-size(option<u32>),
            HTTP-response-header-size(field-size-payload),
            HTTP-response-body-size(option<u64>),
            HTTP-response-trailer-section-size(option<u32>),
            HTTP-response-trailer-size(field-size-payload),
            HTTP-response-transfer-coding(option<string>),
            HTTP-response-content-coding(option<string>),
            HTTP-response-timeout,
            HTTP-upgrade-failed,
            HTTP-protocol-error,
            loop-detected,
            configuration-error,
            internal-error(option<string>),
        }
    }
    interface incoming-handler {
        use types.{incoming-request, response-outparam};
        handle: func(request: incoming-request, response-out: response-outparam);
    }
}

package wasi:random@0.2.0 {
    interface insecure { get-insecure-random-u64: func() -> u64; }
    interface insecure-seed { insecure-seed: func() -> tuple<u64, u64>; }
}
";

/// A guest that answers with the status that `$status` returns for the method's number, and
/// the headers that `$headers` creates.
fn guest(inside: &str) -> HttpGuest {
    let text = format!(
        r#"(module
            (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
            (import "wasi:http/types@0.2.0" "[method]incoming-request.method"
                (func $method (param i32 i32)))
            (import "wasi:http/types@0.2.0" "[constructor]outgoing-response"
                (func $response (param i32) (result i32)))
            (import "wasi:http/types@0.2.0" "[method]outgoing-response.set-status-code"
                (func $set-status (param i32 i32) (result i32)))
            (import "wasi:http/types@0.2.0" "[static]response-outparam.set"
                (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
            (import "wasi:random/insecure@0.2.0" "get-insecure-random-u64"
                (func $random (result i64)))
            (import "wasi:random/insecure-seed@0.2.0" "insecure-seed" (func $seed (param i32)))
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            {inside}
            (func (export "wasi:http/incoming-handler@0.2.0#handle")
                (param $request i32) (param $out i32) (local $answer i32)
                (call $method (local.get $request) (i32.const 64))
                (local.set $answer (call $response (call $headers)))
                (drop (call $set-status (local.get $answer)
                    (call $status (i32.load8_u (i32.const 64)))))
                (call $set (local.get $out) (i32.const 0) (local.get $answer) (i32.const 0)
                    (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))"#
    );
    let mut module = wat::parse_str(&text).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", WIT).unwrap();
    let world = resolve.select_world(&[package], Some("test")).unwrap();
    let utf8 = StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, utf8).unwrap();
    let encoder = ComponentEncoder::default().validate(true);
    let component = encoder.module(&module).unwrap().encode().unwrap();
    http(component, quiet("guest"))
}

const HEADERS: &str = "(func $headers (result i32) (call $fields))";

/// The statuses of this many requests, minus 200.
async fn numbers(guest: &HttpGuest, requests: usize) -> Vec<u16> {
    let mut numbers = Vec::new();
    for _ in 0..requests {
        numbers.push(get(guest, "/").await.0 - 200);
    }
    numbers
}

/// A guest that keeps the handle of fields with every request, and returns its number. For
/// `POST` it uses the handle with this number.
fn leaves_handles(number: u16) -> HttpGuest {
    guest(&format!(
        r#"{HEADERS}
        (func $status (param $how i32) (result i32)
            (if (i32.eq (local.get $how) (i32.const 2))
                (then (drop (call $response (i32.const {number})))))
            (i32.add (i32.const 200) (call $fields)))"#
    ))
}

#[tokio::test]
async fn a_handle_that_was_left_behind_is_of_nothing() {
    let found = numbers(&leaves_handles(0), 2).await;
    // One instance has served both, as it continues to count.
    assert!(found[0] < found[1], "{found:?}");
    let guest = leaves_handles(found[0]);
    assert_eq!(numbers(&guest, 2).await, found);
    let used = answer(&guest, "POST", "/").await;
    assert!(matches!(used, Err(GuestError::Trap(_))), "{used:?}");
    // An instance that failed is not used again.
    assert_eq!(numbers(&guest, 2).await, found);
}

#[tokio::test]
async fn random_numbers_and_seeds_are_others_for_each_request() {
    let random = guest(&format!(
        "{HEADERS} (func $status (param i32) (result i32)
            (i32.add (i32.const 200) (i32.and (i32.const 511) (i32.wrap_i64 (call $random)))))"
    ));
    // Within a request the seed stays the same.
    let seed = guest(&format!(
        "{HEADERS} (func $status (param i32) (result i32)
            (call $seed (i32.const 128))
            (call $seed (i32.const 256))
            (if (i64.ne (i64.load (i32.const 128)) (i64.load (i32.const 256)))
                (then unreachable))
            (i32.add (i32.const 200) (i32.and (i32.const 511) (i32.load (i32.const 128)))))"
    ));
    // A seed that is read during start is not part of the initial state.
    let early = guest(&format!(
        "{HEADERS} (global $number (mut i64) (i64.const 0))
        (func $early (global.set $number (call $random)))
        (start $early)
        (func $status (param i32) (result i32)
            (i32.add (i32.const 200)
                (i32.and (i32.const 511) (i32.wrap_i64 (global.get $number)))))"
    ));
    for guest in [random, seed, early] {
        let numbers: HashSet<_> = numbers(&guest, 30).await.into_iter().collect();
        assert!(numbers.len() > 15, "{numbers:?}");
    }
}

#[tokio::test]
async fn memory_that_grew_costs_the_instance_and_not_the_answer() {
    let guest = guest(&format!(
        "{HEADERS} (func $status (param i32) (result i32)
            (drop (memory.grow (i32.const 1)))
            (i32.add (i32.const 200) (memory.size)))"
    ));
    assert_eq!(numbers(&guest, 20).await, [2; 20]);
}

#[tokio::test]
async fn a_handle_of_the_beginning_is_there_for_every_request() {
    let guest = guest(
        "(global $made (mut i32) (i32.const 0))
        (func $early (global.set $made (call $fields)))
        (start $early)
        (func $headers (result i32) (global.get $made))
        (func $status (param i32) (result i32) (i32.const 200))",
    );
    assert_eq!(numbers(&guest, 3).await, [0; 3]);
}
