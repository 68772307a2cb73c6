//! Modules and components that others wrote to test similar shims.

mod support;

use support::{Ended, Skiff};

fn end(guest: &str) -> Ended {
    Skiff::component(guest).end()
}

#[test]
fn they_print() {
    for guest in ["foreign-hello-world", "foreign-component-hello-world"] {
        let ended = end(guest);
        assert_eq!(ended.status.code(), Some(0), "{guest}: {}", ended.stderr);
        let printed = ended.stdout.to_lowercase();
        assert!(printed.contains("hello"), "{guest}: {printed}");
    }
}

#[test]
fn they_give_their_exit_code() {
    assert_eq!(end("foreign-exit-code").status.code(), Some(42));
}

#[test]
fn they_see_the_folder_they_run_in() {
    let ended = end("foreign-seccomp");
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("current working dir"),
        "{}",
        ended.stdout
    );
}

#[test]
fn they_see_no_devices() {
    let ended = end("foreign-has-default-devices");
    assert_eq!(ended.status.code(), Some(134), "{}", ended.stderr);
    assert!(ended.stderr.contains("/dev/null"), "{}", ended.stderr);
}

#[test]
fn a_command_without_a_memory_runs_as_far_as_it_comes() {
    let ended = end("foreign-unreachable");
    assert_eq!(ended.status.code(), Some(134), "{}", ended.stderr);
    assert!(ended.stderr.contains("unreachable"), "{}", ended.stderr);
}

#[test]
fn what_has_no_entry_point_is_refused() {
    for (guest, told) in [
        ("foreign-custom-entrypoint", "no entry point"),
        ("foreign-simple-component", "it exports no handler"),
    ] {
        let ended = end(guest);
        assert_eq!(ended.status.code(), Some(65), "{guest}: {}", ended.stderr);
        assert!(ended.stderr.contains(told), "{guest}: {}", ended.stderr);
    }
}
