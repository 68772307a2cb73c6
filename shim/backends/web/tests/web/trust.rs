//! Servers over TLS whose authority the pod names, or does not.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use skiff_backend_web::{Client, VaultSecrets};
use skiff_host::{ProviderError, VariablesProvider as _};
use skiff_manifest::runtime::{self, VariablesProvider};

use crate::server::{Does, Server};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A Vault that has each secret.
fn vault(authority: &Authority, name: &str, expired: bool) -> Server {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        );
    Server::over_tls(Arc::new(config.unwrap()), |_| {
        Does::Answer(200, br#"{"data":{"data":{"value":"hunter2"}}}"#.to_vec())
    })
}

/// Asks a Vault as a pod that trusts an authority, or those of browsers.
fn ask(server: &Server, trusts: Option<&Authority>) -> Result<Option<String>, ProviderError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let file = trusts.map(|authority| {
        std::fs::write(&file, authority.pem()).unwrap();
        file.path()
    });
    let text = format!(
        "[[variables_provider]]\ntype = 'vault'\nurl = '{}'\ntoken = 's3cret'\nmount = 'kv'",
        server.url
    );
    let config = runtime::read(&text, "runtime-config.toml").unwrap();
    let Some(VariablesProvider::Vault(vault)) = config.variables_providers.into_iter().next()
    else {
        panic!("it is Vault");
    };
    let secrets = VaultSecrets::new(Client::new(file).unwrap(), vault);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(secrets.ask(&"db_pass".parse().unwrap()))
}

#[test]
fn an_authority_that_the_pod_names_is_trusted() {
    let authority = authority("ours");
    let server = vault(&authority, "localhost", false);
    let value = ask(&server, Some(&authority));
    assert_eq!(value, Ok(Some("hunter2".to_owned())));
}

#[test]
fn what_is_wrong_with_a_certificate_is_told() {
    let (ours, other) = (authority("ours"), authority("other"));
    for (name, expired, trusts, reason) in [
        (
            "localhost",
            false,
            None,
            "an authority that is not trusted; a file of further authorities can be named in SSL_CERT_FILE",
        ),
        (
            "localhost",
            false,
            Some(&other),
            "an authority that is not trusted",
        ),
        ("localhost", true, Some(&ours), "has expired"),
        ("vault.test", false, Some(&ours), "for another name"),
    ] {
        let server = vault(&ours, name, expired);
        let error = ask(&server, trusts).unwrap_err().to_string();
        let expected = format!("Vault `{}`: the server's certificate", server.url);
        assert!(
            error.starts_with(&expected) && error.contains(reason),
            "{error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
        assert!(server.requests().is_empty(), "it was asked for {reason}");
    }
}
