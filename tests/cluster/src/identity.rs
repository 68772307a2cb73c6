//! The identities of the cluster: certificates, tokens, and their files.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::addresses::Addresses;
use crate::control::{NODE_NAME, SERVER_PORT};
use crate::places::write;

/// A user of the server: a name for files, a user, a group.
const USERS: [(&str, &str, &str); 5] = [
    ("admin", "admin", "system:masters"),
    (
        "controller-manager",
        "system:kube-controller-manager",
        "system:authenticated",
    ),
    ("scheduler", "system:kube-scheduler", "system:authenticated"),
    ("proxy", "system:kube-proxy", "system:authenticated"),
    ("kubelet", "system:node:node-1", "system:nodes"),
];

/// The files of a cluster's identities, in one folder.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    folder: PathBuf,
}

impl Identity {
    /// Makes a certificate authority, a server certificate, a client certificate of the
    /// server for aggregated servers, a key pair for service accounts, and a token for
    /// each user.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub(crate) fn make(folder: &Path, addresses: &Addresses) -> anyhow::Result<Self> {
        let identity = Self {
            folder: folder.to_owned(),
        };
        let authority = Authority::new()?;
        write(identity.authority(), &authority.pem)?;
        for (name, alternatives) in [
            ("server", server_names(addresses)),
            ("front-proxy", Vec::new()),
        ] {
            let (certificate, key) = authority.issue(name, alternatives)?;
            write(identity.certificate(name), &certificate)?;
            write(identity.key(name), &key)?;
        }
        let accounts = KeyPair::generate()?;
        write(identity.key("accounts"), &accounts.serialize_pem())?;
        write(identity.accounts_public(), &accounts.public_key_pem())?;

        let secret = KeyPair::generate()?.serialize_pem();
        let mut tokens = String::new();
        let server = SocketAddr::new(addresses.node.parse()?, SERVER_PORT);
        for (name, user, group) in USERS {
            let token = hex::encode(Sha256::digest(format!("{name} {secret}")));
            tokens.push_str(&format!("{token},{user},{name},\"{group}\"\n"));
            write(
                identity.kubeconfig(name),
                &kubeconfig(&identity, server, &token),
            )?;
        }
        write(identity.tokens(), &tokens)?;
        debug_assert!(USERS.iter().any(|(_, user, _)| user.ends_with(NODE_NAME)));
        Ok(identity)
    }

    /// The certificate of the authority.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.join("authority.crt")
    }

    /// A certificate by its name.
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.crt"))
    }

    /// The key of a certificate by its name.
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.key"))
    }

    /// The key that verifies tokens of service accounts.
    pub(crate) fn accounts_public(&self) -> PathBuf {
        self.folder.join("accounts.pub")
    }

    /// The server's list of tokens.
    pub(crate) fn tokens(&self) -> PathBuf {
        self.folder.join("tokens.csv")
    }

    /// A user's kubeconfig.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.join(format!("{user}.kubeconfig"))
    }
}

/// A certificate for a server, its key, and the authority that clients trust; all PEM.
#[derive(Debug)]
pub(crate) struct Certified {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Certified {
    /// For a server of that DNS name, signed by a new authority.
    ///
    /// # Errors
    ///
    /// When it is not a DNS name.
    pub(crate) fn server(name: &str) -> anyhow::Result<Self> {
        let authority = Authority::new()?;
        let names = vec![SanType::DnsName(name.try_into()?)];
        let (certificate, key) = authority.issue(name, names)?;
        Ok(Self {
            authority: authority.pem,
            certificate,
            key,
        })
    }
}

/// The names and addresses of the server.
fn server_names(addresses: &Addresses) -> Vec<SanType> {
    let addresses = ["127.0.0.1", addresses.node, addresses.server]
        .into_iter()
        .filter_map(|text| text.parse::<IpAddr>().ok())
        .map(SanType::IpAddress);
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let names = names
        .into_iter()
        .filter_map(|name| name.try_into().ok())
        .map(SanType::DnsName);
    addresses.chain(names).collect()
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = named("skiff-cluster");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).context("the authority")?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, pem })
    }

    fn issue(&self, name: &str, alternatives: Vec<SanType>) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = named(name);
        params.subject_alt_names = alternatives;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).context("signing")?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// JSON is YAML as well.
fn kubeconfig(identity: &Identity, server: SocketAddr, token: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "skiff",
        "contexts": [{ "name": "skiff", "context": { "cluster": "skiff", "user": "skiff" } }],
        "clusters": [{ "name": "skiff", "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority": identity.authority(),
        } }],
        "users": [{ "name": "skiff", "user": { "token": token } }],
    })
    .to_string()
}
