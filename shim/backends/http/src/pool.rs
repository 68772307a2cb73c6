//! Connections that wait for their next request, and how many there are.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::InvalidHeaderValue;
use hyper::client::conn::{http1, http2};
use skiff_host::HttpBody;
use skiff_manifest::hosts::Host;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::Settings;

/// Where connections lead to.
#[derive(Debug, PartialEq, Eq, Hash, Clone)]
pub(crate) struct Key {
    pub(crate) tls: bool,
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) unblocked: bool,
    /// The rule for its TLS.
    pub(crate) rule: Option<usize>,
}

/// The connections to one place.
pub(crate) struct Origin {
    key: Key,
    /// `host`, or `host:port` if the port is not the scheme's own.
    pub(crate) authority: HeaderValue,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: usize,
    /// The one used last comes last.
    idle: Vec<(Http1, Instant)>,
    shared: Option<(Http2, Instant)>,
}

impl State {
    /// Since when the connection that was used longest ago has been waiting.
    fn waits_since(&self) -> Option<Instant> {
        let idle = self.idle.first().map(|(_, since)| *since);
        let shared = self.shared.as_ref();
        let shared = shared.filter(|(sender, _)| sender.is_idle());
        idle.or_else(|| shared.map(|(_, used)| *used))
    }
}

impl std::ops::Deref for Origin {
    type Target = Key;

    fn deref(&self) -> &Key {
        &self.key
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

impl Key {
    fn authority(&self) -> String {
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

impl Origin {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is free now.
    pub(crate) fn take(&self) -> Option<Sender> {
        // Dropped after the lock, which a slot needs when it is dropped.
        let (mut closed, closed_shared);
        let mut state = self.state();
        if let Some((sender, used)) = &mut state.shared
            && !sender.sender.is_closed()
            && !(sender.is_idle() && sender.slot.pool.is_old(used))
        {
            *used = Instant::now();
            return Some(Sender::Http2(sender.clone()));
        }
        closed_shared = state.shared.take();
        closed = Vec::new();
        while let Some((sender, since)) = state.idle.pop() {
            if !sender.sender.is_closed() && !sender.slot.pool.is_old(&since) {
                return Some(Sender::Http1(sender));
            }
            closed.push((sender, since));
        }
        drop(state);
        drop((closed, closed_shared));
        None
    }
}

/// A connection on which requests can be sent.
pub(crate) enum Sender {
    Http1(Http1),
    Http2(Http2),
}

impl Sender {
    /// Whether a request can be sent without waiting.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Sender::Http1(connection) => connection.sender.is_ready(),
            Sender::Http2(connection) => connection.sender.is_ready(),
        }
    }

    /// Waits until a request can be sent, or until the connection is closed.
    pub(crate) async fn ready(&mut self) {
        let _ = match self {
            Sender::Http1(connection) => connection.sender.ready().await,
            Sender::Http2(connection) => connection.sender.ready().await,
        };
    }

    /// Keeps it for the next request.
    pub(crate) fn give_back(self) {
        match self {
            Sender::Http1(connection) => connection.give_back(),
            // Its origin has it, too.
            Sender::Http2(_) => {}
        }
    }
}

/// One request at a time.
pub(crate) struct Http1 {
    pub(crate) sender: http1::SendRequest<HttpBody>,
    slot: Slot,
    /// The task of the connection. It ends with its owner: a request that nobody waits for
    /// any more would go on sending its body to a server that may not read it.
    _driver: AbortOnDropHandle<()>,
}

/// Many requests at once.
#[derive(Clone)]
pub(crate) struct Http2 {
    pub(crate) sender: http2::SendRequest<HttpBody>,
    slot: Arc<Slot>,
}

impl Http1 {
    pub(crate) fn new(
        sender: http1::SendRequest<HttpBody>,
        slot: Slot,
        driver: JoinHandle<()>,
    ) -> Self {
        Http1 {
            sender,
            slot,
            _driver: AbortOnDropHandle::new(driver),
        }
    }

    /// Keeps it for the next request.
    pub(crate) fn give_back(self) {
        if self.slot.pool.keeps && !self.sender.is_closed() {
            let (pool, origin) = (Arc::clone(&self.slot.pool), Arc::clone(&self.slot.origin));
            origin.state().idle.push((self, Instant::now()));
            pool.tidy();
        }
    }
}

impl Http2 {
    /// Whether this is its only owner, so that no request uses it.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.slot) == 1
    }

    pub(crate) fn new(sender: http2::SendRequest<HttpBody>, slot: Slot) -> Self {
        let (pool, origin) = (Arc::clone(&slot.pool), Arc::clone(&slot.origin));
        let new = Http2 {
            sender,
            slot: Arc::new(slot),
        };
        if !pool.keeps {
            return new;
        }
        let mut state = origin.state();
        state
            .shared
            .get_or_insert_with(|| (new.clone(), Instant::now()));
        drop(state);
        pool.tidy();
        new
    }
}

/// The right to one connection.
pub(crate) struct Slot {
    _total: Option<OwnedSemaphorePermit>,
    pool: Arc<Pool>,
    origin: Arc<Origin>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool.open.fetch_sub(1, Relaxed);
        self.origin.state().open -= 1;
    }
}

/// All connections of an application in one worker.
#[derive(Debug)]
pub(crate) struct Pool {
    origins: Mutex<HashMap<Key, Arc<Origin>>>,
    open: AtomicUsize,
    most: usize,
    most_each: usize,
    /// A limit that others share.
    total: Option<Arc<Semaphore>>,
    keeps: bool,
    idle: Duration,
    /// Whether a task closes those that wait too long.
    tidies: AtomicBool,
}

impl Pool {
    pub(crate) fn new(settings: &Settings, total: Option<Arc<Semaphore>>) -> Self {
        Pool {
            total,
            origins: Mutex::default(),
            open: AtomicUsize::new(0),
            most: settings.connections,
            most_each: settings.connections_each,
            keeps: settings.keeps,
            idle: settings.idle,
            tidies: AtomicBool::new(false),
        }
    }

    fn origins(&self) -> MutexGuard<'_, HashMap<Key, Arc<Origin>>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// If the host's name cannot be in a header.
    pub(crate) fn origin(&self, key: Key) -> Result<Arc<Origin>, InvalidHeaderValue> {
        let mut origins = self.origins();
        if let Some(origin) = origins.get(&key) {
            return Ok(Arc::clone(origin));
        }
        let origin = Arc::new(Origin {
            authority: key.authority().try_into()?,
            key: key.clone(),
            state: Mutex::default(),
        });
        origins.insert(key, Arc::clone(&origin));
        Ok(origin)
    }

    /// The right to open a connection. At the limit of all, one that waits elsewhere is
    /// closed for it.
    pub(crate) fn slot(self: &Arc<Self>, origin: &Arc<Origin>) -> Option<Slot> {
        if origin.state().open >= self.most_each {
            return None;
        }
        if self.open.load(Relaxed) >= self.most {
            self.close_one();
            if self.open.load(Relaxed) >= self.most {
                return None;
            }
        }
        let total = match &self.total {
            None => None,
            Some(total) => {
                let take = || Arc::clone(total).try_acquire_owned().ok();
                let right = take().or_else(|| {
                    self.close_one();
                    take()
                });
                Some(right?)
            }
        };
        self.open.fetch_add(1, Relaxed);
        origin.state().open += 1;
        Some(Slot {
            _total: total,
            pool: Arc::clone(self),
            origin: Arc::clone(origin),
        })
    }

    /// Whether a connection that has been idle since then is not used again.
    fn is_old(&self, since: &Instant) -> bool {
        since.elapsed() >= self.idle
    }

    /// Closes the connection that has waited for longest.
    fn close_one(&self) {
        let origins = self.origins();
        let waiting = origins.values().filter_map(|origin| {
            let state = origin.state();
            Some((state.waits_since()?, Arc::clone(origin)))
        });
        let oldest = waiting.min_by_key(|(since, _)| *since);
        drop(origins);
        // A slot that is dropped needs the origin's lock.
        let closed = oldest.map(|(_, origin)| {
            let mut state = origin.state();
            match state.idle.is_empty() {
                false => (Some(state.idle.remove(0)), None),
                true => (None, state.shared.take_if(|(sender, _)| sender.is_idle())),
            }
        });
        drop(closed);
    }

    /// Closes what waits too long, as long as anything waits.
    fn tidy(self: &Arc<Self>) {
        if self.tidies.swap(true, Relaxed) {
            return;
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pool.idle).await;
                if !pool.close_old() {
                    return pool.tidies.store(false, Relaxed);
                }
            }
        });
    }

    /// Whether any is left.
    fn close_old(&self) -> bool {
        let mut closed = Vec::new();
        let mut closed_shared = Vec::new();
        let mut origins = self.origins();
        origins.retain(|_, origin| {
            let mut state = origin.state();
            closed.extend(state.idle.extract_if(.., |(sender, since)| {
                self.is_old(since) || sender.sender.is_closed()
            }));
            closed_shared.extend(state.shared.take_if(|(sender, since)| {
                (self.is_old(since) && sender.is_idle()) || sender.sender.is_closed()
            }));
            !state.idle.is_empty() || state.shared.is_some() || state.open > 0
        });
        let left = !origins.is_empty();
        drop(origins);
        left
    }
}
