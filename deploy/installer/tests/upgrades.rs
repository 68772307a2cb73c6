//! Upgrades with checks, as the daemon does them.

mod support;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skiff_installer::check::CheckError;
use skiff_installer::layouts::STATE;
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

/// Brings a version up; `hello` decides whether it runs, and gets the version's folder
/// while it is only tried.
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
         the hello ended with 134 instead of 0; it printed: it trapped"
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
    // The next version is tried, and so is this one on request.
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
    // Twice in its own folder, and once through the links.
    assert_eq!(attempts.into_inner(), 3);
}

#[test]
fn a_first_version_that_fails_leaves_nothing_and_is_tried_again_later() {
    for node in [
        node(),
        // Its shim keeps its state elsewhere.
        TestNode::of_fixture("gke-cos", "1.7.27"),
    ] {
        fs::create_dir_all(node.path("/var/lib")).expect("made");
        let before = node.tree();
        for _ in 0..2 {
            let outcome = up(&node, "1.0.0", |shim| {
                assert!(shim.is_some(), "it is tried in its place");
                fs::create_dir_all(node.host.locate(STATE.as_ref()).expect("no circle"))
                    .expect("made");
                false
            });
            let Outcome::Failed(reason) = &outcome else {
                panic!("{outcome:?}");
            };
            assert!(reason.may_pass(), "{reason}");
            assert_eq!(outcome.labels("1.0.0", true), Some(("1.0.0", false)));
            assert!(node.installer().is_clear().expect("known"));
            assert_eq!(before.difference(&node.tree()), "");
        }
        assert!(node.containerd.take_restarts().is_empty());
        assert!(matches!(up(&node, "1.0.0", |_| true), Outcome::Ready));
        assert_eq!(node.containerd.take_restarts().len(), 1);
        node.installer().uninstall(false).expect("uninstalled");
        assert_eq!(before.difference(&node.tree()), "");
    }
}

#[test]
fn a_first_version_that_is_refused_is_not_tried() {
    let node = node();
    fs::create_dir_all(node.path("/usr/local/bin")).expect("made");
    let shim = node.path("/usr/local/bin/containerd-shim-skiff-v1");
    fs::write(shim, "Of somebody else.\n").expect("written");
    let before = node.tree();
    let outcome = up(&node, "1.0.0", |_| panic!("it is tried"));
    assert!(matches!(&outcome, Outcome::Failed(reason) if !reason.may_pass()));
    assert_eq!(outcome.labels("1.0.0", true), None);
    assert_eq!(before.difference(&node.tree()), "");
}

#[test]
fn a_first_version_that_breaks_containerd_leaves_nothing() {
    let node = node();
    let before = node.tree();
    node.containerd.breaks.store(true, Ordering::Relaxed);
    let outcome = up(&node, "1.0.0", |_| true);
    let Outcome::Failed(reason) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(matches!(reason, Reason::Install { .. }), "{reason}");
    assert_eq!(before.difference(&node.tree()), "");
    assert_eq!(node.containerd.take_restarts().len(), 2);
}

#[test]
fn a_first_version_that_breaks_in_its_place_is_uninstalled_and_not_tried_again() {
    let node = node();
    let before = node.tree();
    let outcome = up(&node, "1.0.0", |shim| shim.is_some());
    let Outcome::Failed(reason) = &outcome else {
        panic!("{outcome:?}");
    };
    assert!(matches!(reason, Reason::TakenBack { .. }), "{reason}");
    assert!(!reason.may_pass(), "containerd is restarted each time");
    assert_eq!(outcome.labels("1.0.0", true), None);
    // If pods keep something on the node, its label stays.
    assert_eq!(outcome.labels("1.0.0", false), Some(("1.0.0", false)));
    assert_eq!(before.difference(&node.tree()), "");
    assert_eq!(node.containerd.take_restarts().len(), 2);
}

#[test]
fn a_version_that_was_never_checked_in_its_place_goes_back_too() {
    let node = node();
    let before = node.tree();
    let install = |version: &str| {
        let payload = node.payload(version);
        let installed = node.installer().install(&payload, false);
        installed.expect("installed");
    };
    // As if uninstalled by hand, or by a daemon that was killed before the check.
    install("1.0.0");
    let outcome = up(&node, "1.0.0", |_| false);
    assert!(
        matches!(&outcome, Outcome::Failed(Reason::TakenBack { .. })),
        "{outcome:?}"
    );
    assert_eq!(before.difference(&node.tree()), "");
    up(&node, "1.0.0", |_| true);
    install("1.1.0");
    let outcome = up(&node, "1.1.0", |_| false);
    assert!(
        matches!(&outcome, Outcome::Kept { version, .. } if version == "1.0.0"),
        "{outcome:?}"
    );
    assert_eq!(current(&node), Path::new("1.0.0"));
}

#[test]
fn a_version_that_has_worked_stays_where_it_is() {
    let node = node();
    up(&node, "1.0.0", |_| true);
    let installed = node.tree();
    node.containerd.take_restarts();
    let outcome = up(&node, "1.0.0", |_| false);
    let Outcome::Failed(reason) = &outcome else {
        panic!("{outcome:?}");
    };
    assert!(reason.may_pass(), "{reason}");
    assert_eq!(outcome.labels("1.0.0", false), Some(("1.0.0", false)));
    assert_eq!(installed.difference(&node.tree()), "");
    assert!(node.containerd.take_restarts().is_empty());
}

#[test]
fn nothing_is_installed_once_it_is_over() {
    let node = node();
    let before = node.tree();
    let over = AtomicBool::new(false);
    let installer = node.installer().until(&over);
    // The request comes while a hello runs.
    let hello = |_: Option<&Path>| {
        over.store(true, Ordering::SeqCst);
        installer.uninstall(false).expect("uninstalled");
        Ok(())
    };
    let payload = node.payload("1.0.0");
    let outcome = bring_up(&installer, &payload, &hello, Duration::ZERO);
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    assert_eq!(before.difference(&node.tree()), "");
    assert!(node.containerd.take_restarts().is_empty());
}
