//! A real server of PostgreSQL, in a folder of its own.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use skiff_backend_postgres::PostgresKeyValue;
use skiff_backend_tls::Authorities;
use skiff_host::KeyValueStore as _;

pub(crate) const PASSWORD: &str = "hunter2";

/// Longer than a server takes to start.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server in a folder of its own, which ends with the test.
pub(crate) struct Server {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) child: Child,
    pub(crate) port: u16,
}

/// The folder of the newest version that is installed.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut versions: Vec<_> = versions.map(|entry| entry.unwrap().path()).collect();
    versions.sort();
    versions.pop().expect("a version").join("bin")
}

/// PostgreSQL refuses to run as root, so then it is its own user.
pub(crate) fn user() -> Option<(u32, u32)> {
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let user = users.lines().find(|line| line.starts_with("postgres:"));
    let mut ids = user.expect("the user of PostgreSQL").split(':').skip(2);
    let mut id = || ids.next().unwrap().parse().unwrap();
    Some((id(), id()))
}

fn program(name: &str) -> Command {
    let mut command = Command::new(programs().join(name));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    if let Some((user, group)) = user() {
        command.uid(user).gid(group);
    }
    command
}

impl Server {
    pub(crate) fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        if let Some((user, group)) = user() {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let mut made = program("initdb");
        made.args(["--no-sync", "--username=skiff", "--auth=scram-sha-256"]);
        made.arg("--pwfile").arg(&password);
        made.arg("--pgdata").arg(folder.path().join("data"));
        assert!(made.current_dir(folder.path()).status().unwrap().success());
        let child = Self::spawn(folder.path(), port);
        Server {
            folder,
            child,
            port,
        }
    }

    pub(crate) fn spawn(folder: &Path, port: u16) -> Child {
        let mut server = program("postgres");
        server.arg("-D").arg(folder.join("data"));
        server.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        server.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
        server.current_dir(folder).spawn().unwrap()
    }

    pub(crate) fn store(&self, label: &str, password: &str, wait: Duration) -> PostgresKeyValue {
        let url = format!(
            "postgres://skiff:{password}@127.0.0.1:{}/postgres",
            self.port
        );
        let shown = format!("postgres://127.0.0.1:{}/postgres", self.port);
        PostgresKeyValue::new(label, &url, shown, None, wait, &Authorities::default()).unwrap()
    }

    /// A store whose server takes calls.
    pub(crate) async fn ready(&self, label: &str) -> PostgresKeyValue {
        let store = self.store(label, PASSWORD, PATIENCE);
        let until = Instant::now() + PATIENCE;
        while let Err(error) = store.exists("k").await {
            assert!(Instant::now() < until, "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        store
    }

    /// Has the server do something by itself.
    pub(crate) async fn execute(&self, statement: &str) {
        let port = self.port;
        let url = format!("postgres://skiff:{PASSWORD}@127.0.0.1:{port}/postgres");
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        client.batch_execute(statement).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
    }

    /// Signals the server's first process, and those of its connections.
    pub(crate) fn signal(&self, number: i32) {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let children = children.split_whitespace().map(|id| id.parse().unwrap());
        for process in children.chain([id as i32]) {
            // SAFETY: the server has not been waited for, so the processes are its own.
            unsafe { libc::kill(process, number) };
        }
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        // The other processes end with the first.
        self.signal(libc::SIGCONT);
        self.signal(libc::SIGQUIT);
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}
