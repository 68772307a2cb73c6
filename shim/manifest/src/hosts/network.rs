//! Ranges of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses, `10.0.0.0/8` or `fe80::/10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `address/prefix`. Bits beyond the prefix are cleared. `None` for anything
    /// else.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        // `parse` would accept a sign.
        if !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let prefix: u8 = prefix.parse().ok()?;
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= width).then(|| Network {
            first: mask(address, prefix),
            prefix,
        })
    }

    /// Whether an address lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && mask(address, self.prefix) == self.first
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// The address with all bits beyond the prefix cleared.
fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        // `checked_shl` refuses a shift by the whole width (prefix 0).
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        let network = Network::parse(network).expect("a network");
        network.contains(address.parse().expect("an address"))
    }

    #[test]
    fn host_bits_do_not_count() {
        assert_eq!(
            Network::parse("10.1.2.3/8").map(|n| n.to_string()),
            Some("10.0.0.0/8".into())
        );
        assert!(contains("10.1.2.3/8", "10.255.0.1"));
        assert!(!contains("10.1.2.3/8", "11.0.0.1"));
        assert!(contains("fe80::1/10", "febf::1"));
        assert!(!contains("fe80::1/10", "fec0::1"));
    }

    #[test]
    fn the_widest_and_narrowest_ranges_work() {
        assert!(contains("0.0.0.0/0", "255.255.255.255"));
        assert!(!contains("0.0.0.0/0", "::1"));
        assert!(contains("1.2.3.4/32", "1.2.3.4"));
        assert!(!contains("1.2.3.4/32", "1.2.3.5"));
        assert!(contains("::/0", "::1"));
        assert!(contains("::1/128", "::1"));
    }

    #[test]
    fn other_texts_are_no_networks() {
        for text in [
            "",
            "/",
            "1.2.3.4",
            "1.2.3.4/33",
            "1.2.3.4/+8",
            "::1/129",
            "a/8",
            "1.2.3/8",
        ] {
            assert_eq!(Network::parse(text), None, "{text:?}");
        }
    }
}
