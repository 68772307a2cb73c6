//! Components that run to their end.

mod support;

use support::Skiff;

#[test]
fn the_exit_code_is_the_guests() {
    let code = |guest: &str, args: &[&str]| Skiff::component(guest).args(args).end().status.code();
    assert_eq!(code("module-exit-code", &[]), Some(3));
    assert_eq!(code("module-exit-code", &["--", "7"]), Some(7));
    assert_eq!(code("exit-code", &["--", "0"]), Some(0));
    // `wasi:cli/exit@0.2` knows well and not well; Rust's own library uses no more.
    assert_eq!(code("exit-code", &["--", "7"]), Some(1));
}

#[test]
fn an_error_from_run_is_1_and_a_trap_is_134() {
    assert_eq!(Skiff::component("run-error").end().status.code(), Some(1));
    let trapped = Skiff::component("exit-code").args(&["--", "panic"]).end();
    assert_eq!(trapped.status.code(), Some(134), "{}", trapped.stderr);
}

#[test]
fn arguments_and_environment_are_what_was_given() {
    for guest in ["args-env", "module-args-env"] {
        let ended = Skiff::component(guest)
            .args(&["--env", "COLOUR=blue", "--", "one", "two"])
            .env("HOST_SECRET", "hidden")
            .end();
        assert!(ended.stdout.contains("one"), "{}", ended.stdout);
        assert!(ended.stdout.contains("two"), "{}", ended.stdout);
        assert!(ended.stdout.contains("COLOUR=blue"), "{}", ended.stdout);
        assert!(!ended.stdout.contains("HOST_SECRET"), "{}", ended.stdout);
    }
}

#[test]
fn standard_input_is_ours() {
    let ended = Skiff::component("cat").end();
    assert!(ended.stderr.contains("0 bytes"), "{}", ended.stderr);
}

#[test]
fn a_waiting_command_ends_by_the_signal() {
    let ended = Skiff::component("wait")
        .env("SKIFF_LOG_LEVEL", "error")
        .args(&["--env", "SECONDS=1"])
        .end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
}
