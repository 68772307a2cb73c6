//! Sockets: a guest may connect to what `allowed_outbound_hosts` allows, and cannot listen.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use skiff_manifest::hosts::{AllowedHost, AllowedScheme};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::SocketAddrUse;

/// Where a component may connect to by sockets.
#[derive(Debug, Clone, Default)]
pub struct Sockets(Arc<[AllowedHost]>);

impl Sockets {
    /// The entries of `allowed_outbound_hosts` for sockets: with scheme `tcp`, `udp` or
    /// `*`.
    pub fn new(hosts: impl IntoIterator<Item = AllowedHost>) -> Self {
        let sockets = hosts.into_iter().filter(|host| match &host.scheme {
            AllowedScheme::Any => true,
            AllowedScheme::Named(scheme) => matches!(scheme.as_str(), "tcp" | "udp"),
        });
        Sockets(sockets.collect())
    }

    /// Applies the grant. Without a grant, sockets stay disabled.
    pub(crate) fn open(&self, builder: &mut WasiCtxBuilder) {
        let granted = !self.0.is_empty();
        builder.allow_tcp(granted).allow_udp(granted);
        if granted {
            let sockets = self.clone();
            builder.socket_addr_check(move |address, usage| {
                let allowed = sockets.allow(address, usage);
                Box::pin(std::future::ready(allowed))
            });
        }
    }

    fn allow(&self, address: SocketAddr, usage: SocketAddrUse) -> bool {
        let scheme = match usage {
            // A connecting socket is first bound to a local address.
            SocketAddrUse::TcpBind => return is_any(address),
            SocketAddrUse::TcpConnect => "tcp",
            SocketAddrUse::UdpBind if is_any(address) => return true,
            SocketAddrUse::UdpBind | SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => "udp",
            // Listening, and unknown uses.
            _ => return false,
        };
        let host = match address.ip().to_canonical() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let allows = |entry: &AllowedHost| entry.allows(scheme, &host, address.port());
        self.0.iter().any(allows)
    }
}

/// Whether an address leaves every choice to the kernel, as the default address does.
fn is_any(address: SocketAddr) -> bool {
    address.ip().is_unspecified() && address.port() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(entries: &[&str]) -> Sockets {
        Sockets::new(
            entries
                .iter()
                .map(|entry| AllowedHost::parse(entry).unwrap()),
        )
    }

    #[track_caller]
    fn allows(sockets: &Sockets, usage: SocketAddrUse, address: &str) -> bool {
        sockets.allow(address.parse().unwrap(), usage)
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
    fn nobody_listens_or_chooses_an_address() {
        let sockets = sockets(&["*://*:*"]);
        assert!(allows(&sockets, SocketAddrUse::TcpBind, "0.0.0.0:0"));
        assert!(allows(&sockets, SocketAddrUse::TcpBind, "[::]:0"));
        assert!(!allows(&sockets, SocketAddrUse::TcpBind, "0.0.0.0:80"));
        assert!(!allows(&sockets, SocketAddrUse::TcpListen, "0.0.0.0:0"));
    }

    #[test]
    fn entries_of_other_schemes_open_no_socket() {
        assert!(
            sockets(&["https://*", "redis://127.0.0.1:6379"])
                .0
                .is_empty()
        );
    }
}
