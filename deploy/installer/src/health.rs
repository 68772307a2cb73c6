//! The kubelet's probes of the daemon: whether it lives, and whether the node is ready.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};

/// How long a probe may take to send its request. The kubelet gives up earlier.
const ASKED_WITHIN: Duration = Duration::from_secs(10);

/// The pause after a failed accept, so that it does not fill logs.
const PAUSE: Duration = Duration::from_millis(200);

/// Whether the node is ready, or why not. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<Result<(), String>>>);

impl Readiness {
    /// Not ready, for this reason.
    pub fn not_yet(reason: &str) -> Self {
        Self(Arc::new(Mutex::new(Err(reason.to_owned()))))
    }

    /// Sets that it is ready, or why not.
    pub fn set(&self, state: Result<(), String>) {
        // A panic while the lock was held cannot have left an inconsistent state.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn get(&self) -> Result<(), String> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }
}

/// A listener that answers probes.
#[derive(Debug)]
pub struct Probes {
    listener: TcpListener,
}

impl Probes {
    /// Binds the address. `[::]` is every address of the host, including IPv4; if the
    /// kernel has no IPv6, IPv4 alone.
    ///
    /// # Errors
    ///
    /// If it is already in use.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let no_family = Some(Errno::AFNOSUPPORT.raw_os_error());
        let listener = match TcpListener::bind(address).await {
            Err(error) if address.ip().is_unspecified() && error.raw_os_error() == no_family => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            bound => bound,
        };
        Ok(Self {
            listener: listener?,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// If the system does not report it.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped.
    pub async fn serve(self, readiness: Readiness) -> Infallible {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn(answer(stream, readiness.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "Cannot accept a probe");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn answer(stream: TcpStream, readiness: Readiness) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (status, text) = reply(request.uri().path(), readiness.get());
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASKED_WITHIN)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "A probe broke off");
    }
}

fn reply(path: &str, state: Result<(), String>) -> (StatusCode, String) {
    match (path, state) {
        ("/healthz", _) | ("/readyz", Ok(())) => (StatusCode::OK, "ok\n".to_owned()),
        ("/readyz", Err(reason)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        _ => (StatusCode::NOT_FOUND, "not found\n".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;
    use skiff_test_support::network::without_ipv6;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test]
    async fn readiness_is_told_with_its_reason() {
        let probes = Probes::bind(([127, 0, 0, 1], 0).into())
            .await
            .expect("bound");
        let address = probes.address().expect("an address");
        let readiness = Readiness::not_yet("still installing");
        let server = tokio::spawn(probes.serve(readiness.clone()));
        let answer = get(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("still installing\n"), "{answer}");
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        readiness.set(Ok(()));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));
        server.abort();
    }

    async fn port_of_every_address() -> (Probes, u16) {
        let probes = Probes::bind((Ipv6Addr::UNSPECIFIED, 0).into())
            .await
            .expect("bound");
        let port = probes.address().expect("an address").port();
        (probes, port)
    }

    #[tokio::test]
    async fn probes_come_by_either_family() {
        let (probes, port) = port_of_every_address().await;
        let server = tokio::spawn(probes.serve(Readiness::not_yet("installing")));
        for address in [
            Ipv4Addr::LOCALHOST.into(),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ] {
            let answer = get((address, port).into(), "/healthz").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        server.abort();
    }

    #[test]
    fn a_node_without_ipv6_is_asked_by_ipv4() {
        let address = without_ipv6(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .expect("a runtime");
            let (probes, _) = runtime.block_on(port_of_every_address());
            probes.address().expect("an address")
        });
        assert_eq!(address.ip(), Ipv4Addr::UNSPECIFIED);
    }
}
