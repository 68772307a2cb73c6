//! The operator's defaults for applications: they reach every pod, and no pod can read what
//! is secret in them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use skiff_suite::apps::App;
use skiff_test_support::http;

use super::deployed::ask;
use crate::cases;
use crate::harness::Case;
use crate::install::NAMESPACE;
use crate::manifests::{SKIFF, deployment, pod, service, spec, wasm};
use crate::program::{Line, Program};
use crate::space::{SOON, Space};
use crate::wait::{Look, wait_until};

/// What no pod may read.
const PASSWORD: &str = "rosebud-of-the-operator";

/// How many pods share the store.
const REPLICAS: u32 = 3;

/// Two upgrades of the installer, and a database.
const WITHIN: Duration = Duration::from_secs(900);

pub(super) fn cases() -> Vec<Case> {
    let cases = cases![replicas_share_a_store_that_only_the_operator_knows];
    let own = |case: Case| case.alone().own().within(WITHIN);
    cases.into_iter().map(own).collect()
}

async fn replicas_share_a_store_that_only_the_operator_knows(space: Space) -> anyhow::Result<()> {
    let database = Postgres::start(&space).await?;
    let clients = space.cluster().clients();
    let url = format!("--from-literal=url={}", database.url);
    let secret = [
        "create", "secret", "generic", "store", "-n", NAMESPACE, &url,
    ];
    clients.kubectl(&secret).await?;
    let before = space.cluster().helm_revision().await?;
    let store = "defaults.keyValue.type=postgres,defaults.keyValue.url.secret=store,defaults.keyValue.url.key=url";
    space.cluster().helm_upgrade(store, true).await?;
    let shared = shared(&space).await;
    // Other cases have no defaults.
    space.cluster().helm_rollback(&before).await?;
    wait_until("a node without defaults", SOON, || async {
        let file = Path::new("/var/lib/skiff/defaults.toml");
        Ok(Look::at(!file.exists(), "the node keeps them"))
    })
    .await?;
    let left = ["delete", "secret", "store", "-n", NAMESPACE];
    clients.kubectl(&left).await?;
    // The server ends when nobody is connected any more.
    let users = ["delete", "deployment/shared", "pod/nosy", "--wait"];
    space.kubectl(&users).await?;
    wait_until("the end of the store's users", SOON, || async {
        let pods = space.list(&["pods"]).await?;
        Ok(Look::at(pods.is_empty(), format!("{} pods", pods.len())))
    })
    .await?;
    let mut server = database.server;
    ensure!(
        server.stop(SOON),
        "PostgreSQL goes on: {}",
        server.last_words()
    );
    drop(server);
    shared
}

async fn shared(space: &Space) -> anyhow::Result<()> {
    let app = App::of_guest("key-value-v2")?.component("key_value_stores = [\"default\"]");
    let image = space.app("shared", &app)?;
    let spec_of = |image: &str| spec(Some(SKIFF), &[wasm("app", image)]);
    let objects = [
        deployment("shared", REPLICAS, spec_of(&image)),
        service("shared"),
        pod("nosy", spec_of(&space.guest("environment")?)),
        service("nosy"),
    ];
    space.apply(&objects).await?;
    space.rolled_out("deployment/shared", SOON).await?;
    ask(
        space.service("shared").await?,
        "/?op=set&key=seen&value=by-all",
    )
    .await?;
    let pods = space.list(&["pods", "-l", "app=shared"]).await?;
    ensure!(pods.len() == REPLICAS as usize, "{} pods", pods.len());
    for pod in &pods {
        let address = pod["status"]["podIP"].as_str().context("an address")?;
        let reply =
            http::get_until_ok(&format!("http://{address}:80/?op=get&key=seen"), SOON).await?;
        ensure!(reply.text() == "by-all", "{address}: {}", reply.text());
        let name = pod["metadata"]["name"].as_str().context("a name")?;
        told_without_the_password(space, name, pod).await?;
    }
    let seen = ask(space.service("nosy").await?, "/").await?.text();
    ensure!(!seen.contains(PASSWORD), "a guest sees {seen}");
    Ok(())
}

/// The pod's log and the node's operator are told where the store is.
async fn told_without_the_password(space: &Space, name: &str, pod: &Value) -> anyhow::Result<()> {
    let log = space.kubectl(&["logs", name]).await?;
    let table = format!("skiff_{}_default", space.name());
    let told = format!("/postgres, table {table}, from the node's defaults");
    ensure!(log.contains(&told), "the log is {log}");
    let named = format!("{}/{name}", space.name());
    let shown = Command::new("skiff")
        .args(["inspect", "--pod", &named])
        .output()?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains(&told), "`skiff inspect --pod` shows {shown}");
    for text in [log, shown, pod.to_string()] {
        ensure!(!text.contains(PASSWORD), "the password is in {text}");
    }
    Ok(())
}

/// A server on the node, with a folder of its own.
struct Postgres {
    server: Program,
    url: String,
}

impl Postgres {
    async fn start(space: &Space) -> anyhow::Result<Self> {
        let nodes = space.get(&["nodes"]).await?;
        let addresses = nodes["items"][0]["status"]["addresses"].as_array();
        let mut addresses = addresses.into_iter().flatten();
        let address = addresses.find(|address| address["type"] == "InternalIP");
        let address = address.and_then(|address| address["address"].as_str());
        let address = address.context("the node has no address")?;
        // Only this run is on its network.
        let free = TcpListener::bind((address, 0))?;
        let port = free.local_addr()?.port().to_string();
        drop(free);

        let folder = space.cluster().scratch().join("postgres");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("password"), PASSWORD)?;
        let data = folder.join("data").display().to_string();
        // It does not run as root.
        let owner = ["-R", "postgres:postgres"];
        run(Command::new("chown").args(owner).arg(&folder))?;
        let as_user = ["--reuid=postgres", "--regid=postgres", "--clear-groups"];
        let password = format!("--pwfile={}", folder.join("password").display());
        let programs = programs()?;
        run(Command::new("setpriv")
            .args(as_user)
            .arg(programs.join("initdb"))
            .args(["--no-sync", "--username=skiff", "--auth=scram-sha-256"])
            .args([&password, "--pgdata", &data]))?;
        let any = "host all all all scram-sha-256\n";
        fs::write(Path::new(&data).join("pg_hba.conf"), any)?;
        let server = programs.join("postgres").display().to_string();
        let listen = format!("listen_addresses={address}");
        let args = [
            &as_user[..],
            &[&server, "-D", &data, "-p", &port, "-c", &listen],
            &["-c", "unix_socket_directories=", "-c", "fsync=off"],
        ]
        .concat();
        let line = Line::new("postgres", Path::new("/usr/bin/setpriv"), &args);
        let server = Program::start(space.cluster().own()?.scope(), line)?;
        let host = match address.contains(':') {
            true => format!("[{address}]:{port}"),
            false => format!("{address}:{port}"),
        };
        wait_until("PostgreSQL", SOON, || async {
            let connected = tokio::net::TcpStream::connect(&host).await;
            Ok(Look::at(connected.is_ok(), server.last_words()))
        })
        .await?;
        Ok(Self {
            server,
            url: format!("postgres://skiff:{PASSWORD}@{host}/postgres"),
        })
    }
}

/// The folder of Debian's newest PostgreSQL.
fn programs() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("install postgresql")?;
    let versions = versions.map(|entry| Ok(entry?.path().join("bin")));
    let mut versions = versions.collect::<anyhow::Result<Vec<_>>>()?;
    versions.sort();
    versions.pop().context("install postgresql")
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let done = command.output().with_context(|| format!("{command:?}"))?;
    let told = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?}: {told}");
    Ok(())
}
