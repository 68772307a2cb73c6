use super::*;

fn parsed(entry: &str) -> Result<String, String> {
    AllowedHost::parse(entry)
        .map(|host| host.to_string())
        .map_err(|error| error.to_string())
}

fn allows(entry: &str, scheme: &str, host: &str, port: u16) -> bool {
    AllowedHost::parse(entry)
        .expect("an entry")
        .allows(scheme, host, port)
}

#[test]
fn entries_are_read_as_the_grammar_says() {
    for (entry, expected) in [
        ("http://example.com", "http://example.com:80"),
        (" https://Example.COM/ ", "https://example.com:443"),
        ("redis://cache", "redis://cache:6379"),
        ("mysql://db", "mysql://db:3306"),
        ("postgres://db", "postgres://db:5432"),
        ("mqtt://broker", "mqtt://broker:1883"),
        ("*://*:*", "*://*:*"),
        ("*://host:8080/", "*://host:8080"),
        ("ftp://host:20..22", "ftp://host:20..22"),
        ("https://*", "https://*:443"),
        ("https://*/", "https://*:443"),
        ("http://self", "http://self:80"),
        ("http://self.alt:*", "http://self:*"),
        ("https://*.example.com:*", "https://*.example.com:*"),
        ("http://[::1]", "http://[::1]:80"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://10.1.1.1/8", "http://10.0.0.0/8:80"),
        ("*://10.0.0.0/8:5432", "*://10.0.0.0/8:5432"),
        ("http://fe80::/10", "http://fe80::/10:80"),
        ("*://fe80::/10:99", "*://fe80::/10:99"),
        ("http://bücher.example", "http://xn--bcher-kva.example:80"),
    ] {
        assert_eq!(parsed(entry), Ok(expected.to_owned()), "{entry:?}");
    }
}

#[test]
fn what_breaks_the_grammar_is_told() {
    for (entry, part) in [
        ("", "expected `<scheme>://"),
        ("*", "expected `<scheme>://"),
        ("example.com", "expected `<scheme>://"),
        ("insecure:allow-all", "`*://*:*`"),
        ("://host", "the scheme is letters only"),
        ("{http,https}://host:80", "the scheme is letters only"),
        ("h2://host:80", "the scheme is letters only"),
        ("*://host", "a port is needed"),
        ("ftp://host", "a port is needed"),
        ("http://host/path", "has no path"),
        ("http://host:80/path", "has no path"),
        ("http://10.0.0.1/path", "has no path"),
        ("http://10.0.0.0/33", "at most 32 bits"),
        ("http://10.0.0.0/33:80", "at most 32 bits"),
        ("http://fe80::/129", "at most 32 bits"),
        ("http://host:http", "the port is a number"),
        ("http://host:65536", "the port is a number"),
        ("http://host:1..x", "the port is a number"),
        ("http://host:80..80", "no port in the range `80..80`"),
        ("http://host:90..80", "no port in the range `90..80`"),
        ("http://{a,b}", "lists are not supported"),
        ("http://a.*.com", "`*` stands alone"),
        ("http://*.*.com", "`*` stands alone"),
        ("http://*.10.0.0.1", "has no names below it"),
        ("http://", "is not a host"),
        ("http://a b", "is not a host"),
    ] {
        let error = parsed(entry).expect_err(entry);
        assert!(error.contains(part), "{entry:?}: {error}");
    }
}

#[test]
fn scheme_host_and_port_must_all_match() {
    assert!(allows("https://example.com", "https", "EXAMPLE.com", 443));
    assert!(!allows("https://example.com", "http", "example.com", 443));
    assert!(!allows("https://example.com", "https", "example.com", 8443));
    assert!(!allows("https://*", "https", "example.com", 8443));
    assert!(!allows(
        "HTTPS://example.com:443",
        "https",
        "example.com",
        443
    ));
    assert!(allows("*://*:*", "anything", "::1", 1) || allows("*://*:*", "anything", "[::1]", 1));
}

#[test]
fn a_range_ends_before_its_last_port() {
    assert!(allows("*://h:10..12", "x", "h", 10));
    assert!(allows("*://h:10..12", "x", "h", 11));
    assert!(!allows("*://h:10..12", "x", "h", 12));
}

#[test]
fn names_below_a_domain_are_not_the_domain() {
    assert!(allows("http://*.x.com", "http", "a.x.com", 80));
    assert!(allows("http://*.x.com", "http", "a.b.x.com", 80));
    assert!(!allows("http://*.x.com", "http", "x.com", 80));
    assert!(!allows("http://*.x.com", "http", "ax.com", 80));
}

#[test]
fn networks_match_addresses_only() {
    assert!(allows("http://127.0.0.0/8", "http", "127.9.9.9", 80));
    assert!(!allows("http://127.0.0.0/8", "http", "128.0.0.1", 80));
    assert!(!allows("http://127.0.0.0/8", "http", "localhost", 80));
    assert!(allows("http://fe80::/10", "http", "[fe80::1]", 80));
}

#[test]
fn requests_to_oneself_need_self_or_any_host() {
    for (entry, allowed) in [
        ("http://self", true),
        ("http://self.alt", true),
        ("http://*", true),
        ("https://self", false),
        ("http://localhost", false),
    ] {
        let host = AllowedHost::parse(entry).expect("an entry");
        assert_eq!(host.allows_self("http"), allowed, "{entry}");
    }
    assert!(!allows("http://self", "http", "self", 80));
}

#[test]
fn chaining_targets_are_component_ids() {
    let target = |entry: &str| {
        let host = AllowedHost::parse(entry).expect("an entry");
        host.chaining_target().map(|target| match target {
            ChainingTarget::All => "*".to_owned(),
            ChainingTarget::Component(id) => id.to_owned(),
        })
    };
    assert_eq!(target("http://cart.spin.internal"), Some("cart".into()));
    assert_eq!(target("*://*.spin.internal:*"), Some("*".into()));
    assert_eq!(target("http://spin.internal"), None);
    assert_eq!(target("http://cart.xspin.internal"), None);
    assert_eq!(target("http://*"), None);
}
