//! Every address of a host, of both families.

mod support;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use skiff_test_support::network::without_ipv6;
use skiff_trigger_http::{BindError, Server, Settings};
use support::*;

const EVERY: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

fn bind_to(address: impl Into<SocketAddr>) -> Result<Server, BindError> {
    Server::bind(address.into(), &Settings::default())
}

#[tokio::test]
async fn one_listener_takes_both_families_and_knows_clients_by_their_own() {
    let server = bind_to((EVERY, 0)).unwrap();
    let port = server.local_addr().port();
    let server = start(server, vec![route("/...", "main", mirror())]);
    let [v4, v6]: [SocketAddr; 2] = [
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
    ];
    for address in [v4, v6] {
        let mut client = Raw::connect(address).await;
        let peer = client.stream.local_addr().unwrap();
        let reply = client.get("/").await;
        let line = format!("spin-client-addr: {peer}\n");
        assert!(reply.text().contains(&line), "{}", reply.text());
    }
    server.abort();
}

#[tokio::test]
async fn workers_share_both_families() {
    let first = bind_to((EVERY, 0)).unwrap();
    let second = first.another().unwrap();
    assert_eq!(first.local_addr(), second.local_addr());
    drop(first);
    let port = second.local_addr().port();
    let server = start(second, vec![route("/...", "main", says("both"))]);
    let mut client = Raw::connect((Ipv4Addr::LOCALHOST, port).into()).await;
    assert_eq!(client.get("/").await.text(), "both");
    server.abort();
}

#[test]
fn an_address_that_one_family_uses_is_taken() {
    let taken = bind_to((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().port();
    let error = bind_to((EVERY, port)).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on [::]:{port}"));
}

#[test]
fn without_ipv6_every_address_is_every_one_of_ipv4() {
    let server = without_ipv6(|| bind_to((EVERY, 0))).unwrap();
    assert_eq!(server.local_addr().ip(), Ipv4Addr::UNSPECIFIED);
}

#[test]
fn without_ipv6_one_address_of_it_is_refused_by_name() {
    let error = without_ipv6(|| bind_to((Ipv6Addr::LOCALHOST, 8080))).unwrap_err();
    assert_eq!(error.to_string(), "cannot make a socket for [::1]:8080");
}
