//! Sockets: a guest may connect to what `allowed_outbound_hosts` allows, look up the names
//! that it has there, and cannot listen.

mod limit;
mod names;
pub(super) mod p2;
mod p3;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use skiff_manifest::hosts::{AllowedHost, AllowedScheme, BlockedNetworks, Host};
use tokio::sync::Semaphore;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::SocketAddrUse;

use self::limit::Limits;
pub(crate) use self::names::Found;
pub use self::names::{NameError, Names};
use crate::state::State;

/// The schemes of entries for sockets.
const SCHEMES: [&str; 2] = ["tcp", "udp"];

/// Replaces name look-up and the end of sockets; the newer version only if the engine supports concurrent calls.
pub(super) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    p2::add_to_linker(linker)?;
    if concurrency {
        p3::add_to_linker(linker)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// Where a component may connect to by sockets.
#[derive(Debug, Clone, Default)]
pub struct Sockets {
    hosts: Arc<[AllowedHost]>,
    blocked: Arc<BlockedNetworks>,
    /// Who finds the addresses of names.
    names: Option<Arc<dyn Names>>,
    limits: Limits,
}

impl Sockets {
    /// The entries of `allowed_outbound_hosts` for sockets: with scheme `tcp`, `udp` or
    /// `*`. Nothing connects to `blocked` networks.
    pub fn new(
        hosts: impl IntoIterator<Item = AllowedHost>,
        blocked: BlockedNetworks,
        names: Arc<dyn Names>,
    ) -> Self {
        let sockets = hosts.into_iter().filter(|host| match &host.scheme {
            AllowedScheme::Any => true,
            AllowedScheme::Named(scheme) => SCHEMES.contains(&scheme.as_str()),
        });
        Sockets {
            hosts: sockets.collect(),
            blocked: Arc::new(blocked),
            names: Some(names),
            limits: Limits::default(),
        }
    }

    /// The same for `component`, with at most as many TCP connections at once as each of
    /// `limits` has room for. Others may share a limit. A connection counts until its socket
    /// is dropped, or its instance.
    #[must_use]
    pub fn limited(self, component: &Arc<str>, limits: Vec<Arc<Semaphore>>) -> Self {
        let limits = Limits::new(component, limits);
        Sockets { limits, ..self }
    }

    /// Applies the grant. Without a grant, sockets stay disabled.
    pub(crate) fn open(&self, found: &Found, builder: &mut WasiCtxBuilder) {
        let granted = !self.hosts.is_empty();
        builder.allow_tcp(granted).allow_udp(granted);
        if granted {
            let (sockets, found) = (self.clone(), found.clone());
            builder.socket_addr_check(move |address, usage| {
                let allowed = sockets.allow(address, usage, &found);
                Box::pin(std::future::ready(allowed))
            });
        }
    }

    fn allow(&self, address: SocketAddr, usage: SocketAddrUse, found: &Found) -> bool {
        let scheme = match usage {
            // A connecting socket is first bound to a local address.
            SocketAddrUse::TcpBind => return is_any(address),
            SocketAddrUse::TcpConnect => "tcp",
            SocketAddrUse::UdpBind if is_any(address) => return true,
            SocketAddrUse::UdpBind | SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => "udp",
            // Listening, and unknown uses.
            _ => return false,
        };
        if self.blocked.contains(address.ip()) {
            return false;
        }
        let ip = address.ip().to_canonical();
        let allows = |host: &Host| {
            let mut entries = self.hosts.iter();
            entries.any(|entry| entry.allows_host(scheme, host, address.port()))
        };
        let may_be_counted = || match usage {
            SocketAddrUse::TcpConnect if !self.limits.is_none() => found.connects(&self.limits),
            _ => true,
        };
        let own = match ip {
            IpAddr::V4(ip) => Host::Ipv4(ip),
            IpAddr::V6(ip) => Host::Ipv6(ip),
        };
        let allowed = allows(&own) || found.names_of(ip).iter().any(allows);
        allowed && may_be_counted()
    }

    /// Whether a name, or an address in its place, may be looked up.
    fn may_look_up(&self, host: &Host) -> bool {
        let mut entries = self.hosts.iter();
        entries.any(|entry| entry.allows_name(&SCHEMES, host))
    }
}

/// Ends a socket of either version. Those that are left have the connections that count.
fn end<T: Send + 'static>(state: &mut State, socket: Resource<T>) -> wasmtime::Result<()> {
    state.table.delete(socket)?;
    state.socket_ended(|entry| entry.is::<p2::Socket>() || entry.is::<p3::Socket>());
    Ok(())
}

/// Whether an address leaves every choice to the kernel, as the default address does.
fn is_any(address: SocketAddr) -> bool {
    address.ip().is_unspecified() && address.port() == 0
}

#[cfg(test)]
mod tests {
    use super::names::tests::Table;
    use super::*;

    fn sockets(entries: &[&str]) -> Sockets {
        let hosts = entries
            .iter()
            .map(|entry| AllowedHost::parse(entry).unwrap());
        Sockets::new(hosts, BlockedNetworks::link_local(), Arc::new(Table))
    }

    #[track_caller]
    fn allows(sockets: &Sockets, usage: SocketAddrUse, address: &str) -> bool {
        sockets.allow(address.parse().unwrap(), usage, &Found::default())
    }

    #[test]
    fn an_address_is_reached_where_an_entry_of_its_scheme_has_it() {
        let sockets = sockets(&["*://127.0.0.1:7", "tcp://10.0.0.0/8:80..82", "udp://*:53"]);
        let tcp = |address| allows(&sockets, SocketAddrUse::TcpConnect, address);
        assert!(tcp("127.0.0.1:7") && tcp("[::ffff:127.0.0.1]:7"));
        assert!(!tcp("127.0.0.1:8") && !tcp("127.0.0.2:7") && !tcp("[::1]:7"));
        assert!(tcp("10.1.2.3:81") && !tcp("10.1.2.3:82"));
        let udp = |address| allows(&sockets, SocketAddrUse::UdpSend, address);
        assert!(udp("127.0.0.1:7") && udp("192.0.2.1:53") && !udp("10.1.2.3:81"));
    }

    #[test]
    fn a_blocked_address_is_not_reached_whatever_was_granted() {
        let sockets = sockets(&["*://*:*"]);
        for usage in [SocketAddrUse::TcpConnect, SocketAddrUse::UdpSend] {
            assert!(allows(&sockets, usage, "10.0.0.1:80"));
            assert!(!allows(&sockets, usage, "169.254.169.254:80"));
            assert!(!allows(&sockets, usage, "[::ffff:169.254.169.254]:80"));
        }
    }

    #[test]
    fn nobody_listens_or_chooses_an_address() {
        let sockets = sockets(&["*://*:*"]);
        assert!(allows(&sockets, SocketAddrUse::TcpBind, "0.0.0.0:0"));
        assert!(allows(&sockets, SocketAddrUse::TcpBind, "[::]:0"));
        assert!(!allows(&sockets, SocketAddrUse::TcpBind, "0.0.0.0:80"));
        assert!(!allows(&sockets, SocketAddrUse::TcpListen, "0.0.0.0:0"));
    }

    #[test]
    fn connections_have_a_limit_for_all_instances_together() {
        let limit = Arc::new(Semaphore::new(3));
        let two = Arc::new(Semaphore::new(2));
        let sockets = sockets(&["tcp://127.0.0.1:7", "udp://127.0.0.1:7"]);
        let limited = sockets
            .clone()
            .limited(&"a".into(), vec![Arc::clone(&limit), two]);
        let other = sockets.limited(&"b".into(), vec![Arc::clone(&limit)]);
        let address = "127.0.0.1:7".parse().unwrap();
        let connects = |sockets: &Sockets, found: &Found| {
            sockets.allow(address, SocketAddrUse::TcpConnect, found)
        };
        let (one, another) = (Found::default(), Found::default());
        assert!(connects(&limited, &one) && connects(&limited, &one));
        assert!(!connects(&limited, &one), "its own limit is 2");
        assert!(connects(&other, &another));
        assert!(!connects(&other, &another), "the limit of both is 3");
        assert!(limited.allow(address, SocketAddrUse::UdpSend, &one));
        assert_eq!(limit.available_permits(), 0);
        one.has_left(|| 1);
        assert!(connects(&other, &another));
        drop(one);
        assert_eq!(limit.available_permits(), 1);
    }

    #[test]
    fn entries_of_other_schemes_open_no_socket() {
        assert!(
            sockets(&["https://*", "redis://127.0.0.1:6379"])
                .hosts
                .is_empty()
        );
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_connected_to_where_an_entry_has_it() {
        let sockets = sockets(&["tcp://db.test:5432", "https://web.test"]);
        let found = Found::default();
        let db = sockets.look_up("db.test", &found).await;
        assert_eq!(db, Ok(vec!["10.0.0.7".parse().unwrap()]));
        let address = |port| SocketAddr::new("10.0.0.7".parse().unwrap(), port);
        assert!(sockets.allow(address(5432), SocketAddrUse::TcpConnect, &found));
        assert!(!sockets.allow(address(5433), SocketAddrUse::TcpConnect, &found));
        assert!(!sockets.allow(address(5432), SocketAddrUse::UdpSend, &found));
        // Another instance has not looked it up.
        assert!(!sockets.allow(address(5432), SocketAddrUse::TcpConnect, &Found::default()));
        for (name, error) in [
            ("web.test", NameError::Denied),
            ("10.0.0.7", NameError::Denied),
            ("not a name", NameError::Invalid),
        ] {
            assert_eq!(sockets.look_up(name, &found).await, Err(error), "{name}");
        }
    }

    #[tokio::test]
    async fn a_name_without_an_address_that_may_be_reached_is_unknown() {
        let sockets = sockets(&["tcp://*:*"]);
        let found = Found::default();
        for (name, expected) in [
            ("nobody.test", Err(NameError::Unknown)),
            // It leads to a metadata service.
            ("trap.test", Err(NameError::Unknown)),
            ("dead.test", Err(NameError::Failed)),
            ("192.0.2.1", Ok(vec!["192.0.2.1".parse().unwrap()])),
            ("2001:db8::1", Ok(vec!["2001:db8::1".parse().unwrap()])),
        ] {
            assert_eq!(sockets.look_up(name, &found).await, expected, "{name}");
        }
    }
}
