//! `allowed_http_hosts`, the predecessor of `allowed_outbound_hosts`.

use url::Url;

use crate::fields::Ask;
use crate::node::Spanned;

/// Whether an application only has the old list. All databases were allowed then, and
/// stay so for such applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Databases {
    Allowed,
    Denied,
}

/// The equivalent entries of `allowed_outbound_hosts`.
pub(crate) fn convert(
    entries: &[Spanned<String>],
    databases: Databases,
    ask: &Ask<'_>,
) -> Vec<Spanned<String>> {
    let at = entries.first().map_or(0, |entry| entry.at);
    let mut converted = Vec::new();
    let mut add = |at: usize, entry: String| converted.push(Spanned::new(at, entry));
    if databases == Databases::Allowed {
        for scheme in ["redis", "mysql", "postgres"] {
            add(at, format!("{scheme}://*:*"));
        }
    }
    if let Some(all) = entries
        .iter()
        .find(|entry| entry.value == "insecure:allow-all")
    {
        for entry in ["http://*:*", "https://*:*", "http://self"] {
            add(all.at, entry.to_owned());
        }
        return converted;
    }
    for entry in entries {
        match host_and_port(&entry.value) {
            Ok((host, _)) if host == "self" => add(entry.at, "http://self".to_owned()),
            Ok((host, port)) => {
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                add(entry.at, format!("http://{host}{port}"));
                add(entry.at, format!("https://{host}{port}"));
            }
            Err(reason) => ask.fault(entry.at, format!("has {:?}, {reason}", entry.value)),
        }
    }
    converted
}

fn host_and_port(entry: &str) -> Result<(String, Option<u16>), &'static str> {
    const NO_HOST: &str = "which is not a host, `host:port` or an `http` or `https` URL of one";
    let url = match entry.contains("//") {
        true => Url::parse(entry),
        // A bare `localhost:80` would otherwise be parsed as having the scheme
        // `localhost`.
        false => Url::parse(&format!("http://{entry}")),
    };
    let url = url.map_err(|_| NO_HOST)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(NO_HOST);
    }
    if url.path().len() > 1 {
        return Err("which has a path; only a host and a port are allowed");
    }
    match url.host_str() {
        Some(host) => Ok((host.to_owned(), url.port())),
        None => Err(NO_HOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Sink;

    fn converted(entries: &[&str], databases: Databases) -> Result<Vec<String>, String> {
        let sink = Sink::toml("spin.toml", b"");
        let entries: Vec<_> = entries
            .iter()
            .map(|e| Spanned::new(0, (*e).to_owned()))
            .collect();
        let hosts = convert(&entries, databases, &Ask::new(&sink, "component `a`"));
        let hosts = hosts.into_iter().map(|host| host.value).collect();
        sink.into_result(Some(hosts))
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn a_host_is_allowed_over_http_and_https() {
        assert_eq!(
            converted(
                &["example.com", "https://b.com:8080/", "[::1]:99"],
                Databases::Denied
            ),
            Ok(vec![
                "http://example.com".into(),
                "https://example.com".into(),
                "http://b.com:8080".into(),
                "https://b.com:8080".into(),
                "http://[::1]:99".into(),
                "https://[::1]:99".into(),
            ])
        );
    }

    #[test]
    fn the_special_words_keep_their_meaning() {
        assert_eq!(
            converted(&["self"], Databases::Denied),
            Ok(vec!["http://self".into()])
        );
        let all = converted(&["x/y", "insecure:allow-all"], Databases::Allowed);
        let expected = "redis://*:* mysql://*:* postgres://*:* http://*:* https://*:* http://self";
        assert_eq!(all.map(|hosts| hosts.join(" ")), Ok(expected.into()));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for (entry, part) in [
            ("ftp://a.com", "not a host"),
            ("a.com/b", "has a path"),
            ("a b", "not a host"),
            ("", "not a host"),
        ] {
            let error = converted(&[entry], Databases::Denied).expect_err(entry);
            assert!(error.contains(part), "{error}");
        }
    }
}
