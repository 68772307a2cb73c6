//! The store with a real server of Redis over TLS, with certificates that are right or wrong
//! in every way.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use skiff_backend_redis::RedisKeyValue;
use skiff_backend_tls::Authorities;
use skiff_host::{KeyValueStore as _, MOST_RESULT, StoreError};

const PASSWORD: &str = "hunter2";

/// Longer than a server takes to start.
const PATIENCE: Duration = Duration::from_secs(30);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate, which ends with the test.
struct Server {
    folder: tempfile::TempDir,
    child: Child,
    port: u16,
}

impl Server {
    fn start(authority: &Authority, name: &str, expired: bool) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        let file = |name: &str, text: String| {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            file
        };
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", "0", "--save", ""])
            .args(["--requirepass", PASSWORD, "--tls-auth-clients", "no"])
            .args(["--tls-port", &port.to_string(), "--tls-cert-file"])
            .arg(file("server.pem", certificate.pem()))
            .arg("--tls-key-file")
            .arg(file("server.key", key.serialize_pem()))
            .arg("--tls-ca-cert-file")
            .arg(file("ca.pem", authority.pem()))
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let server = Server {
            folder,
            child,
            port,
        };
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn authorities(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn store(&self, host: &str, password: &str, authorities: Option<&Path>) -> RedisKeyValue {
        let url = format!("rediss://:{password}@{host}:{}/1", self.port);
        let shown = format!("rediss://{host}:{}/1", self.port);
        let authorities = Authorities {
            first_of: authorities.into_iter().map(Path::to_owned).collect(),
            ..Authorities::default()
        };
        RedisKeyValue::new("cache", &url, shown, "", PATIENCE, &authorities).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn a_server_that_proves_its_name_is_spoken_to() {
    let server = Server::start(&authority(), "localhost", false);
    let file = server.authorities();
    let store = server.store("localhost", PASSWORD, Some(&file));
    store.set("k".to_owned(), b"v".to_vec()).await.unwrap();
    assert_eq!(store.get("k", MOST_RESULT).await, Ok(Some(b"v".to_vec())));
    let large = vec![7; 3 << 20];
    store.set("large".to_owned(), large.clone()).await.unwrap();
    assert_eq!(store.get("large", MOST_RESULT).await, Ok(Some(large)));
    let wrong = server.store("localhost", "swordfish", Some(&file));
    let failed = wrong.get("k", MOST_RESULT).await.unwrap_err().to_string();
    assert!(failed.contains("rediss://localhost"), "{failed}");
    assert!(!failed.contains("swordfish"), "{failed}");
}

#[tokio::test]
async fn a_server_that_does_not_is_told_with_the_reason() {
    let authority = authority();
    for (name, expired, trusted, reason) in [
        ("other.test", false, true, "is for another name"),
        ("localhost", true, true, "has expired"),
        ("localhost", false, false, "authority that is not trusted"),
    ] {
        let server = Server::start(&authority, name, expired);
        let file = server.authorities();
        let store = server.store("localhost", PASSWORD, trusted.then_some(&*file));
        for _ in 0..2 {
            let Err(StoreError::Failed(why)) = store.get("k", MOST_RESULT).await else {
                panic!("it was spoken to: {reason}");
            };
            for part in ["`cache`", "`rediss://localhost:", reason] {
                assert!(why.contains(part), "{part} is not in {why}");
            }
            assert!(!why.contains(PASSWORD), "{why}");
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = stream.try_write(b"-ERR unknown command\r\n");
            assert!(answer.is_ok(), "{answer:?}");
            tokio::time::sleep(PATIENCE).await;
        }
    });
    let url = format!("rediss://:{PASSWORD}@127.0.0.1:{port}");
    let authorities = Authorities::default();
    let store = RedisKeyValue::new(
        "cache",
        &url,
        "shown".to_owned(),
        "",
        PATIENCE,
        &authorities,
    );
    let failed = store
        .unwrap()
        .get("k", MOST_RESULT)
        .await
        .unwrap_err()
        .to_string();
    assert!(failed.contains("does not speak TLS"), "{failed}");
    let refused = RedisKeyValue::new(
        "cache",
        "rediss://:hunter2@h/#insecure",
        "shown".to_owned(),
        "",
        PATIENCE,
        &authorities,
    );
    let refused = refused.unwrap_err();
    assert!(
        refused.contains("always checked") && !refused.contains(PASSWORD),
        "{refused}"
    );
}
