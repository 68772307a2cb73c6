//! TLS to PostgreSQL: how `sslmode` is written, and the stream that the client speaks on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use skiff_backend_tls::{Authorities, Checks, Connector, Settings};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

/// The parameter of a URL that says whether there is TLS.
const MODE: &str = "sslmode";

/// The parameter that names a file of authorities, which are then the only ones.
const ROOT: &str = "sslrootcert";

/// Takes the parameters of a URL that are about TLS for what they mean: returns the URL as
/// the client has to write it, and what is checked. Who only prefers TLS would also talk to a
/// server without it, so nothing is checked there.
///
/// # Errors
/// An `sslrootcert` that is no absolute path.
pub(crate) fn settings(url: &str, authorities: &Authorities) -> Result<(String, Settings), String> {
    let mut settings = Settings {
        checks: Checks::Nothing,
        ..Settings::new(authorities.clone())
    };
    let Some((base, query)) = url.split_once('?') else {
        return Ok((url.to_owned(), settings));
    };
    let mut written = Vec::new();
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some((MODE, mode)) => {
                let (mode, checks) = match mode {
                    "require" | "verify-full" => ("require", Checks::ChainAndName),
                    "verify-ca" => ("require", Checks::Chain),
                    other => (other, Checks::Nothing),
                };
                settings.checks = checks;
                written.push(format!("{MODE}={mode}"));
            }
            Some((ROOT, file)) if file.starts_with('/') => {
                settings.built_in = false;
                settings.authorities = Authorities {
                    all_of: vec![file.into()],
                    ..Authorities::default()
                };
            }
            Some((ROOT, _)) => {
                return Err(format!("`{ROOT}` of its URL must be an absolute path"));
            }
            _ => written.push(parameter.to_owned()),
        }
    }
    Ok((format!("{base}?{}", written.join("&")), settings))
}

/// Makes what agrees on TLS with a host.
pub(crate) struct Make(pub(crate) Connector);

impl MakeTlsConnect<Socket> for Make {
    type Stream = Stream;
    type TlsConnect = To;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> io::Result<To> {
        Ok(To {
            connector: self.0.clone(),
            host: domain.to_owned(),
        })
    }
}

/// Agrees on TLS with one host.
pub(crate) struct To {
    connector: Connector,
    host: String,
}

impl TlsConnect<Socket> for To {
    type Stream = Stream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Stream>>;

    fn connect(self, socket: Socket) -> Self::Future {
        async move {
            let stream = self.connector.connect(&self.host, socket).await;
            let told = |error| io::Error::other(skiff_backend_tls::told(&error));
            stream.map(Stream).map_err(told)
        }
        .boxed()
    }
}

/// A stream over TLS.
pub(crate) struct Stream(skiff_backend_tls::TlsStream<Socket>);

impl TlsStream for Stream {
    /// None: the server proves who it is by its certificate.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_checked_as_its_name_says_and_by_default_not_at_all() {
        for (query, written, checks) in [
            ("", "", Checks::Nothing),
            ("?sslmode=prefer", "?sslmode=prefer", Checks::Nothing),
            (
                "?sslmode=require&application_name=a",
                "?sslmode=require&application_name=a",
                Checks::ChainAndName,
            ),
            ("?sslmode=verify-ca", "?sslmode=require", Checks::Chain),
            (
                "?application_name=sslmode&sslmode=verify-full",
                "?application_name=sslmode&sslmode=require",
                Checks::ChainAndName,
            ),
            ("?sslmode=allow", "?sslmode=allow", Checks::Nothing),
        ] {
            let url = format!("postgres://db/d{query}");
            let (url, settings) = super::settings(&url, &Authorities::usual()).unwrap();
            assert_eq!(url, format!("postgres://db/d{written}"));
            let expected = Settings {
                checks,
                ..Settings::new(Authorities::usual())
            };
            assert_eq!(settings, expected);
        }
    }

    #[test]
    fn authorities_of_a_url_are_the_only_ones() {
        let of = |query: &str| {
            super::settings(&format!("postgres://db/d{query}"), &Authorities::usual())
        };
        let (url, settings) = of("?sslrootcert=/etc/ca.pem&sslmode=verify-full").unwrap();
        assert_eq!(url, "postgres://db/d?sslmode=require");
        assert!(!settings.built_in);
        let only = Authorities {
            all_of: vec!["/etc/ca.pem".into()],
            ..Authorities::default()
        };
        assert_eq!(settings.authorities, only);
        for wrong in [
            "?sslrootcert=ca.pem",
            "?sslrootcert=system",
            "?sslrootcert=",
        ] {
            let told = of(wrong).unwrap_err();
            assert!(told.contains("`sslrootcert`"), "{told}");
        }
    }
}
