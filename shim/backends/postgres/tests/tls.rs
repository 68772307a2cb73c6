//! The store with a real server of PostgreSQL over TLS, with certificates that are right or
//! wrong in every way.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use skiff_backend_postgres::PostgresKeyValue;
use skiff_backend_tls::Authorities;
use skiff_host::{KeyValueStore as _, MOST_RESULT, StoreError};
use support::{PASSWORD, PATIENCE, Server, user};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Gives a server a certificate for a name; it takes it with its next start, and then lets
/// nobody in without TLS.
fn certify(folder: &Path, authority: &Authority, name: &str, expired: bool) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let data = folder.join("data");
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    for (name, text) in [
        ("server.crt", certificate.pem()),
        ("server.key", key.serialize_pem()),
        ("postgresql.auto.conf", "ssl = on\n".to_owned()),
        (
            "pg_hba.conf",
            "hostssl all all 127.0.0.1/32 scram-sha-256\n".to_owned(),
        ),
    ] {
        let file = data.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = user() {
            chown(&file, Some(user), Some(group)).unwrap();
        }
    }
}

fn store(server: &Server, host: &str, mode: &str, trusted: bool) -> PostgresKeyValue {
    let port = server.port;
    let url = format!("postgres://skiff:{PASSWORD}@{host}:{port}/postgres{mode}");
    let shown = format!("postgres://{host}:{port}/postgres");
    let file = trusted.then(|| server.folder.path().join("ca.pem"));
    let authorities = Authorities {
        first_of: file.into_iter().collect(),
        ..Authorities::default()
    };
    PostgresKeyValue::new("default", &url, shown, None, PATIENCE, &authorities).unwrap()
}

/// Waits until a server takes calls, with TLS or without.
async fn ready(server: &Server) {
    let store = store(server, "localhost", "", false);
    let until = Instant::now() + PATIENCE;
    while let Err(error) = store.exists("k").await {
        assert!(Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn refused(server: &Server, host: &str, mode: &str, trusted: bool, reason: &str) {
    let store = store(server, host, mode, trusted);
    for _ in 0..2 {
        let Err(StoreError::Failed(why)) = store.get("k", MOST_RESULT).await else {
            panic!("{mode} was let in: {reason}");
        };
        for part in ["`default`", &format!("`postgres://{host}:"), reason] {
            assert!(why.contains(part), "{part} is not in {why}");
        }
        assert!(!why.contains(PASSWORD), "{why}");
    }
}

/// Starts it again, with a certificate for `localhost`.
async fn again(server: &mut Server, authority: &Authority, expired: bool) {
    server.kill();
    certify(server.folder.path(), authority, "localhost", expired);
    server.child = Server::spawn(server.folder.path(), server.port);
    ready(server).await;
}

async fn works(server: &Server, host: &str, mode: &str, trusted: bool) {
    let store = store(server, host, mode, trusted);
    let value = Ok(Some(b"v".to_vec()));
    store.set("k".to_owned(), b"v".to_vec()).await.unwrap();
    assert_eq!(store.get("k", MOST_RESULT).await, value, "{mode}");
}

#[tokio::test]
async fn each_mode_checks_what_it_says() {
    const REQUIRE: &str = "?sslmode=require";
    const FULL: &str = "?sslmode=verify-full";
    const CHAIN: &str = "?sslmode=verify-ca";
    const NAME: &str = "is for another name";
    const UNKNOWN: &str = "authority that is not trusted";
    let mut server = Server::start();
    // Without TLS, as long as it has no certificate.
    ready(&server).await;
    for mode in ["", "?sslmode=prefer", "?sslmode=disable"] {
        works(&server, "localhost", mode, false).await;
    }
    for mode in [REQUIRE, CHAIN, FULL] {
        refused(&server, "localhost", mode, true, "does not support TLS").await;
    }
    let authority = authority();
    again(&mut server, &authority, false).await;
    for mode in ["", "?sslmode=prefer", REQUIRE, CHAIN, FULL] {
        works(&server, "localhost", mode, true).await;
    }
    let ca = server.folder.path().join("ca.pem");
    let own = format!("?sslmode=verify-full&sslrootcert={}", ca.display());
    works(&server, "localhost", &own, false).await;
    let missing = format!("{FULL}&sslrootcert=/nowhere/ca.pem");
    refused(&server, "localhost", &missing, true, UNKNOWN).await;
    works(&server, "127.0.0.1", CHAIN, true).await;
    works(&server, "127.0.0.1", "?sslmode=prefer", false).await;
    refused(&server, "127.0.0.1", REQUIRE, true, NAME).await;
    refused(&server, "127.0.0.1", FULL, true, NAME).await;
    for mode in [REQUIRE, CHAIN, FULL] {
        refused(&server, "localhost", mode, false, UNKNOWN).await;
    }
    refused(
        &server,
        "localhost",
        "?sslmode=disable",
        true,
        "no encryption",
    )
    .await;
    again(&mut server, &authority, true).await;
    for mode in [REQUIRE, CHAIN, FULL] {
        refused(&server, "localhost", mode, true, "has expired").await;
    }
}
