//! Requests of a pod's guests: its name servers, its hosts, blocked networks, limits, and
//! what its workers share. The servers are in the pod's own network.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use skiff_test_support::{ContainerSpec, DnsConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::apps::{App, Kind};
use crate::cases;
use crate::harness::Case;
use crate::node::Node;
use crate::pods::{SOON, Served};

pub(super) fn cases() -> Vec<Case> {
    cases![
        metadata_addresses_are_blocked_unless_the_pod_says_otherwise,
        names_are_found_as_a_pod_finds_them,
        limits_of_requests_are_the_pods,
        components_of_a_pod_call_each_other,
        workers_of_a_pod_count_exactly,
    ]
}

/// An application that passes its requests on to wherever they say.
async fn relay(node: &Node) -> anyhow::Result<ContainerSpec> {
    let app = App::of_guest("relay")?.component("allowed_outbound_hosts = [\"*://*:*\"]");
    let image = node.app_image("network", Kind::Spin, &app).await?;
    let spec = Kind::Spin.container("app", &image);
    Ok(spec
        .env("SKIFF_WORKERS", "1")
        .env("SKIFF_SHUTDOWN_DELAY", "1ms"))
}

/// Status and text of what the application gets from a URL.
async fn passed(served: &Served, url: &str) -> anyhow::Result<(u16, String)> {
    let reply = served.get(&format!("/?url={url}")).await?;
    Ok((reply.status.as_u16(), reply.text()))
}

/// Acts in the network of a container. Sockets that are made there stay in it.
async fn inside<T: Send>(
    node: &Node,
    served: &Served,
    act: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let first = node.containerd().process_of(&served.container).await?;
    let process = first.context("it has no process")?;
    let network = File::open(format!("/proc/{process}/ns/net"))?;
    let within = || {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        act()
    };
    thread::scope(|scope| scope.spawn(within).join().expect("it does not panic"))
}

/// Gives the loopback interface one more address.
fn add_address(address: &str) -> anyhow::Result<()> {
    let added = Command::new("ip")
        .args(["address", "add", address, "dev", "lo"])
        .output()?;
    ensure!(added.status.success(), "{added:?}");
    Ok(())
}

/// A server that answers `inside` until it is dropped; with `silent`, it only listens.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    fn of(listener: TcpListener, silent: bool) -> anyhow::Result<Self> {
        const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ninside";
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                open.spawn(async move {
                    let mut asked = [0; 4096];
                    while matches!(stream.read(&mut asked).await, Ok(1..)) {
                        if !silent && stream.write_all(REPLY).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Ok(Self {
            address,
            connections,
            task,
        })
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn metadata_addresses_are_blocked_unless_the_pod_says_otherwise(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    for (setting, metadata_is_reached, loopback_is_reached) in [
        (None, false, true),
        (Some("none"), true, true),
        (Some("link-local,private"), false, false),
    ] {
        let mut spec = relay(&node).await?;
        if let Some(setting) = setting {
            spec = spec.env("SKIFF_BLOCKED_NETWORKS", setting);
        }
        let served = Served::start(&node, "metadata", &spec).await?;
        let listeners = inside(&node, &served, || {
            add_address("169.254.169.254/32")?;
            let metadata = TcpListener::bind("169.254.169.254:0")?;
            Ok((metadata, TcpListener::bind("127.0.0.1:0")?))
        });
        let (metadata, beside) = listeners.await?;
        let (metadata, beside) = (Server::of(metadata, false)?, Server::of(beside, false)?);
        for (server, is_reached) in [
            (&metadata, metadata_is_reached),
            (&beside, loopback_is_reached),
        ] {
            let (status, text) = passed(&served, &format!("http://{}/", server.address)).await?;
            let expected = match is_reached {
                true => (200, "inside"),
                false => (502, "DestinationIpProhibited"),
            };
            let at = server.address;
            ensure!(
                status == expected.0 && text.contains(expected.1),
                "{setting:?} {at}: {status} {text}"
            );
            let connections = server.connections();
            ensure!(connections == usize::from(is_reached), "{setting:?} {at}");
        }
        served.end().await?;
    }
    Ok(())
}

/// A name server that knows addresses of IPv4, until it is dropped.
struct NameServer {
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl NameServer {
    fn of(socket: UdpSocket, known: &[(&str, [u8; 4])]) -> anyhow::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let known = known.iter().map(|(name, ip)| ((*name).to_owned(), *ip));
        let known: BTreeMap<String, [u8; 4]> = known.collect();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let all = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut query).await {
                let Some((answer, name)) = answer(&query[..length], &known) else {
                    continue;
                };
                let _ = socket.send_to(&answer, peer).await;
                all.lock().expect("nobody panics").push(name);
            }
        });
        Ok(Self { asked, task })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics").clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer to a query (RFC 1035, 4), and the name in it.
fn answer(query: &[u8], known: &BTreeMap<String, [u8; 4]>) -> Option<(Vec<u8>, String)> {
    let (mut name, mut at) = (String::new(), 12);
    while *query.get(at)? > 0 {
        let label = query.get(at + 1..=at + usize::from(query[at]))?;
        name += &format!("{}.", String::from_utf8_lossy(label));
        at += 1 + label.len();
    }
    let is_of_ipv4 = *query.get(at + 2)? == 1;
    let found = known.get(&name);
    let address = found.filter(|_| is_of_ipv4);
    let code = if found.is_some() { 0x80 } else { 0x83 };
    let count = u8::from(address.is_some());
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, code, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(query.get(12..at + 5)?);
    if let Some(address) = address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address);
    }
    Some((answer, name))
}

async fn names_are_found_as_a_pod_finds_them(node: Arc<Node>) -> anyhow::Result<()> {
    // As the kubelet writes it for `hostAliases`.
    let hosts = node.scratch("network-names")?.join("hosts");
    std::fs::write(
        &hosts,
        "127.0.0.1 localhost\n127.0.0.1 cache cache.example\n",
    )?;
    let names = DnsConfig {
        servers: vec!["127.0.0.1".to_owned()],
        searches: ["shop.svc.cluster.local", "svc.cluster.local"]
            .map(str::to_owned)
            .into(),
        options: vec!["ndots:5".to_owned()],
    };
    let pod = node
        .cri()
        .run_pod_with_names("names", "skiff", names)
        .await?;
    let spec = relay(&node).await?.mount_read_only(&hosts, "/etc/hosts");
    let container = pod.run(&spec).await?;
    let served = Served { pod, container };
    served.healthy(80).await?;
    let sockets = inside(&node, &served, || {
        let names = UdpSocket::bind("127.0.0.1:53")?;
        Ok((names, TcpListener::bind("127.0.0.1:0")?))
    });
    let (names, listener) = sockets.await?;
    let here = [127, 0, 0, 1];
    let metadata = [169, 254, 169, 254];
    let known = [
        ("orders.shop.svc.cluster.local.", here),
        ("far.example.", here),
        ("trap.example.", metadata),
    ];
    let names = NameServer::of(names, &known)?;
    let server = Server::of(listener, false)?;
    let port = server.address.port();
    // A Service of the namespace takes one question.
    let found = passed(&served, &format!("http://orders:{port}/")).await?;
    ensure!(found == (200, "inside".to_owned()), "{found:?}");
    let asked = names.asked();
    ensure!(asked == ["orders.shop.svc.cluster.local."], "{asked:?}");
    for name in ["cache", "cache.example", "far.example"] {
        let found = passed(&served, &format!("http://{name}:{port}/")).await?;
        ensure!(found == (200, "inside".to_owned()), "{name}: {found:?}");
    }
    let asked = names.asked();
    let aliases = asked.iter().any(|name| name.starts_with("cache"));
    ensure!(!aliases, "names of /etc/hosts were asked for: {asked:?}");
    for (name, code) in [
        ("nobody.example", "DnsError"),
        ("trap.example", "DestinationIpProhibited"),
    ] {
        let (status, text) = passed(&served, &format!("http://{name}:{port}/")).await?;
        ensure!(status == 502 && text.contains(code), "{name}: {text}");
    }
    served.end().await?;
    Ok(())
}

async fn limits_of_requests_are_the_pods(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = relay(&node).await?;
    let hasty = spec.clone().env("SKIFF_OUTBOUND_TIMEOUT", "200ms");
    let served = Served::start(&node, "hasty", &hasty).await?;
    let listener = inside(&node, &served, || Ok(TcpListener::bind("127.0.0.1:0")?));
    let silent = Server::of(listener.await?, true)?;
    let (_, text) = passed(&served, &format!("http://{}/", silent.address)).await?;
    ensure!(text.contains("ConnectionReadTimeout"), "{text}");
    served.end().await?;

    let spec = spec.env("SKIFF_MAX_OUTBOUND_CONNECTIONS", "1");
    let served = Served::start(&node, "few", &spec).await?;
    let listener = inside(&node, &served, || Ok(TcpListener::bind("127.0.0.1:0")?));
    let silent = Server::of(listener.await?, true)?;
    let url = format!("http://{}/", silent.address);
    // While one waits for the server, the next one has no connection left.
    let next = async {
        while silent.connections() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        passed(&served, &url).await
    };
    let (_, text) = tokio::select! {
        waited = passed(&served, &url) => waited?,
        refused = next => refused?,
    };
    ensure!(text.contains("ConnectionLimitReached"), "{text}");
    ensure!(silent.connections() == 1, "{}", silent.connections());
    served.container.stop(Duration::from_secs(1)).await?;
    served.pod.remove().await?;
    Ok(())
}

async fn components_of_a_pod_call_each_other(node: Arc<Node>) -> anyhow::Result<()> {
    let app = App::of_guest("relay")?.named("front").manifest(
        r#"[[trigger.http]]
route = { private = true }
component = "back"

[component.back]
source = "front.wasm"
allowed_outbound_hosts = ["http://127.0.0.1:*"]
"#,
    );
    let app = app.component("allowed_outbound_hosts = [\"http://back.spin.internal\"]");
    let image = node.app_image("chained", Kind::Spin, &app).await?;
    let spec = Kind::Spin.container("app", &image);
    let served = Served::start(&node, "chained", &spec).await?;
    let listener = inside(&node, &served, || Ok(TcpListener::bind("127.0.0.1:0")?));
    let server = Server::of(listener.await?, false)?;
    let url = format!("http://{}/", server.address);
    let found = passed(&served, &format!("http://back.spin.internal/?url={url}")).await?;
    ensure!(found == (200, "inside".to_owned()), "{found:?}");
    let (status, text) = passed(&served, &url).await?;
    ensure!(
        status == 502 && text.contains("HttpRequestDenied"),
        "{text}"
    );
    let entry = format!("add \"http://{}\"", server.address);
    served.container.wait_log(&entry, SOON).await?;
    served.end().await?;
    Ok(())
}

async fn workers_of_a_pod_count_exactly(node: Arc<Node>) -> anyhow::Result<()> {
    const ALL: usize = 200;
    let app = App::of_guest("key-value-wasi")?.component("key_value_stores = [\"default\"]");
    let image = node.app_image("counts", Kind::Spin, &app).await?;
    let spec = Kind::Spin
        .container("app", &image)
        .env("SKIFF_WORKERS", "2");
    let served = Served::start(&node, "counts", &spec).await?;
    let add = |_| async {
        let reply = served.get("/?op=increment&key=n&value=1").await?;
        let text = reply.text();
        text.parse::<usize>()
            .with_context(|| format!("it answers {text}"))
    };
    let sums = stream::iter(0..ALL).map(add).buffer_unordered(16);
    let mut sums: Vec<usize> = sums.try_collect().await?;
    sums.sort_unstable();
    ensure!(sums.iter().copied().eq(1..=ALL), "{sums:?}");
    served.end().await?;
    Ok(())
}
