//! Applications made with Spin's SDKs for Python as the SDKs document it: they import
//! everything that the SDK knows, and use hardly any of it.

mod support;

use support::Skiff;

#[track_caller]
fn says_hello(guest: &str) {
    let skiff = Skiff::component(guest).start();
    let answer = skiff.get("/");
    assert_eq!(answer.text(), "Hello from Python!");
    assert_eq!(answer.status, 200, "{}", answer.head);
}

#[test]
fn sdk_3_4_says_hello() {
    says_hello("python-3-4");
}

#[test]
fn sdk_4_0_says_hello() {
    says_hello("python-4-0");
}

#[test]
fn sdk_5_0_says_hello() {
    says_hello("python-5-0");
}
