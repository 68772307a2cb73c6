//! The store with a real server of Redis, which is also stopped and paused.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::future::join_all;
use skiff_backend_redis::RedisKeyValue;
use skiff_backend_tls::Authorities;
use skiff_host::{KeyValueStore as _, MOST_RESULT, StoreError};

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
        self.with_prefix("", password, wait)
    }

    fn with_prefix(&self, prefix: &str, password: &str, wait: Duration) -> RedisKeyValue {
        let url = format!("redis://:{password}@127.0.0.1:{}", self.port);
        let shown = format!("redis://127.0.0.1:{}", self.port);
        RedisKeyValue::new("cache", &url, shown, prefix, wait, &Authorities::default()).unwrap()
    }

    /// Has the server do something by itself.
    async fn command(&self, command: &[&str]) {
        let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port);
        let client = redis::Client::open(url).unwrap();
        let connection = client.get_multiplexed_async_connection().await;
        let command = redis::cmd(command[0]).arg(&command[1..]).to_owned();
        command.exec_async(&mut connection.unwrap()).await.unwrap();
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
    assert_eq!(store.get("k", MOST_RESULT).await, Ok(None));
    store.set(key("k"), b"v".to_vec()).await.unwrap();
    store.set(key("empty"), vec![]).await.unwrap();
    assert_eq!(store.get("k", MOST_RESULT).await, Ok(Some(b"v".to_vec())));
    assert_eq!(store.get("empty", MOST_RESULT).await, Ok(Some(vec![])));
    assert_eq!(store.exists("k").await, Ok(true));
    assert_eq!(
        store.keys(MOST_RESULT).await,
        Ok(vec![key("empty"), key("k")])
    );
    for _ in 0..2 {
        store.delete(key("k")).await.unwrap();
    }
    assert_eq!(store.exists("k").await, Ok(false));
    let pairs = vec![(key("a"), b"1".to_vec()), (key("b"), vec![0xff])];
    store.set_many(pairs).await.unwrap();
    let found = store
        .get_many(vec![key("b"), key("k")], MOST_RESULT)
        .await
        .unwrap();
    assert_eq!(found, [(key("b"), Some(vec![0xff])), (key("k"), None)]);
    store
        .delete_many(vec![key("a"), key("b"), key("k")])
        .await
        .unwrap();
    assert_eq!(store.keys(MOST_RESULT).await, Ok(vec![key("empty")]));
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
    let now = store.get("s", MOST_RESULT).await.unwrap();
    assert_eq!(
        store.swap(key("s"), Some(vec![99]), vec![]).await,
        Ok(false)
    );
    assert_eq!(store.swap(key("s"), now, b"new".to_vec()).await, Ok(true));
    assert_eq!(store.get("s", MOST_RESULT).await, Ok(Some(b"new".to_vec())));
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
    store.get("k", MOST_RESULT).await.unwrap();
    server.signal(libc::SIGSTOP);
    let began = Instant::now();
    let all = join_all((0..10).map(|_| store.get("k", MOST_RESULT))).await;
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
    store.get("k", MOST_RESULT).await.unwrap();
}

#[tokio::test]
async fn a_server_that_was_started_again_is_found_again() {
    let mut server = Server::start();
    let store = server.ready().await;
    store.set(key("k"), b"v".to_vec()).await.unwrap();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    for _ in 0..2 {
        let failed = store.get("k", MOST_RESULT).await;
        assert!(
            matches!(&failed, Err(StoreError::Failed(why)) if why.contains("redis://127.0.0.1")),
            "{failed:?}"
        );
    }
    server.child = Server::spawn(&server.folder, server.port);
    server.ready().await;
    assert_eq!(store.get("k", MOST_RESULT).await, Ok(Some(b"v".to_vec())));
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_show_it() {
    let server = Server::start();
    server.ready().await;
    let store = server.store("swordfish", PATIENCE);
    let Err(StoreError::Failed(why)) = store.get("k", MOST_RESULT).await else {
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
            RedisKeyValue::new("cache", &url, shown, "", wait, &Authorities::default()).unwrap();
        let began = Instant::now();
        for failed in [
            store.get("k", MOST_RESULT).await.err(),
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

#[tokio::test]
async fn stores_with_different_prefixes_share_nothing() {
    let server = Server::start();
    let whole = server.ready().await;
    let shop = server.with_prefix("shop:", PASSWORD, PATIENCE);
    let odd = server.with_prefix("s*[o]?\\", PASSWORD, PATIENCE);
    for (store, value) in [(&shop, b"1"), (&odd, b"2")] {
        store.set(key("k"), value.to_vec()).await.unwrap();
        store
            .set_many(vec![(key("a"), value.to_vec())])
            .await
            .unwrap();
        assert_eq!(store.increment(key("n"), 3).await, Ok(3));
        assert_eq!(store.swap(key("s"), None, value.to_vec()).await, Ok(true));
    }
    for (store, value) in [(&shop, b"1"), (&odd, b"2")] {
        assert_eq!(store.keys(MOST_RESULT).await.unwrap(), ["a", "k", "n", "s"]);
        for name in ["a", "k", "s"] {
            let found = store.get(name, MOST_RESULT).await;
            assert_eq!(found, Ok(Some(value.to_vec())), "{name}");
        }
        let many = store
            .get_many(vec![key("k"), key("none")], MOST_RESULT)
            .await;
        let expected = [(key("k"), Some(value.to_vec())), (key("none"), None)];
        assert_eq!(many.unwrap(), expected);
    }
    shop.delete(key("k")).await.unwrap();
    shop.delete_many(vec![key("a"), key("n")]).await.unwrap();
    assert_eq!(shop.exists("k").await, Ok(false));
    assert_eq!(shop.keys(MOST_RESULT).await.unwrap(), ["s"]);
    let all = whole.keys(MOST_RESULT).await.unwrap();
    assert_eq!(all.len(), 5, "{all:?}");
    assert!(all.contains(&key("shop:s")), "{all:?}");
}

/// A number of `/proc/self/status`, in bytes.
fn memory(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.unwrap().trim_end_matches("kB").trim();
    number.parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn what_is_too_large_is_refused_without_the_memory_for_it() {
    let server = Server::start();
    let store = server.ready().await;
    for (name, mib) in [("huge", 200), ("large", 70), ("also", 70)] {
        let last = (mib << 20).to_string();
        server.command(&["SETRANGE", name, &last, "x"]).await;
    }
    let before = memory("VmRSS:");
    // From now on, the peak is counted anew.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let both = vec![key("large"), key("also")];
    for (refused, why) in [
        (
            store.get("huge", MOST_RESULT).await.err(),
            "the value has more than 134217728 bytes",
        ),
        (
            store.get("large", 8 << 20).await.err(),
            "8388608 bytes, all that the guest's memory limit leaves",
        ),
        (
            store.get("large", 1 << 10).await.err(),
            "more than 1024 bytes",
        ),
        (
            store.get_many(both, MOST_RESULT).await.err(),
            "the values have more than 134217728 bytes",
        ),
        (
            store.keys(40).await.err(),
            "its keys have more than 40 bytes",
        ),
    ] {
        let told = matches!(&refused, Some(StoreError::Refused(told)) if told.contains(why));
        assert!(told, "{why}: {refused:?}");
    }
    let peak = memory("VmHWM:");
    assert!(peak < before + (32 << 20), "{before} became {peak}");
    let value = store.get("large", MOST_RESULT).await.unwrap();
    assert_eq!(value.map(|value| value.len()), Some((70 << 20) + 1));
    // The connection ends when its task runs next.
    let given_back = async {
        while memory("VmRSS:") >= before + (32 << 20) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let given_back = tokio::time::timeout(Duration::from_secs(10), given_back).await;
    given_back.expect("the memory of a large value is given back");
}
