//! Commands of preview 1, which run as core modules.

mod support;

use std::io::Write;

use support::Skiff;

/// Two megabytes of words, nearly all of them different.
fn words() -> String {
    let mut text = String::new();
    for n in 0_u32.. {
        if text.len() >= 2 << 20 {
            break;
        }
        text += &format!("w{} ", n.wrapping_mul(2_654_435_761));
    }
    text
}

#[test]
fn a_go_program_counts_the_words_of_two_megabytes() {
    let text = words();
    let count = text.split_whitespace().count();
    let ended = Skiff::component("go").end_with(text.as_bytes());
    assert_eq!(ended.stdout, format!("{count} words\n"), "{}", ended.stderr);
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn two_megabytes_go_through_a_go_program_unchanged() {
    let text = words();
    let skiff = Skiff::component("go").args(&["--", "copy"]);
    let ended = skiff.end_with(text.as_bytes());
    let expected = format!("{} bytes, <nil>", text.len());
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
    assert_eq!(ended.stdout.len(), text.len());
    assert!(ended.stdout == text);
}

/// Both names of preview 1, an export used by bindings, and an exit code that components
/// cannot return.
#[test]
fn a_module_is_a_command_by_its_start_whatever_else_it_exports() {
    for interface in ["wasi_snapshot_preview1", "wasi_unstable"] {
        let text = format!(
            r#"(module (import "{interface}" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
                (func (export "_start") (call $exit (i32.const 42))))"#
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exit.wasm");
        std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
        let ended = Skiff::of(&path).end();
        assert_eq!(ended.status.code(), Some(42), "{}", ended.stderr);
    }
}

/// A command that reads incrementally answers before its input has ended.
#[test]
fn a_module_reads_and_writes_as_it_goes() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\10\00\00\00")
        (func (export "_start")
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (i32.store (i32.const 4) (i32.load (i32.const 8)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.wasm");
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    let skiff = Skiff::of(&path);
    let (mut child, _folders) = skiff.spawn();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"ping\n").unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "ping\n");
    drop(stdin);
}

#[test]
fn a_start_that_cannot_be_called_is_told_before_it_is() {
    let text = r#"(module (memory (export "memory") 1) (func (export "_start") (param i32)))"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.wasm");
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    let ended = Skiff::of(&path).end();
    assert_eq!(ended.status.code(), Some(65), "{}", ended.stderr);
    for word in ["odd.wasm", "_start"] {
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
}

#[test]
fn a_module_that_fails_is_told_by_its_file() {
    let text = r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.wasm");
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    let ended = Skiff::of(&path).end();
    assert_eq!(ended.status.code(), Some(134), "{}", ended.stderr);
    assert!(ended.stderr.contains("broken.wasm"), "{}", ended.stderr);
}

#[test]
fn core_modules_of_preview_1_are_served() {
    assert_eq!(
        Skiff::component("module-hello").start().get("/").status,
        200
    );
    assert_eq!(
        Skiff::component("module-read-files")
            .start()
            .get("/?path=/")
            .status,
        404
    );
}
