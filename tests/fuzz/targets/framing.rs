//! Whatever bytes a client sends, its connection ends, requests keep the promises of
//! `Handler`, every HTTP/1 answer has a head, and the next client is served.

#![no_main]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use skiff_trigger::Triggers;
use skiff_trigger_http::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// Longer than any answer takes: anything longer hangs.
const SOON: Duration = Duration::from_secs(20);

struct Checks;

impl Handler for Checks {
    async fn handle(
        &self,
        request: http::Request<RequestBody>,
    ) -> Result<http::Response<ResponseBody>, Failure> {
        let (head, body) = request.into_parts();
        let uri = &head.uri;
        assert_eq!(uri.scheme_str(), Some("http"));
        assert!(!uri.authority().unwrap().as_str().contains('@'));
        assert!(uri.path().starts_with('/'));
        assert!(!head.headers.contains_key("connection"));
        assert_eq!(head.headers.get_all("spin-client-addr").iter().count(), 1);
        assert!(head.headers.get_all("host").iter().count() <= 1);
        let promised = head.headers.get("content-length").cloned();
        let body = body.collect().await?.to_bytes();
        if let Some(promised) = promised {
            assert_eq!(promised.to_str().unwrap().parse(), Ok(body.len()));
        }
        Ok(http::Response::new(body.into()))
    }
}

thread_local! {
    static SERVER: RefCell<Option<(Runtime, SocketAddr)>> = const { RefCell::new(None) };
}

fn start() -> (Runtime, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let route = Route {
        trigger: "fuzz".to_owned(),
        path: RoutePath::Public("/...".to_owned()),
        target: Target::Handler {
            component: "checks".to_owned(),
            handler: Arc::new(Checks),
        },
    };
    let info = AppInfo {
        name: "fuzz".to_owned(),
        version: None,
        oci_image_digest: None,
    };
    let router = Router::new(&info, vec![route]).unwrap();
    let server = Server::bind(([127, 0, 0, 1], 0).into(), &Settings::default()).unwrap();
    let address = server.local_addr();
    let triggers = Triggers::of_worker(0).with(Http::new(server, router));
    runtime.spawn(async move { triggers.serve(SOON, std::future::pending()).await });
    (runtime, address)
}

async fn talk(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    // The server may have closed already.
    if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
        stream.read_to_end(&mut answer).await.ok();
    }
    answer
}

fuzz_target!(|bytes: &[u8]| {
    SERVER.with_borrow_mut(|server| {
        let (runtime, address) = server.get_or_insert_with(start);
        runtime.block_on(async {
            let talked = tokio::time::timeout(SOON, talk(*address, bytes)).await;
            let answer = talked.expect("the connection ends");
            let http2 = bytes.starts_with(b"PRI ");
            let head = answer.starts_with(b"HTTP/1.");
            assert!(http2 || answer.is_empty() || head, "{answer:?}");
            let next = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
            let served = tokio::time::timeout(SOON, talk(*address, next)).await;
            assert!(served.unwrap().starts_with(b"HTTP/1.1 200 OK\r\n"));
        });
    });
});
