//! Guests loaded as an application loads them, and called without a listener.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use skiff_engine::{Cache, Code, Compiler, Limits, Pool, Portable, Runner, Tier};
use skiff_host::{
    BodyFault, Cli, Grants, Guest, GuestError, HttpGuest, LoadError, Loader, Output, Reuse,
};

/// Longer than anything here takes, so that a hang is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// No grants; output goes elsewhere than the test's own.
pub(crate) fn quiet(name: &str) -> Grants {
    Grants {
        cli: Cli {
            stdout: Output::memory(),
            stderr: Output::memory(),
            ..Cli::default()
        },
        ..Grants::none(name)
    }
}

/// A guest of `make images`.
pub(crate) fn built(name: &str, grants: Grants) -> HttpGuest {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join("target/guests").join(format!("{name}.wasm"));
    let bytes = std::fs::read(&file).expect("`make images` has been run");
    http(bytes, grants)
}

/// A component behind an HTTP trigger.
pub(crate) fn http(bytes: Vec<u8>, grants: Grants) -> HttpGuest {
    load(bytes, |loader, code| loader.http(code, grants)).unwrap()
}

/// Compiles the bytes and loads them with `guest`.
pub(crate) fn load<T>(
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
    let loader = Loader::new(&runner, limits, 1, Reuse::default(), Guest::default());
    guest(&loader, &component)
}

/// Its response to a request.
pub(crate) async fn answer(
    guest: &HttpGuest,
    method: &str,
    path_and_query: &str,
) -> Result<(u16, String), GuestError> {
    let body = Empty::<Bytes>::new().map_err(|never| -> BodyFault { match never {} });
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://a{path_and_query}"))
        .body(body)
        .unwrap();
    let answer = tokio::time::timeout(PATIENCE, guest.handle(request));
    let answer = answer.await.expect("nobody waits for ever")?;
    let status = answer.status().as_u16();
    let (bytes, _) = answer.into_body().collect().await.unwrap();
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// Its response to `GET`.
pub(crate) async fn get(guest: &HttpGuest, path_and_query: &str) -> (u16, String) {
    answer(guest, "GET", path_and_query).await.unwrap()
}
