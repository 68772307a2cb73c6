//! What guests get of the sockets of WASI 0.2 and 0.3, with and without a grant.

mod support;

use std::net::{TcpListener, UdpSocket};

use support::{Running, Skiff};

const VERSIONS: [&str; 2] = ["p2", "p3"];

/// A component for each version, by route.
fn application(hosts: &str) -> Skiff {
    Skiff::manifest(&format!(
        r#"spin_manifest_version = 2
[application]
name = "a"
[[trigger.http]]
route = "/p2"
component = {{ source = "{{guest:sockets}}", allowed_outbound_hosts = [{hosts}] }}
[[trigger.http]]
route = "/p3"
component = {{ source = "{{guest:sockets-p3}}", allowed_outbound_hosts = [{hosts}] }}
"#
    ))
    .env("SKIFF_WORKERS", "1")
}

/// What the guest of each version tells about an operation.
#[track_caller]
fn tells(skiff: &Running, op: &str, at: &str, expected: &str) {
    for version in VERSIONS {
        let answer = skiff.get(&format!("/{version}?op={op}&at={at}"));
        let text = answer.text();
        // Rust's bindings show a case in one of two ways.
        let text = text.to_lowercase();
        assert!(
            text.contains(expected) || text.contains(&expected.replace('-', "")),
            "{version} {op} {at}: {} {text}",
            answer.status
        );
    }
}

#[test]
fn no_socket_does_anything_without_an_entry_of_its_scheme() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for hosts in ["", "\"http://127.0.0.1:*\", \"https://*:*\""] {
        let skiff = application(hosts).start();
        let at = tcp.local_addr().unwrap().to_string();
        for op in ["connect", "bind", "listen", "udp-bind"] {
            tells(&skiff, op, &at, "access-denied");
        }
        for op in ["bind", "listen", "udp-bind"] {
            tells(&skiff, op, "0.0.0.0:0", "access-denied");
        }
        let at = udp.local_addr().unwrap().to_string();
        tells(&skiff, "udp", &at, "access-denied");
        for name in ["localhost", "127.0.0.1", "nobody.invalid"] {
            tells(&skiff, "lookup", name, "permanent-resolver-failure");
        }
    }
    tcp.set_nonblocking(true).unwrap();
    udp.set_nonblocking(true).unwrap();
    assert!(tcp.accept().is_err(), "nobody has connected");
    assert!(udp.recv(&mut [0; 8]).is_err(), "nobody has sent anything");
}

#[test]
fn a_socket_reaches_the_address_that_an_entry_has_and_listens_nowhere() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(std::time::Duration::from_secs(30)))
        .unwrap();
    let (to_tcp, to_udp) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
    let skiff = application(&format!("\"tcp://{to_tcp}\", \"udp://{to_udp}\"")).start();
    tells(&skiff, "connect", &to_tcp.to_string(), "ok");
    tells(&skiff, "udp", &to_udp.to_string(), "ok");
    for _ in VERSIONS {
        let mut ping = [0; 8];
        let length = udp.recv(&mut ping).unwrap();
        assert_eq!(&ping[..length], b"ping");
    }
    // Each scheme has its own entry.
    tells(&skiff, "connect", &to_udp.to_string(), "access-denied");
    tells(&skiff, "udp", &to_tcp.to_string(), "access-denied");
    let skiff = application("\"*://*:*\"").start();
    for at in ["127.0.0.1:0", "0.0.0.0:0"] {
        tells(&skiff, "listen", at, "access-denied");
    }
    tells(&skiff, "bind", "127.0.0.1:0", "access-denied");
}

#[test]
fn a_name_of_an_entry_is_looked_up_and_a_blocked_address_is_not_reached() {
    let tcp = TcpListener::bind("127.0.0.2:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let skiff = application("\"tcp://localhost:80\"").start();
    tells(&skiff, "lookup", "localhost", "127.0.0.1");
    tells(&skiff, "lookup", "other.test", "permanent-resolver-failure");
    tells(&skiff, "lookup", "not%20a%20name", "invalid-argument");
    let skiff = application("\"*://*:*\"")
        .env("SKIFF_BLOCKED_NETWORKS", "127.0.0.2/32")
        .start();
    let at = format!("127.0.0.2:{port}");
    tells(&skiff, "connect", &at, "access-denied");
    tells(&skiff, "udp", &at, "access-denied");
    tcp.set_nonblocking(true).unwrap();
    assert!(tcp.accept().is_err(), "nobody has connected");
}
