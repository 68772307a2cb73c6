//! The store with a real server of Redis, which is also stopped and paused.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::future::join_all;
use skiff_backend_redis::RedisKeyValue;
use skiff_backend_tls::Authorities;
use skiff_host::{KeyValueStore as _, StoreError};

const PASSWORD: &str = "hunter2";

/// Longer than a server takes to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server in a folder of its own, which ends with the test.
struct Server {
    folder: tempfile::TempDir,
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let child = Self::spawn(&folder, port);
        Server {
            folder,
            child,
            port,
        }
    }

    fn spawn(folder: &tempfile::TempDir, port: u16) -> Child {
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--requirepass", PASSWORD, "--appendonly", "yes"])
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed")
    }

    fn store(&self, password: &str, wait: Duration) -> RedisKeyValue {
        let url = format!("redis://:{password}@127.0.0.1:{}", self.port);
        let shown = format!("redis://127.0.0.1:{}", self.port);
        RedisKeyValue::new("cache", &url, shown, wait, &Authorities::default()).unwrap()
    }

    /// A store whose server takes calls.
    async fn ready(&self) -> RedisKeyValue {
        let store = self.store(PASSWORD, PATIENCE);
        let until = Instant::now() + PATIENCE;
        while let Err(error) = store.exists("k").await {
            assert!(Instant::now() < until, "{error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        store
    }

    fn signal(&self, number: i32) {
        // SAFETY: the child has not been waited for, so the process id is its own.
        unsafe { libc::kill(self.child.id() as i32, number) };
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn key(text: &str) -> String {
    text.to_owned()
}

#[tokio::test]
async fn a_store_does_what_it_says() {
    let server = Server::start();
    let store = server.ready().await;
    assert_eq!(store.get("k").await, Ok(None));
    store.set(key("k"), b"v".to_vec()).await.unwrap();
    store.set(key("empty"), vec![]).await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(b"v".to_vec())));
    assert_eq!(store.get("empty").await, Ok(Some(vec![])));
    assert_eq!(store.exists("k").await, Ok(true));
    assert_eq!(store.keys().await, Ok(vec![key("empty"), key("k")]));
    for _ in 0..2 {
        store.delete(key("k")).await.unwrap();
    }
    assert_eq!(store.exists("k").await, Ok(false));
    let pairs = vec![(key("a"), b"1".to_vec()), (key("b"), vec![0xff])];
    store.set_many(pairs).await.unwrap();
    let found = store.get_many(vec![key("b"), key("k")]).await.unwrap();
    assert_eq!(found, [(key("b"), Some(vec![0xff])), (key("k"), None)]);
    store
        .delete_many(vec![key("a"), key("b"), key("k")])
        .await
        .unwrap();
    assert_eq!(store.keys().await, Ok(vec![key("empty")]));
}

#[tokio::test]
async fn atomics_are_the_servers() {
    let server = Server::start();
    let store = server.ready().await;
    let other = server.store(PASSWORD, PATIENCE);
    let added = (0..100).map(|n| match n % 2 {
        0 => store.increment(key("n"), 1),
        _ => other.increment(key("n"), 1),
    });
    for sum in join_all(added).await {
        sum.unwrap();
    }
    assert_eq!(store.increment(key("n"), -50).await, Ok(50));
    let swaps = (0..8_u8).map(|n| store.swap(key("s"), None, vec![n]));
    let swapped = join_all(swaps).await.into_iter();
    assert_eq!(swapped.filter(|swapped| *swapped == Ok(true)).count(), 1);
    let now = store.get("s").await.unwrap();
    assert_eq!(
        store.swap(key("s"), Some(vec![99]), vec![]).await,
        Ok(false)
    );
    assert_eq!(store.swap(key("s"), now, b"new".to_vec()).await, Ok(true));
    assert_eq!(store.get("s").await, Ok(Some(b"new".to_vec())));
    let refused = store.increment(key("s"), 1).await;
    assert!(
        matches!(&refused, Err(StoreError::Refused(why)) if why.contains("`cache`")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_paused_is_waited_for_with_a_limit() {
    let server = Server::start();
    server
        .ready()
        .await
        .set(key("k"), b"v".to_vec())
        .await
        .unwrap();
    let store = server.store(PASSWORD, Duration::from_millis(300));
    store.get("k").await.unwrap();
    server.signal(libc::SIGSTOP);
    let began = Instant::now();
    let all = join_all((0..10).map(|_| store.get("k"))).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    for failed in all {
        assert!(
            matches!(&failed, Err(StoreError::Failed(why)) if why.contains("has not answered")),
            "{failed:?}"
        );
    }
    // Also one that takes the connection and says nothing.
    let failed = store.set(key("k"), vec![]).await;
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    server.signal(libc::SIGCONT);
    let store = server.ready().await;
    store.get("k").await.unwrap();
}

#[tokio::test]
async fn a_server_that_was_started_again_is_found_again() {
    let mut server = Server::start();
    let store = server.ready().await;
    store.set(key("k"), b"v".to_vec()).await.unwrap();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    for _ in 0..2 {
        let failed = store.get("k").await;
        assert!(
            matches!(&failed, Err(StoreError::Failed(why)) if why.contains("redis://127.0.0.1")),
            "{failed:?}"
        );
    }
    server.child = Server::spawn(&server.folder, server.port);
    server.ready().await;
    assert_eq!(store.get("k").await, Ok(Some(b"v".to_vec())));
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_show_it() {
    let server = Server::start();
    server.ready().await;
    let store = server.store("swordfish", PATIENCE);
    let Err(StoreError::Failed(why)) = store.get("k").await else {
        panic!("it was let in");
    };
    assert!(
        why.contains("`cache`") && why.contains("redis://127.0.0.1"),
        "{why}"
    );
    for shown in [why, format!("{store:?}")] {
        assert!(!shown.contains("swordfish"), "{shown}");
    }
}

#[tokio::test]
async fn a_server_that_is_none_of_redis_is_an_error_and_no_hang() {
    for says in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"$-7\r\n",
        b"*99999999999\r\n",
        b"\0\0\0\0",
        // A text that has no end.
        b"$9\r\nx",
        b"",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // As an answer to each thing that is sent.
                std::thread::spawn(move || {
                    while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                        let _ = stream.write_all(says);
                    }
                });
            }
        });
        let url = format!("redis://:{PASSWORD}@127.0.0.1:{port}");
        let shown = format!("redis://127.0.0.1:{port}");
        let wait = Duration::from_millis(300);
        let store =
            RedisKeyValue::new("cache", &url, shown, wait, &Authorities::default()).unwrap();
        let began = Instant::now();
        for failed in [
            store.get("k").await.err(),
            store.set(key("k"), vec![]).await.err(),
        ] {
            let Some(StoreError::Failed(why)) = failed else {
                panic!("{says:?}: {failed:?}");
            };
            assert!(why.contains("`cache`") && !why.contains(PASSWORD), "{why}");
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{says:?}");
    }
}
