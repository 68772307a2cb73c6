//! What a guest may do with a volume, through the interfaces that it calls.

mod support;

use std::path::Path;

use rustix::fs::Mode;
use skiff_host::{Filesystem, Grants, HttpGuest, Mount};
use support::{PATIENCE, built, get, load, quiet};

/// A volume at the root of a guest.
fn grants(name: &str, volume: &Path, waits: bool) -> Grants {
    Grants {
        filesystem: Filesystem {
            mounts: vec![Mount {
                host: volume.to_owned(),
                guest: "/".to_owned(),
                writable: true,
            }],
            waits,
            ..Filesystem::default()
        },
        ..quiet(name)
    }
}

/// A guest of `make images` with a volume at its root.
fn guest(name: &str, volume: &Path, waits: bool) -> HttpGuest {
    built(name, grants(name, volume, waits))
}

/// Its response to a request for a file.
async fn ask(guest: &HttpGuest, path: &str) -> (u16, String) {
    get(guest, &format!("/?path={path}")).await
}

#[test]
fn a_fifo_of_a_volume_stops_nobody_and_what_else_is_there_is_read() {
    let volume = tempfile::tempdir().unwrap();
    std::fs::write(volume.path().join("note.txt"), "a note").unwrap();
    let fifo = volume.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RWXU).unwrap();
    for waits in [true, false] {
        let guest = guest("read-files", volume.path(), waits);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            for _ in 0..100 {
                let (status, reason) = ask(&guest, "/fifo").await;
                assert_eq!(status, 404);
                assert!(reason.contains("permitted"), "{reason}");
            }
            let note = ask(&guest, "/note.txt").await;
            assert_eq!(note, (200, "a note".to_owned()));
            let (status, names) = ask(&guest, "/").await;
            assert_eq!((status, &*names), (200, "fifo\nnote.txt\n"));
        });
        // No thread is left waiting for the other end.
        drop(runtime);
    }
}

/// A command that opens a name in a volume, through either version of preview 1, and exits
/// with the error's number.
fn opens(version: &str, name: &str) -> Vec<u8> {
    let length = name.len();
    let text = format!(
        r#"(module
            (import "{version}" "path_open" (func $open
                (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "{version}" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "{name}")
            (func (export "_start")
                (call $exit (call $open (i32.const 3) (i32.const 1) (i32.const 16)
                    (i32.const {length}) (i32.const 0) (i64.const 2) (i64.const 0)
                    (i32.const 0) (i32.const 0)))))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn a_command_of_preview_1_opens_regular_files_and_folders_only() {
    const PERM: i32 = 63;
    const NOENT: i32 = 44;
    let volume = tempfile::tempdir().unwrap();
    let path = |name: &str| volume.path().join(name);
    std::fs::write(path("file"), "text").unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    std::os::unix::fs::symlink("file", path("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), Mode::RWXU).unwrap();
    std::os::unix::fs::symlink("fifo", path("way")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for version in ["wasi_snapshot_preview1", "wasi_unstable"] {
        for (name, wanted) in [
            ("file", 0),
            ("folder", 0),
            ("link", 0),
            ("fifo", PERM),
            ("way", PERM),
            ("socket", PERM),
            ("nothing", NOENT),
        ] {
            let grants = grants(name, volume.path(), true);
            let command = load(opens(version, name), |loader, code| {
                loader.command(code, grants)
            });
            let command = command.unwrap();
            let ended = runtime.block_on(async {
                let ended = tokio::time::timeout(PATIENCE, command.run());
                ended.await.expect("nobody waits for ever")
            });
            assert_eq!(ended.unwrap(), wanted, "{version} {name}");
        }
    }
}
