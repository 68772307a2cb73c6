//! What a guest may do with a volume, through the interfaces that it calls.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use rustix::fs::Mode;
use skiff_engine::{Cache, Compiler, Limits, Pool, Portable, Runner, Tier};
use skiff_host::{BodyFault, Grants, Guest, HttpGuest, Loader, Mount, Output, Reuse};

/// Longer than anything here takes, so that a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// A guest of `make images` with a volume at its root.
fn guest(name: &str, volume: &Path, waits: bool) -> HttpGuest {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join("target/guests").join(format!("{name}.wasm"));
    let bytes = std::fs::read(&file).expect("`make images` has been run");
    let cache = Cache::open(&root.join("target/test-cache-host")).unwrap();
    let (tier, limits) = (Tier::Baseline, Limits::default());
    let compiler = Compiler::new(tier, false, limits.stack).unwrap();
    let code = cache.compile(&compiler, &Portable::new(bytes).unwrap());
    let code = code.unwrap();
    let pool = Pool {
        instances: limits.instances,
        resources: code.resources(),
        keep_resident: Pool::KEEP_RESIDENT,
    };
    let runner = Runner::new(tier, false, limits.stack, &pool).unwrap();
    let component = runner.load(&code).unwrap();
    let grants = Grants {
        mounts: vec![Mount {
            host: volume.to_owned(),
            guest: "/".to_owned(),
            writable: true,
        }],
        waits,
        stdout: Output::memory(),
        stderr: Output::memory(),
        ..Grants::none(name)
    };
    let loader = Loader::new(&runner, limits, 1, Reuse::default(), Guest::default()).unwrap();
    loader.http(&component, grants).unwrap()
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
