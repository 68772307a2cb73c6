//! What a guest may do with a volume, through the interfaces that it calls.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use rustix::fs::Mode;
use skiff_engine::{Cache, Code, Compiler, Limits, Pool, Portable, Runner, Tier};
use skiff_host::{BodyFault, Grants, Guest, HttpGuest, LoadError, Loader, Mount, Output, Reuse};

/// Longer than anything here takes, so that a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// A volume at the root of a guest.
fn grants(name: &str, volume: &Path, waits: bool) -> Grants {
    Grants {
        mounts: vec![Mount {
            host: volume.to_owned(),
            guest: "/".to_owned(),
            writable: true,
        }],
        waits,
        stdout: Output::memory(),
        stderr: Output::memory(),
        ..Grants::none(name)
    }
}

/// A guest of `make images` with a volume at its root.
fn guest(name: &str, volume: &Path, waits: bool) -> HttpGuest {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join("target/guests").join(format!("{name}.wasm"));
    let bytes = std::fs::read(&file).expect("`make images` has been run");
    let grants = grants(name, volume, waits);
    load(bytes, |loader, code| loader.http(code, grants)).unwrap()
}

/// What becomes of code.
fn load<T>(
    bytes: Vec<u8>,
    guest: impl FnOnce(&Loader, &Code) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cache = Cache::open(&root.join("target/test-cache-host")).unwrap();
    let (tier, limits) = (Tier::Baseline, Limits::default());
    let compiler = Compiler::new(tier, false, limits.stack).unwrap();
    let code = cache.compile(&compiler, &Portable::new(bytes).unwrap());
    let code = code.unwrap();
    let pool = Pool {
        instances: limits.instances,
        resources: code.resources(),
    };
    let runner = Runner::new(tier, false, limits.stack, &pool).unwrap();
    let component = runner.load(&code).unwrap();
    let loader = Loader::new(&runner, limits, 1, Reuse::default(), Guest::default()).unwrap();
    guest(&loader, &component)
}

/// What it answers to a request for a file.
async fn ask(guest: &HttpGuest, path: &str) -> (u16, String) {
    let body = Empty::<Bytes>::new().map_err(|never| -> BodyFault { match never {} });
    let request = http::Request::get(format!("http://a/?path={path}"))
        .body(body)
        .unwrap();
    let answer = tokio::time::timeout(PATIENCE, guest.handle(request));
    let answer = answer.await.expect("nobody waits for ever").unwrap();
    let status = answer.status().as_u16();
    let (bytes, _) = answer.into_body().collect().await.unwrap();
    (status, String::from_utf8_lossy(&bytes).into_owned())
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
        // No thread is left that waits for the other end.
        drop(runtime);
    }
}

/// A command that opens what a volume has under a name, as either version of preview 1
/// has it, and ends with the error's number.
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
