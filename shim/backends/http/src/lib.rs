//! Sends the HTTP requests of guests: finds addresses, connects, agrees on TLS, and keeps
//! connections for the next request.
//!
//! Everything is made at the first request: a client that is never used has no connection,
//! no thread and no open file. A worker's client runs on the runtime that polls its
//! requests.

mod body;
mod connect;
mod exchange;
mod faults;
mod names;
mod pool;
mod repeat;
mod settings;
mod tls;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use skiff_host::{HttpAnswer, HttpCall, HttpClient, HttpError, NameError, Names};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use self::names::Book;
use self::pool::Pool;
pub use self::settings::{ClientTls, Settings};
use self::tls::Tls;

/// Sends requests, over HTTP/1.1 and HTTP/2. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    names: Book,
    tls: Tls,
    pool: Arc<Pool>,
}

impl Client {
    /// A client without connections.
    pub fn new(settings: Settings) -> Self {
        Self::within(settings, None)
    }

    /// The same whose connections are within a limit that others share, if there is one.
    pub fn within(settings: Settings, total: Option<Arc<Semaphore>>) -> Self {
        Client(Arc::new(Inner {
            names: Book::new(&settings),
            tls: Tls::new(&settings),
            pool: Arc::new(Pool::new(&settings, total)),
            settings,
        }))
    }
}

impl Names for Client {
    fn addresses(
        &self,
        name: &str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, NameError>> + Send>> {
        let (client, name) = (Arc::clone(&self.0), name.to_owned());
        Box::pin(async move {
            let found = client.names.all_addresses(&name).await;
            found.map_err(|_| NameError::Failed)
        })
    }
}

impl HttpClient for Client {
    fn send(&self, call: HttpCall) -> HttpAnswer {
        let client = Arc::clone(&self.0);
        let (exchange, begun) = match client.begin(call) {
            Ok(begun) => begun,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let is_sent = begun.is_ok();
        let answer = async move { client.finish(exchange, begun).await };
        if is_sent {
            return Box::pin(answer);
        }
        // It has to go on also while nobody polls it.
        let task = AbortOnDropHandle::new(tokio::spawn(answer));
        Box::pin(async move {
            let ended = task.await;
            ended.unwrap_or_else(|error| Err(HttpError::InternalError(Some(error.to_string()))))
        })
    }
}
