//! From one version to the next with checks, as the daemon does it.

mod support;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_installer::check::CheckError;
use skiff_installer::upgrade::{Outcome, Reason, bring_up};
use support::TestNode;

fn node() -> TestNode {
    TestNode::of_fixture("kubeadm-containerd-2", "2.1.4")
}

fn broken() -> Result<(), CheckError> {
    Err(CheckError::Status {
        status: 134,
        output: "it trapped".to_owned(),
    })
}

/// Brings a version up; `hello` is asked whether it runs, given the version's
/// folder where it is tried aside.
fn up(node: &TestNode, version: &str, hello: impl Fn(Option<&Path>) -> bool) -> Outcome {
    let run = |shim: Option<&Path>| if hello(shim) { Ok(()) } else { broken() };
    bring_up(
        &node.installer(),
        &node.payload(version),
        &run,
        Duration::ZERO,
    )
}

fn current(node: &TestNode) -> PathBuf {
    fs::read_link(node.path("/opt/skiff/current")).expect("a link")
}

#[test]
fn a_good_version_is_tried_aside_and_then_in_its_place() {
    let node = node();
    assert!(matches!(up(&node, "1.0.0", |_| true), Outcome::Ready));
    let tried = RefCell::new(Vec::new());
    let outcome = up(&node, "1.1.0", |shim| {
        tried
            .borrow_mut()
            .push((shim.map(Path::to_owned), current(&node)));
        true
    });
    assert!(matches!(outcome, Outcome::Ready), "{outcome:?}");
    let aside = PathBuf::from("/opt/skiff/1.1.0/containerd-shim-skiff-v1");
    assert_eq!(
        tried.into_inner(),
        [(Some(aside), "1.0.0".into()), (None, "1.1.0".into())]
    );
}

#[test]
fn a_broken_version_never_takes_a_pod() {
    let node = node();
    up(&node, "1.0.0", |_| true);
    let restarts = node.containerd.take_restarts().len();
    let outcome = up(&node, "1.1.0", |_| {
        assert_eq!(current(&node), Path::new("1.0.0"));
        false
    });
    let Outcome::Kept { version, reason } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(version, "1.0.0");
    let text = format!("{:#}", anyhow::Error::from(reason));
    assert_eq!(
        text,
        "no application runs on version 1.1.0 on this node: \
         the hello ended with 134 and not with 0; it said: it trapped"
    );
    assert!(!node.host.exists("/opt/skiff/1.1.0"), "it is taken away");
    assert_eq!((restarts, node.containerd.take_restarts().len()), (1, 0));
}

#[test]
fn a_version_that_breaks_in_its_place_is_taken_back() {
    let node = node();
    up(&node, "1.0.0", |_| true);
    let outcome = up(&node, "1.1.0", |shim| shim.is_some());
    assert!(
        matches!(&outcome, Outcome::Kept { version, .. } if version == "1.0.0"),
        "{outcome:?}"
    );
    assert_eq!(current(&node), Path::new("1.0.0"));
}

#[test]
fn what_failed_once_is_not_tried_again_by_itself() {
    let node = node();
    up(&node, "1.0.0", |_| true);
    up(&node, "1.1.0", |_| false);
    let outcome = up(&node, "1.1.0", |_| panic!("it is tried"));
    let Outcome::Kept { reason, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(matches!(reason, Reason::FailedBefore { .. }), "{reason:?}");
    assert!(!reason.may_pass());
    // The next one is another matter, and so is a person who insists.
    let outcome = up(&node, "1.2.0", |_| true);
    assert!(matches!(outcome, Outcome::Ready), "{outcome:?}");
    up(&node, "1.3.0", |_| false);
    let payload = node.payload("1.3.0");
    node.installer()
        .install(&payload, false)
        .expect("installed");
    assert!(matches!(up(&node, "1.3.0", |_| true), Outcome::Ready));
}

#[test]
fn one_failed_attempt_does_not_count() {
    let node = node();
    let attempts = RefCell::new(0);
    let outcome = up(&node, "1.0.0", |_| {
        *attempts.borrow_mut() += 1;
        *attempts.borrow() > 1
    });
    assert!(matches!(outcome, Outcome::Ready), "{outcome:?}");
    assert_eq!(attempts.into_inner(), 2);
}

#[test]
fn a_first_version_that_fails_is_tried_again_later() {
    let node = node();
    let outcome = up(&node, "1.0.0", |_| false);
    let Outcome::Failed(reason) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(reason.may_pass(), "{reason}");
    assert!(matches!(up(&node, "1.0.0", |_| true), Outcome::Ready));
}
