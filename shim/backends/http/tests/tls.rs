//! Requests over TLS, to servers whose certificates are right or wrong in every way.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use skiff_backend_http::{Client, ClientTls, Settings};
use skiff_backend_tls::{Authorities, Tls, told};
use support::{code, get};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A server's own side, which asks for no certificate.
fn config(certificate: &Certificate, key: &KeyPair) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap()
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate for `name`; counts its connections and says which version
/// of HTTP a request had.
async fn server(
    authority: &Authority,
    name: &str,
    expired: bool,
    http2: bool,
    asks: bool,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let mut config = config(&certificate, &key);
    if asks {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_client_cert_verifier(verifier.build().unwrap())
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
                )
                .unwrap();
    }
    if http2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, SeqCst);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service =
                    service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                        let host = match request.uri().authority() {
                            Some(authority) => authority.to_string(),
                            None => request.headers()["host"].to_str().unwrap().to_owned(),
                        };
                        let text = format!("{:?} {host}", request.version());
                        // More than a client takes, also if it reads much at once.
                        let large = match request.uri().path() {
                            "/large" => "y".repeat(400_000),
                            _ => String::new(),
                        };
                        let response = http::Response::builder().header("x-large", large);
                        response.body(Full::new(Bytes::from(text)))
                    });
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, connections)
}

/// A client that trusts an authority by a file, as `SSL_CERT_FILE` names it.
fn trusting(authority: &Authority, folder: &tempfile::TempDir) -> Client {
    Client::new(trusts(authority, folder))
}

fn trusts(authority: &Authority, folder: &tempfile::TempDir) -> Settings {
    let file = folder.path().join("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    Settings {
        authorities: Authorities {
            first_of: vec![folder.path().join("not there"), file],
            ..Authorities::default()
        },
        ..Settings::default()
    }
}

#[tokio::test]
async fn an_authority_of_a_file_is_trusted_and_a_connection_is_used_again() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let client = trusting(&authority, &folder);
    for (http2, version) in [(false, "HTTP/1.1"), (true, "HTTP/2.0")] {
        let (address, connections) = server(&authority, "localhost", false, http2, false).await;
        let port = address.port();
        for _ in 0..10 {
            let got = get(&client, &format!("https://localhost:{port}/"))
                .await
                .unwrap();
            assert_eq!(got.body, format!("{version} localhost:{port}"));
        }
        assert_eq!(connections.load(SeqCst), 1, "{version}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_for_http_2_is_an_error() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let client = trusting(&authority, &folder);
    for (http2, expected) in [
        (true, "HttpProtocolError"),
        (false, "HttpResponseHeaderSectionSize"),
    ] {
        let (address, _) = server(&authority, "localhost", false, http2, false).await;
        let url = format!("https://localhost:{}/large", address.port());
        assert_eq!(code(get(&client, &url).await), expected);
    }
}

#[tokio::test]
async fn at_the_limit_an_idle_connection_gives_way_to_another_server() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let client = Client::new(Settings {
        connections: 1,
        ..trusts(&authority, &folder)
    });
    for http2 in [true, false, true] {
        let (address, _) = server(&authority, "localhost", false, http2, false).await;
        let url = format!("https://localhost:{}/", address.port());
        assert_eq!(get(&client, &url).await.unwrap().status, 200, "{http2}");
    }
}

#[tokio::test]
async fn an_address_is_a_name_like_any_other() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let (address, _) = server(&authority, "127.0.0.1", false, false, false).await;
    let client = trusting(&authority, &folder);
    assert_eq!(
        get(&client, &format!("https://{address}/"))
            .await
            .unwrap()
            .status,
        200
    );
}

#[tokio::test]
async fn a_wrong_certificate_is_no_connection() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let trusting = trusting(&authority, &folder);
    let unknown = Client::new(Settings {
        authorities: Authorities::default(),
        ..Settings::default()
    });
    for (what, name, expired, client) in [
        ("another name", "example.com", false, &trusting),
        ("an expired one", "localhost", true, &trusting),
        ("an unknown authority", "localhost", false, &unknown),
    ] {
        let (address, _) = server(&authority, name, expired, false, false).await;
        let got = get(client, &format!("https://localhost:{}/", address.port())).await;
        assert_eq!(code(got), "TlsProtocolError", "{what}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_an_error_of_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            answer.expect("the client reads");
        }
    });
    let got = get(&support::client(), &format!("https://{address}/")).await;
    assert_eq!(code(got), "TlsProtocolError");
}

#[tokio::test]
async fn a_folder_of_authorities_is_read() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("0.pem"), "not a certificate").unwrap();
    fs::write(folder.path().join("1.pem"), authority.pem()).unwrap();
    let client = Client::new(Settings {
        authorities: Authorities {
            all_in: vec![folder.path().to_owned(), folder.path().join("missing")],
            ..Authorities::default()
        },
        ..Settings::default()
    });
    let (address, _) = server(&authority, "localhost", false, false, false).await;
    let url = format!("https://localhost:{}/", address.port());
    assert_eq!(get(&client, &url).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_component_proves_who_it_is_where_a_rule_says_so() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let file = |name: &str, text: String| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let rule = ClientTls {
        components: ["test".to_owned()].into(),
        hosts: ["localhost".to_owned()].into(),
        tls: skiff_backend_tls::Settings {
            built_in: false,
            client: Some((
                file("client.pem", certificate.pem()),
                file("key.pem", key.serialize_pem()),
            )),
            ..skiff_backend_tls::Settings::new(Authorities {
                all_of: vec![file("ca.pem", authority.pem())],
                ..Authorities::default()
            })
        },
    };
    let with = |rule: ClientTls| {
        Client::new(Settings {
            client_tls: vec![rule],
            authorities: Authorities {
                first_of: vec![folder.path().join("ca.pem")],
                ..Authorities::default()
            },
            ..Settings::default()
        })
    };
    let (address, _) = server(&authority, "localhost", false, false, true).await;
    let url = format!("https://localhost:{}/", address.port());
    assert_eq!(get(&with(rule.clone()), &url).await.unwrap().status, 200);
    for (what, wrong) in [
        (
            "another component",
            ClientTls {
                components: ["other".to_owned()].into(),
                ..rule.clone()
            },
        ),
        (
            "another host",
            ClientTls {
                hosts: ["other".to_owned()].into(),
                ..rule.clone()
            },
        ),
        (
            "no authority",
            ClientTls {
                tls: skiff_backend_tls::Settings {
                    authorities: Authorities::default(),
                    ..rule.tls.clone()
                },
                ..rule.clone()
            },
        ),
        (
            "no key",
            ClientTls {
                tls: skiff_backend_tls::Settings {
                    client: Some((
                        folder.path().join("client.pem"),
                        folder.path().join("ca.pem"),
                    )),
                    ..rule.tls.clone()
                },
                ..rule
            },
        ),
    ] {
        let code = code(get(&with(wrong), &url).await);
        // TLS 1.3 tells after the handshake that a certificate is missing.
        assert!(
            matches!(code.as_str(), "TlsProtocolError" | "HttpProtocolError"),
            "{what}: {code}"
        );
    }
}

#[tokio::test]
async fn a_certificate_of_a_client_that_is_of_no_use_is_told_with_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let params = || CertificateParams::new(vec!["client".to_owned()]).unwrap();
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = params().self_signed(&key).unwrap();
    let certificate = file("client.pem", &certificate.pem());
    let other = file("other.pem", &other.serialize_pem());
    let key = file("key.pem", &key.serialize_pem());
    let empty = file("empty.pem", "");
    for (certificate, key, expected) in [
        (
            &certificate,
            &other,
            "other.pem does not fit the first certificate in ",
        ),
        (&empty, &key, "empty.pem: there is no certificate in it"),
        (&certificate, &empty, "empty.pem: "),
        (&folder.path().join("none.pem"), &key, "none.pem: "),
    ] {
        let mut settings = skiff_backend_tls::Settings::new(Authorities::default());
        settings.client = Some((certificate.clone(), key.clone()));
        let error = told(&Tls::new(settings).connector().await.unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_server_whose_certificate_is_an_authority_is_told_what_it_needs() {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config(&certificate, &key)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.map(drop)
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, certificate.pem()).unwrap();
    let tls = Tls::new(skiff_backend_tls::Settings::new(Authorities {
        all_of: vec![file],
        ..Authorities::default()
    }));
    let stream = TcpStream::connect(address).await.unwrap();
    let error = tls.connect("localhost", stream).await.unwrap_err();
    let error = told(&error);
    assert!(error.contains("is that of an authority"), "{error}");
}
