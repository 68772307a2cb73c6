//! Components that run to their end.

mod support;

use std::io::{Read as _, Write as _};

use support::Skiff;

#[test]
fn the_exit_code_is_the_guests() {
    let code = |guest: &str, args: &[&str]| Skiff::component(guest).args(args).end().status.code();
    assert_eq!(code("module-exit-code", &[]), Some(3));
    assert_eq!(code("module-exit-code", &["--", "7"]), Some(7));
    assert_eq!(code("exit-code", &["--", "0"]), Some(0));
    // `wasi:cli/exit@0.2` only distinguishes success and failure; Rust's standard library
    // uses nothing else.
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

/// Asks `name? ` without a line feed, and echoes its input byte for byte.
const ASKS: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "name? ")
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (i32.const 6))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 32)))
    (i32.store (i32.const 16) (i32.const 64))
    (i32.store (i32.const 20) (i32.const 64))
    (drop (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 32)))
    (i32.store (i32.const 20) (i32.load (i32.const 32)))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 32)))))"#;

#[test]
fn a_prompt_is_there_before_the_answer_and_no_line_feed_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("asks.wasm");
    std::fs::write(&module, wat::parse_str(ASKS).unwrap()).unwrap();
    let (mut child, _folders) = Skiff::of(&module).spawn();
    let mut stdout = child.stdout.take().unwrap();
    let mut prompt = [0; 6];
    stdout.read_exact(&mut prompt).unwrap();
    assert_eq!(&prompt, b"name? ");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"A\0\xff").unwrap();
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"A\0\xff");
    assert!(child.wait().unwrap().success());
}

#[test]
fn two_megabytes_of_binary_come_out_as_they_went_in() {
    let sent: Vec<u8> = (0..2 << 20).map(|n: u32| (n ^ (n >> 7)) as u8).collect();
    let (mut child, _folders) = Skiff::component("cat").spawn();
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn({
        let sent = sent.clone();
        move || stdin.write_all(&sent).unwrap()
    });
    let mut came = Vec::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_end(&mut came).unwrap();
    writing.join().unwrap();
    assert!(came == sent, "{} bytes came", came.len());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_signal_ends_a_command_whose_output_nobody_reads() {
    let (mut child, _folders) = Skiff::component("cat").spawn();
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || {
        // Until the command has ended.
        while stdin.write_all(&[b'x'; 1 << 16]).is_ok() {}
    });
    // It has started, and the pipe is full soon.
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    // SAFETY: the child has not been waited for, so the process id is still its own.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert_eq!(child.wait().unwrap().code(), Some(143));
    writing.join().unwrap();
}

#[test]
fn output_that_cannot_be_written_is_no_success() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let ended = Skiff::component("args-env").stdout(full).end();
    assert_eq!(ended.status.code(), Some(74), "{}", ended.stderr);
    assert!(ended.stderr.contains("standard output"), "{}", ended.stderr);
    assert!(ended.stderr.contains("No space left"), "{}", ended.stderr);
    // It is not an error if the reader wants no more.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Skiff::component("args-env").stdout(writer).end();
    assert_ne!(ended.status.code(), Some(74), "{}", ended.stderr);
}
