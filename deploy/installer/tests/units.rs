//! Restarting units, against something that talks like systemd does on its own
//! socket: a unit that takes a while, one that fails, and jobs that are gone when
//! they are done.

use std::os::unix::net::UnixListener as StdListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use skiff_installer::host::Host;
use skiff_installer::systemd::{SystemdError, restart_first};
use tokio::net::UnixListener;
use zbus::object_server::ObjectServer;
use zbus::{Guid, OwnedObjectPath, connection, fdo, interface};

const JOB: &str = "/org/freedesktop/systemd1/job/1";

/// How long a restart takes.
const RESTART: Duration = Duration::from_millis(300);

/// What happened to the units.
type Log = Arc<Mutex<Vec<String>>>;

struct Manager {
    log: Log,
}

struct Unit {
    state: &'static str,
}

struct Job;

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum Refusal {
    #[zbus(error)]
    Bus(zbus::Error),
    NoSuchUnit(String),
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn get_unit(&self, name: &str) -> Result<OwnedObjectPath, Refusal> {
        if !["k3s.service", "k3s-agent.service", "broken.service"].contains(&name) {
            let text = format!("Unit {name} not loaded.");
            return Err(Refusal::NoSuchUnit(text));
        }
        let id = name.replace(['-', '.'], "_");
        let path = format!("/org/freedesktop/systemd1/unit/{id}");
        Ok(path.try_into().expect("a path"))
    }

    async fn restart_unit(
        &self,
        name: &str,
        mode: &str,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> fdo::Result<OwnedObjectPath> {
        assert_eq!(mode, "replace");
        self.log.lock().expect("no panic").push(name.to_owned());
        server.at(JOB, Job).await.expect("a new job");
        let server = server.clone();
        let fails = name == "broken.service";
        tokio::spawn(async move {
            tokio::time::sleep(RESTART).await;
            if fails {
                let unit = "/org/freedesktop/systemd1/unit/broken_service";
                let unit = server.interface::<_, Unit>(unit).await.expect("a unit");
                unit.get_mut().await.state = "failed";
            }
            server.remove::<Job, _>(JOB).await.expect("the job");
        });
        Ok(JOB.try_into().expect("a path"))
    }
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn active_state(&self) -> &str {
        self.state
    }
}

#[interface(name = "org.freedesktop.systemd1.Job")]
impl Job {
    #[zbus(property)]
    fn state(&self) -> &str {
        "running"
    }
}

/// A node with such a systemd.
struct Systemd {
    _folder: tempfile::TempDir,
    host: Host,
    log: Log,
}

impl Systemd {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("run/systemd/private");
        std::fs::create_dir_all(socket.parent().expect("a folder")).expect("made");
        let listener = StdListener::bind(socket).expect("bound");
        listener.set_nonblocking(true).expect("set");
        let listener = UnixListener::from_std(listener).expect("a listener");
        let log = Log::default();
        tokio::spawn(serve(listener, Arc::clone(&log)));
        let host = Host::new(folder.path());
        Self {
            _folder: folder,
            host,
            log,
        }
    }

    async fn restart(&self, units: &[&str]) -> Result<(), SystemdError> {
        restart_first(&self.host, units).await
    }
}

async fn serve(listener: UnixListener, log: Log) {
    let mut open = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        let unit = |name: &str| format!("/org/freedesktop/systemd1/unit/{name}");
        let log = Arc::clone(&log);
        let connection = connection::Builder::unix_stream(stream.into_std().expect("a stream"))
            .server(Guid::generate())
            .p2p()
            .serve_at("/org/freedesktop/systemd1", Manager { log })
            .serve_at(unit("k3s_service"), Unit { state: "inactive" })
            .serve_at(unit("k3s_agent_service"), Unit { state: "active" })
            .serve_at(unit("broken_service"), Unit { state: "active" })
            .build();
        open.push(connection.await.expect("a connection"));
    }
}

#[tokio::test]
async fn the_unit_that_is_active_is_restarted_and_waited_for() {
    let systemd = Systemd::start();
    let began = Instant::now();
    let units = ["k3s.service", "k3s-agent.service"];
    systemd.restart(&units).await.expect("restarted");
    assert!(began.elapsed() >= RESTART, "the job is not waited for");
    assert_eq!(
        *systemd.log.lock().expect("no panic"),
        ["k3s-agent.service"]
    );
}

#[tokio::test]
async fn a_unit_that_does_not_start_is_told() {
    let systemd = Systemd::start();
    let error = systemd.restart(&["broken.service"]).await;
    let error = error.expect_err("it fails").to_string();
    assert!(
        error.starts_with("broken.service did not start: it is failed"),
        "{error}"
    );
}

#[tokio::test]
async fn units_that_are_not_there_are_named() {
    let systemd = Systemd::start();
    let error = systemd.restart(&["k3s.service", "other.service"]).await;
    let error = error.expect_err("none is active").to_string();
    assert_eq!(
        error,
        "none of these units is active: k3s.service, other.service"
    );
}

#[tokio::test]
async fn a_node_without_systemd_is_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = restart_first(&Host::new(folder.path()), &["containerd.service"]).await;
    let error = error.expect_err("nobody listens");
    assert!(matches!(error, SystemdError::Unreachable { .. }), "{error}");
}
