//! Connections: from a host to a stream on which requests can be sent.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt as _};
use hyper::client::conn::{http1, http2};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use skiff_host::HttpError;
use skiff_manifest::hosts::Host;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::Inner;
use crate::faults;
use crate::names::Family;
use crate::pool::{Http1, Http2, Origin, Sender, Slot};

/// How long the next address waits for the one before it (RFC 8305, 5).
const STAGGER: Duration = Duration::from_millis(250);

/// The most bytes of a response's head, and the most that is read ahead of the guest.
const MOST_HEAD: usize = 128 << 10;

/// How much of a body HTTP/2 may have on its way: a stream, and a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

impl Inner {
    /// A new connection.
    pub(crate) async fn connect(
        &self,
        component: &str,
        origin: &Arc<Origin>,
    ) -> Result<Sender, HttpError> {
        let slot = self.pool.slot(origin).ok_or_else(|| {
            tracing::warn!(component_id = component, host = %origin.host, port = origin.port, "The limit of connections to this host, or of all, is reached");
            HttpError::ConnectionLimitReached
        })?;
        let stream = self.dial(component, origin).await?;
        if !origin.tls {
            let named = self.settings.http2_without_tls.as_deref();
            let http2 = named.is_some_and(|named| origin.authority == named);
            return shake(TokioIo::new(stream), http2, slot).await;
        }
        match self.tls.connect(origin.rule, &origin.host, stream).await {
            Ok(stream) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                shake(TokioIo::new(stream), http2, slot).await
            }
            Err(error) => {
                tracing::warn!(component_id = component, host = %origin.host, port = origin.port, error = skiff_backend_tls::told(&error), "No TLS connection");
                Err(HttpError::TlsProtocolError)
            }
        }
    }

    async fn dial(&self, component: &str, origin: &Origin) -> Result<TcpStream, HttpError> {
        let name = match &origin.host {
            Host::Ipv4(ip) => return self.reach(component, origin, vec![IpAddr::V4(*ip)]).await,
            Host::Ipv6(ip) => return self.reach(component, origin, vec![IpAddr::V6(*ip)]).await,
            Host::Domain(name) => name,
        };
        // Half of the queries, as nearly every host is reached by IPv4.
        let mut failed = None;
        for family in [Family::V4, Family::V6] {
            let addresses = match (self.names.addresses(name, family).await, &failed) {
                (Ok(addresses), _) => addresses,
                (Err(error), None) => return Err(error),
                // The first family's error says more.
                (Err(_), Some(_)) => Vec::new(),
            };
            if addresses.is_empty() {
                continue;
            }
            match self.reach(component, origin, addresses).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(faults::no_address))
    }

    /// Connects to the first of these addresses that answers.
    async fn reach(
        &self,
        component: &str,
        origin: &Origin,
        mut addresses: Vec<IpAddr>,
    ) -> Result<TcpStream, HttpError> {
        if !origin.unblocked {
            addresses.retain(|address| !self.settings.blocked.contains(*address));
        }
        if addresses.is_empty() {
            tracing::warn!(component_id = component, host = %origin.host, blocked = %self.settings.blocked, "Outbound request denied: every address of the host is in a blocked network");
            return Err(HttpError::DestinationIpProhibited);
        }
        let sockets = addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, origin.port));
        let stream = race(sockets.collect()).await.map_err(|error| {
            tracing::debug!(component_id = component, host = %origin.host, port = origin.port, %error, "No connection");
            faults::of_connect(&error)
        })?;
        // The rest of the descriptors is for clients.
        if stream.as_raw_fd() >= self.settings.descriptors_below {
            tracing::warn!(
                component_id = component,
                "No descriptor is left for another outbound connection"
            );
            return Err(HttpError::ConnectionLimitReached);
        }
        // Requests are written at once.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

/// Connects to one address after the other, without waiting long for one that does not
/// answer.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut left = addresses.into_iter();
    let mut under_way = FuturesUnordered::new();
    let mut failed = None;
    loop {
        let next = left.next();
        let more = next.is_some();
        under_way.extend(next.map(TcpStream::connect));
        let Some(first) = (match more && left.len() > 0 {
            false => under_way.next().await.map(Some),
            true => {
                let pause = Box::pin(tokio::time::sleep(STAGGER));
                match select(under_way.next(), pause).await {
                    Either::Left((first, _)) => first.map(Some),
                    Either::Right(_) => Some(None),
                }
            }
        }) else {
            // Nothing is under way, and nothing is left.
            return Err(failed.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
        };
        match first {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => failed = failed.or(Some(error)),
            None => {}
        }
    }
}

/// Speaks HTTP on a stream. The connection is driven by a task of its own.
async fn shake<T>(stream: T, http2: bool, slot: Slot) -> Result<Sender, HttpError>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| faults::of_exchange(&error);
    if http2 {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MOST_HEAD as u32)
            .handshake(stream)
            .await
            .map_err(failed)?;
        drive(connection);
        return Ok(Sender::Http2(Http2::new(sender, slot)));
    }
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MOST_HEAD)
        .handshake(stream)
        .await
        .map_err(failed)?;
    let driver = drive(connection);
    Ok(Sender::Http1(Http1::new(sender, slot, driver)))
}

fn drive(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            // Whoever waits for something on it gets an error of its own.
            tracing::debug!(%error, "An outbound connection ended");
        }
    })
}
