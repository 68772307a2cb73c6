//! Addresses of names, as the pod's `resolv.conf` and `hosts` say. Answers of name servers
//! are kept as long as they allow, and the files are read again when they have changed.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, Resolver, TokioResolver};
use skiff_host::HttpError;

use crate::Settings;
use crate::faults;

/// How often to look whether the files have changed.
const LOOK: Duration = Duration::from_secs(1);

/// Queries at once on a connection to a name server.
const QUERIES: usize = 512;

/// The kind of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

#[derive(Debug)]
pub(crate) struct Book {
    name_servers: PathBuf,
    port: u16,
    hosts: PathBuf,
    read: Mutex<Option<Read>>,
}

/// What the files said when they were read.
#[derive(Debug)]
struct Read {
    looked: Instant,
    stamps: [Option<Stamp>; 2],
    pages: Arc<Pages>,
}

#[derive(Debug)]
struct Pages {
    hosts: Hosts,
    resolver: TokioResolver,
}

/// Changes when a file does; a mounted file is replaced by renaming.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            inode: metadata.ino(),
        })
    }
}

impl Book {
    pub(crate) fn new(settings: &Settings) -> Self {
        Book {
            name_servers: settings.name_servers.clone(),
            port: settings.name_server_port,
            hosts: settings.hosts.clone(),
            read: Mutex::default(),
        }
    }

    /// The addresses of one family of a name; none if it has none.
    ///
    /// # Errors
    /// If no name server answers, or they cannot.
    pub(crate) async fn addresses(
        &self,
        name: &str,
        family: Family,
    ) -> Result<Vec<IpAddr>, HttpError> {
        let Ok(name) = Name::from_utf8(name) else {
            return Ok(Vec::new());
        };
        Ok(self.find(name, family).await?.addresses)
    }

    /// The addresses of both families of a name; none if it has none.
    ///
    /// # Errors
    /// If no name server answers, or they cannot.
    pub(crate) async fn all_addresses(&self, name: &str) -> Result<Vec<IpAddr>, HttpError> {
        let Ok(name) = Name::from_utf8(name) else {
            return Ok(Vec::new());
        };
        match self.find(name.clone(), Family::V4).await {
            // In other search domains there may be another machine.
            Ok(found) if !found.addresses.is_empty() => {
                let v6 = self.find(found.whole, Family::V6).await;
                let v6 = v6.map(|found| found.addresses).unwrap_or_default();
                Ok([found.addresses, v6].concat())
            }
            Err(HttpError::DnsTimeout) => Err(HttpError::DnsTimeout),
            Ok(_) => Ok(self.find(name, Family::V6).await?.addresses),
            Err(error) => match self.find(name, Family::V6).await {
                Ok(found) if !found.addresses.is_empty() => Ok(found.addresses),
                _ => Err(error),
            },
        }
    }

    async fn find(&self, name: Name, family: Family) -> Result<Found, HttpError> {
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        let pages = self.pages().map_err(|error| {
            tracing::error!(%error, "The files with names and name servers cannot be read");
            faults::no_address()
        })?;
        // Before any name server is asked, with whatever search domains.
        let mut whole = name.clone();
        whole.set_fqdn(true);
        let known = |kind| {
            pages
                .hosts
                .lookup_static_host(&Query::query(whole.clone(), kind))
        };
        if let Some(found) = known(kind) {
            return Ok(Found::of(&found));
        }
        if known(RecordType::A).is_some() || known(RecordType::AAAA).is_some() {
            return Ok(Found::none(whole));
        }
        match pages.resolver.lookup(name.clone(), kind).await {
            Ok(found) => Ok(Found::of(&found)),
            Err(error) if error.is_no_records_found() => Ok(Found::none(whole)),
            Err(error) => {
                tracing::warn!(%name, %error, "A name cannot be resolved");
                Err(match error {
                    NetError::Timeout => HttpError::DnsTimeout,
                    _ => faults::no_address(),
                })
            }
        }
    }

    /// What the files say now.
    fn pages(&self) -> io::Result<Arc<Pages>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(read) = &mut *read {
            if now.duration_since(read.looked) < LOOK {
                return Ok(Arc::clone(&read.pages));
            }
            read.looked = now;
            if read.stamps == self.stamps() {
                return Ok(Arc::clone(&read.pages));
            }
        }
        let stamps = self.stamps();
        let pages = Arc::new(self.load()?);
        *read = Some(Read {
            looked: now,
            stamps,
            pages: Arc::clone(&pages),
        });
        Ok(pages)
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [Stamp::of(&self.name_servers), Stamp::of(&self.hosts)]
    }

    fn load(&self) -> io::Result<Pages> {
        let other = |error: NetError| io::Error::other(error.to_string());
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(existing(&self.hosts)?.as_slice())?;
        let text = existing(&self.name_servers)?;
        let servers = text.split(|byte| *byte == b'\n');
        let (mut config, mut options) = match servers
            .into_iter()
            .any(|line| line.trim_ascii_start().starts_with(b"nameserver"))
        {
            true => parse_resolv_conf(&text).map_err(other)?,
            // As the C library does.
            false => {
                let here = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
                (
                    ResolverConfig::from_name_servers(vec![here]),
                    Default::default(),
                )
            }
        };
        // The machine's own domain is no search domain.
        config = {
            let (_, search, mut servers) = config.into_parts();
            let connections = servers
                .iter_mut()
                .flat_map(|server| &mut server.connections);
            connections.for_each(|connection| connection.port = self.port);
            ResolverConfig::from_parts(None, search, servers)
        };
        options.use_hosts_file = ResolveHosts::Never;
        options.max_active_requests = QUERIES;
        let provider = TokioRuntimeProvider::default();
        let mut builder = Resolver::builder_with_config(config, provider);
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(other)?;
        Ok(Pages { hosts, resolver })
    }
}

/// The content of a file; nothing if it does not exist.
fn existing(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// Addresses of one family.
struct Found {
    addresses: Vec<IpAddr>,
    /// The name that has them, with its search domain.
    whole: Name,
}

impl Found {
    fn of(found: &Lookup) -> Self {
        let records = found.answers().iter();
        Found {
            addresses: records.filter_map(|record| record.data.ip_addr()).collect(),
            whole: found.query().name().clone(),
        }
    }

    fn none(whole: Name) -> Self {
        Found {
            addresses: Vec::new(),
            whole,
        }
    }
}
