//! Networks that nobody may connect to, whatever a component was granted.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Network;

/// Addresses of one machine or link, among them the metadata services of clouds: they hand
/// out credentials of the machine to whoever asks.
const LINK_LOCAL: &[&str] = &["169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128"];

/// Addresses that are not reachable from everywhere (IANA's special-purpose registries for
/// IPv4 and IPv6, and multicast).
const PRIVATE: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    // Global addresses of IPv6 are in 2000::/3, and those of a translator in 64:ff9b::/96.
    "::/10",
    "64:ff9b:1::/48",
    "80::/9",
    "100::/8",
    "200::/7",
    "400::/6",
    "800::/5",
    "1000::/4",
    "2001::/23",
    "2001:db8::/32",
    "4000::/2",
    "8000::/1",
];

/// Networks that are blocked, whatever a component was granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockedNetworks {
    networks: Vec<Network>,
    /// As they were written.
    words: Vec<String>,
}

/// A word that names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a network such as 10.0.0.0/8 nor `private` or `link-local`")]
pub struct BlockedNetworkError(pub String);

impl BlockedNetworks {
    /// Link-local addresses, among them the metadata services of clouds.
    pub fn link_local() -> Self {
        let mut blocked = BlockedNetworks::default();
        blocked.add_all(LINK_LOCAL, "link-local");
        blocked
    }

    /// Reads a list: networks in CIDR notation, `private` for every address that is not
    /// reachable from everywhere, and `link-local` for those of a link and metadata
    /// services.
    ///
    /// # Errors
    /// The first word that is none of them.
    pub fn parse<'a>(
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, BlockedNetworkError> {
        let mut blocked = BlockedNetworks::default();
        for word in words {
            match word {
                "private" => blocked.add_private(),
                "link-local" => blocked.add_all(LINK_LOCAL, word),
                _ => match Network::parse(word) {
                    Some(network) => blocked.add(network),
                    None => return Err(BlockedNetworkError(word.to_owned())),
                },
            }
        }
        Ok(blocked)
    }

    /// Adds a network.
    pub fn add(&mut self, network: Network) {
        self.networks.push(network);
        self.words.push(network.to_string());
    }

    /// Adds every address that is not reachable from everywhere.
    pub fn add_private(&mut self) {
        self.add_all(PRIVATE, "private");
    }

    fn add_all(&mut self, networks: &[&str], word: &str) {
        let networks = networks
            .iter()
            .filter_map(|network| Network::parse(network));
        self.networks.extend(networks);
        self.words.push(word.to_owned());
    }

    /// Adds the networks of another list.
    pub fn extend(&mut self, other: &BlockedNetworks) {
        self.networks.extend(&other.networks);
        self.words.extend(other.words.iter().cloned());
    }

    /// Whether an address must not be connected to. An IPv6 address that stands for an IPv4
    /// address (mapped, compatible, or behind a translator) is also looked up as that.
    pub fn contains(&self, address: IpAddr) -> bool {
        let has = |address| {
            let mut networks = self.networks.iter();
            networks.any(|network| network.contains(address))
        };
        match address {
            IpAddr::V4(_) => has(address),
            // A mapped address is in no network of IPv6 that anybody means.
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => has(IpAddr::V4(v4)),
                None => has(address) || inside(v6).is_some_and(|v4| has(IpAddr::V4(v4))),
            },
        }
    }
}

/// The IPv4 address that an IPv6 address stands for: the compatible form, NAT64
/// (RFC 6052), and 6to4 (RFC 3056).
fn inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(of(high, low))
        }
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// As it was written, separated by commas; `none` if nothing is blocked.
impl fmt::Display for BlockedNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&self.words.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn blocks(blocked: &BlockedNetworks, address: &str) -> bool {
        blocked.contains(address.parse().expect("an address"))
    }

    #[test]
    fn metadata_and_link_local_addresses_are_blocked_in_every_form() {
        let blocked = BlockedNetworks::link_local();
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
        ] {
            assert!(blocks(&blocked, address), "{address}");
        }
        for address in [
            "10.0.0.1",
            "127.0.0.1",
            "::1",
            "fd00:ec2::253",
            "::ffff:8.8.8.8",
        ] {
            assert!(!blocks(&blocked, address), "{address}");
        }
    }

    #[test]
    fn private_is_everything_that_is_not_reachable_from_everywhere() {
        let blocked = BlockedNetworks::parse(["private"]).unwrap();
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.31.0.1",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:0a00:0001::1",
        ] {
            assert!(blocks(&blocked, address), "{address}");
        }
        for address in [
            "1.1.1.1",
            "172.32.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "2a00::1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(!blocks(&blocked, address), "{address}");
        }
    }

    #[test]
    fn a_list_has_networks_and_two_words() {
        let blocked = BlockedNetworks::parse(["10.0.0.0/8", "link-local"]).unwrap();
        assert!(blocks(&blocked, "10.9.9.9") && blocks(&blocked, "169.254.0.1"));
        assert!(!blocks(&blocked, "11.0.0.1"));
        assert_eq!(blocked.to_string(), "10.0.0.0/8,link-local");
        let error = BlockedNetworks::parse(["10.0.0.0"]).unwrap_err();
        assert_eq!(error, BlockedNetworkError("10.0.0.0".to_owned()));
        assert_eq!(BlockedNetworks::default().to_string(), "none");
    }
}
