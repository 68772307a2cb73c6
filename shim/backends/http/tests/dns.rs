//! Names, as a stand-in for a name server answers them.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use skiff_backend_http::{Client, Settings};
use skiff_host::Names as _;
use skiff_manifest::hosts::BlockedNetworks;
use support::{Server, call, code, get, send};
use tokio::net::UdpSocket;

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// Answers queries for addresses from a table, and remembers them.
struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    /// `known` has names of addresses of IPv4; `ttl` says how long they may be kept.
    async fn start(known: &[(&str, Ipv4Addr)], ttl: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let known: BTreeMap<String, Ipv4Addr> = known
            .iter()
            .map(|(name, ip)| ((*name).to_owned(), *ip))
            .collect();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let all = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut query).await {
                let (answer, question) = answer(&query[..length], &known, ttl);
                all.lock().unwrap().push(question);
                let _ = socket.send_to(&answer, peer).await;
            }
        });
        NameServer { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// The answer to a query (RFC 1035, 4), and its question as text.
fn answer(query: &[u8], known: &BTreeMap<String, Ipv4Addr>, ttl: u32) -> (Vec<u8>, String) {
    let (mut name, mut at) = (String::new(), 12);
    while query[at] > 0 {
        let label = &query[at + 1..=at + usize::from(query[at])];
        name += &format!("{}.", std::str::from_utf8(label).unwrap());
        at += 1 + label.len();
    }
    let kind = query[at + 2];
    let question = &query[12..at + 5];
    let found = known.get(&name);
    let address = found.filter(|_| kind == 1);
    let code = if found.is_some() { 0 } else { 3 };
    let mut answer = query[..2].to_vec();
    answer.extend([
        0x81,
        0x80 | code,
        0,
        1,
        0,
        u8::from(address.is_some()),
        0,
        0,
        0,
        0,
    ]);
    answer.extend(question);
    if let Some(address) = address {
        answer.extend([0xc0, 12, 0, 1, 0, 1]);
        answer.extend(ttl.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(address.octets());
    }
    let kind = if kind == 1 { "A" } else { "AAAA" };
    (answer, format!("{name} {kind}"))
}

/// A client whose files are in `folder`, and whose name servers have the port of `server`.
fn client(folder: &Path, server: SocketAddr, options: &str, hosts: &str) -> Client {
    Client::new(settings(folder, server, options, hosts))
}

fn settings(folder: &Path, server: SocketAddr, options: &str, hosts: &str) -> Settings {
    let resolv = format!("nameserver {}\n{options}\n", server.ip());
    fs::write(folder.join("resolv.conf"), resolv).unwrap();
    fs::write(folder.join("hosts"), hosts).unwrap();
    Settings {
        name_servers: folder.join("resolv.conf"),
        name_server_port: server.port(),
        hosts: folder.join("hosts"),
        ..Settings::default()
    }
}

#[tokio::test]
async fn a_service_is_found_by_its_short_name_and_kept_as_long_as_allowed() {
    let server = Server::start(HELLO, true).await;
    let names = NameServer::start(
        &[("orders.shop.svc.cluster.local.", Ipv4Addr::LOCALHOST)],
        300,
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let options = "search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5";
    let client = client(folder.path(), names.address, options, "");
    let url = format!("http://orders:{}/", server.address.port());
    for _ in 0..3 {
        assert_eq!(get(&client, &url).await.unwrap().status, 200);
    }
    assert_eq!(names.asked(), ["orders.shop.svc.cluster.local. A"]);
}

/// Sockets want the addresses of both families: of one name, in whose search domain alone.
#[tokio::test]
async fn both_families_of_a_service_take_one_question_each() {
    let names =
        NameServer::start(&[("db.shop.svc.cluster.local.", Ipv4Addr::LOCALHOST)], 300).await;
    let folder = tempfile::tempdir().unwrap();
    let options = "search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5";
    let client = client(
        folder.path(),
        names.address,
        options,
        "::1 twice\n10.0.0.1 twice\n",
    );
    let found = client.addresses("db").await;
    assert_eq!(found, Ok(vec![Ipv4Addr::LOCALHOST.into()]));
    let asked = names.asked();
    let db = "db.shop.svc.cluster.local.";
    assert_eq!(asked, [format!("{db} A"), format!("{db} AAAA")]);
    let twice = client.addresses("twice").await.unwrap();
    assert_eq!(
        twice,
        ["10.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap())
    );
    assert_eq!(client.addresses("nobody").await, Ok(Vec::new()));
    assert!(names.asked().iter().all(|name| name.starts_with("nobody.")));
}

#[tokio::test]
async fn a_name_without_an_address_is_an_error_that_says_so() {
    let names = NameServer::start(&[("v6only.test.", Ipv4Addr::LOCALHOST)], 0).await;
    let folder = tempfile::tempdir().unwrap();
    let client = client(folder.path(), names.address, "", "");
    let error = get(&client, "http://nobody.test/").await.unwrap_err();
    let text = format!("{error:?}");
    assert!(
        text.contains("DnsError") && text.contains("address not available"),
        "{text}"
    );
    assert_eq!(names.asked(), ["nobody.test. A", "nobody.test. AAAA"]);
}

#[tokio::test]
async fn a_name_that_leads_to_a_blocked_address_is_not_connected_to() {
    let server = Server::start(HELLO, true).await;
    let names = NameServer::start(
        &[
            ("trap.test.", Ipv4Addr::new(169, 254, 169, 254)),
            ("here.test.", Ipv4Addr::LOCALHOST),
        ],
        0,
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    // The second name has an address that is not blocked besides one that is.
    let hosts = "169.254.1.1 mixed\n127.0.0.1 mixed\n";
    let client = Client::new(Settings {
        blocked: BlockedNetworks::link_local(),
        ..settings(folder.path(), names.address, "", hosts)
    });
    let got = get(&client, "http://trap.test/").await;
    assert_eq!(code(got), "DestinationIpProhibited");
    for name in ["here.test", "mixed"] {
        let url = format!("http://{name}:{}/", server.address.port());
        assert_eq!(get(&client, &url).await.unwrap().status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_name_server_that_lies_is_an_error_of_names() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut query).await {
            // The right number, and an answer that ends in the middle of a name; then the
            // answer to a question that was not asked.
            let mut broken = query[..2].to_vec();
            broken.extend([0x81, 0x80, 0, 1, 0, 9, 0, 0, 0, 0, 63, b'x']);
            let _ = socket.send_to(&broken, peer).await;
            let known = BTreeMap::from([("trap.test.".to_owned(), Ipv4Addr::LOCALHOST)]);
            let mut other = query[..12].to_vec();
            other.extend(b"\x04trap\x04test\0\0\x01\0\x01");
            let (answer, _) = answer(&other, &known, 60);
            let _ = socket.send_to(&answer, peer).await;
            let _ = socket.send_to(&query[..length], peer).await;
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let options = "options timeout:1 attempts:1";
    let client = client(folder.path(), address, options, "");
    let code = code(get(&client, "http://anything.test/").await);
    assert!(matches!(code.as_str(), "DnsTimeout" | "DnsError"), "{code}");
}

#[tokio::test]
async fn hosts_come_before_name_servers_and_are_read_again() {
    let server = Server::start(HELLO, true).await;
    let names = NameServer::start(&[], 0).await;
    let folder = tempfile::tempdir().unwrap();
    let options = "search cluster.local\noptions ndots:5";
    let client = client(folder.path(), names.address, options, "127.0.0.1 alias");
    let url = |name| format!("http://{name}:{}/", server.address.port());
    assert_eq!(get(&client, &url("alias")).await.unwrap().status, 200);
    assert_eq!(names.asked(), Vec::<String>::new());
    assert_eq!(code(get(&client, &url("later")).await), "DnsError");
    // As the kubelet replaces it.
    fs::write(folder.path().join("new"), "127.0.0.1 alias later\n").unwrap();
    fs::rename(folder.path().join("new"), folder.path().join("hosts")).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while get(&client, &url("later")).await.is_err() {
        assert!(Instant::now() < until, "the new file is not read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_dead_name_server_costs_no_more_than_the_time_to_connect() {
    // Nobody answers there.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let client = client(folder.path(), silent.local_addr().unwrap(), "", "");
    let began = Instant::now();
    let mut asked = call("http://anything.test/");
    asked.timeouts.connect = Duration::from_millis(100);
    assert_eq!(code(send(&client, asked).await), "ConnectionTimeout");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_name_server_that_gives_up_is_an_error_of_names() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = "options timeout:1 attempts:1";
    let client = client(folder.path(), silent.local_addr().unwrap(), options, "");
    let code = code(get(&client, "http://anything.test/").await);
    assert!(matches!(code.as_str(), "DnsTimeout" | "DnsError"), "{code}");
}
