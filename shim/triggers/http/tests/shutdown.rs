//! Shutdown, as clients and load balancers see it.

mod support;

use std::time::Duration;

use skiff_trigger::DrainOutcome;
use skiff_trigger_http::Settings;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HEALTH: &str = "/.well-known/spin/health";

fn going_after(shutdown_delay: Duration, drain_limit: Duration) -> Running {
    let settings = Settings {
        shutdown_delay,
        ..Settings::default()
    };
    let routes = vec![route("/...", "main", says("hello"))];
    start_with_limit(bind(&settings), routes, drain_limit)
}

#[tokio::test]
async fn a_server_that_goes_serves_until_nobody_comes() {
    let minute = Duration::from_secs(60);
    let mut server = going_after(minute, minute);
    let mut kept = server.connect().await;
    assert_eq!(server.get(HEALTH).await.status, 200);
    server.shut_down();
    while server.get(HEALTH).await.status != 503 {}
    // An open connection is asked to end, a new one is accepted.
    let reply = kept.get("/").await;
    assert_eq!(
        (reply.text(), reply.header("connection")),
        ("hello", Some("close"))
    );
    assert_eq!(kept.rest().await, "");
    assert_eq!(server.get("/").await.text(), "hello");
    assert_eq!(server.outcome().await, DrainOutcome::Finished);
}

#[tokio::test]
async fn probes_do_not_keep_a_server_that_goes() {
    let minute = Duration::from_secs(60);
    let mut server = going_after(minute, minute);
    server.shut_down();
    let address = server.address;
    let probes = tokio::spawn(async move {
        while let Ok(mut probe) = tokio::net::TcpStream::connect(address).await {
            let request = format!("GET {HEALTH} HTTP/1.1\r\nhost: a\r\n\r\n");
            probe.write_all(request.as_bytes()).await.ok();
            let mut answer = Vec::new();
            probe.read_to_end(&mut answer).await.ok();
        }
    });
    assert_eq!(soon(server.outcome()).await, DrainOutcome::Finished);
    soon(probes).await.unwrap();
}

#[tokio::test]
async fn the_shutdown_delay_ends_with_the_drain_limit() {
    let mut server = going_after(Duration::from_secs(60), Duration::from_millis(300));
    server.shut_down();
    let address = server.address;
    // New connections keep coming.
    let comes = tokio::spawn(async move {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let _ = server.outcome().await;
    soon(comes).await.unwrap();
}
