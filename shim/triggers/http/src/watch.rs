//! The state of a connection, written by the connection itself and read by the server's one
//! timer, which then gives orders.
//!
//! A connection and its bodies run in one task on one thread, so plain loads and stores are
//! enough; they are atomic because a handler may move a body to another thread.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use skiff_trigger::Health;

use crate::clock::{Clock, Mark};
use crate::streams::Flows;
use crate::{Counters, Settings};

/// Finish running requests, then close.
pub(crate) const DRAIN: u8 = 1;
/// The client has stopped sending a body that is waited for: its read has to fail.
pub(crate) const STALLED: u8 = 2;
/// Close at once.
pub(crate) const CLOSE: u8 = 4;
/// Report that a request head took too long, then close.
pub(crate) const LATE_HEAD: u8 = 8;

/// How long a connection that was ordered to end may stay without a request, and how long a
/// client that is still sending may take to notice its response. One round trip is enough
/// for both.
const PARTING: Duration = Duration::from_secs(2);

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<Counters>,
    /// The application's health, for the health endpoint.
    pub(crate) health: Health,
    pub(crate) body_timeout: Duration,
    pub(crate) max_body_bytes: u64,
    pub(crate) max_header_count: usize,
    pub(crate) access_log: bool,
    max_connections: u64,
    /// Connections that were ordered to make room and have not ended yet.
    giving_way: AtomicU64,
    /// Whether the server was asked to stop.
    leaving: AtomicBool,
    /// How many health checks it has answered since.
    probes: AtomicU64,
    header_ticks: u64,
    idle_ticks: u64,
    body_ticks: u64,
    write_ticks: u64,
    gone_ticks: u64,
    parting_ticks: u64,
}

impl Limits {
    pub(crate) fn new(settings: &Settings, counters: Arc<Counters>, health: Health) -> Self {
        let times = [
            settings.header_timeout,
            settings.idle_timeout,
            settings.body_timeout,
            settings.write_timeout,
            settings.gone_timeout,
        ];
        let clock = Clock::new(times.into_iter().min().unwrap_or(PARTING));
        Limits {
            counters,
            health,
            body_timeout: settings.body_timeout,
            max_body_bytes: settings.max_body_bytes.unwrap_or(u64::MAX),
            max_header_count: settings.max_header_count,
            access_log: settings.access_log,
            max_connections: settings.max_connections as u64,
            giving_way: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            probes: AtomicU64::new(0),
            header_ticks: clock.ticks(settings.header_timeout),
            idle_ticks: clock.ticks(settings.idle_timeout),
            body_ticks: clock.ticks(settings.body_timeout),
            write_ticks: clock.ticks(settings.write_timeout),
            gone_ticks: clock.ticks(settings.gone_timeout),
            parting_ticks: clock.ticks(PARTING),
            clock,
        }
    }

    /// From now on each HTTP/1 response announces that the server is stopping.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Relaxed);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Whether there are more connections than the limit.
    fn is_full(&self) -> bool {
        let going = self.giving_way.load(Relaxed);
        self.counters.open_connections.load(Relaxed) > self.max_connections + going
    }

    /// Counts an answered probe; if the server is stopping, the probe has seen that.
    pub(crate) fn probed(&self) {
        if self.is_leaving() {
            Counters::add(&self.probes);
        }
    }

    /// How many connections have been accepted, except those of probes since the stop:
    /// kubelet continues to probe until the end.
    pub(crate) fn comers(&self) -> u64 {
        let connections = self.counters.connections.load(Relaxed);
        connections.saturating_sub(self.probes.load(Relaxed))
    }
}

/// One connection's state.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) limits: Arc<Limits>,
    pub(crate) peer: SocketAddr,
    /// How many connections were accepted before it.
    pub(crate) number: u64,
    /// Whether it is beyond the limit, and accepted for health checks only.
    spare: AtomicBool,
    /// Whether it was ordered to make room.
    gives_way: AtomicBool,
    http2: AtomicBool,
    pub(crate) flows: Flows,
    orders: AtomicU8,
    waker: Mutex<Option<Waker>>,
    /// Requests whose response is not finished.
    serving: AtomicU32,
    /// Request bodies that a handler holds.
    bodies: AtomicU32,
    /// Whether the last request body was not read to its end.
    unread: AtomicBool,
    /// Since when there has been no request and no write.
    idle: Mark,
    /// When the head that is being read began.
    head: Mark,
    /// Since when a body has been waited for.
    body_wait: Mark,
    /// Since when the client has read nothing, as of the connection's last check.
    write_wait: Mark,
    /// Whether the connection has been asked to check whether the client reads.
    write_asked: AtomicBool,
    /// Since when the client has closed its side while it waits for a response.
    half_closed: Mark,
    /// Since when the connection has been ordered to end.
    parting: Mark,
    /// Since when the client's remaining data has been discarded.
    lingering: Mark,
}

impl Watch {
    pub(crate) fn new(limits: Arc<Limits>, peer: SocketAddr, spare: bool) -> Self {
        let number = limits.counters.connections.load(Relaxed);
        let watch = Watch {
            limits,
            peer,
            number,
            spare: AtomicBool::new(spare),
            gives_way: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            flows: Flows::default(),
            orders: AtomicU8::new(0),
            waker: Mutex::new(None),
            serving: AtomicU32::new(0),
            bodies: AtomicU32::new(0),
            unread: AtomicBool::new(false),
            idle: Mark::default(),
            head: Mark::default(),
            body_wait: Mark::default(),
            write_wait: Mark::default(),
            write_asked: AtomicBool::new(false),
            half_closed: Mark::default(),
            parting: Mark::default(),
            lingering: Mark::default(),
        };
        watch.idle.set(&watch.limits.clock);
        watch.head.set(&watch.limits.clock);
        watch
    }

    /// In HTTP/2, heads cannot be distinguished from other frames here: only idleness
    /// counts.
    pub(crate) fn set_http2(&self) {
        self.http2.store(true, Relaxed);
        self.head.clear();
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.http2.load(Relaxed)
    }

    // Reported by the connection.

    pub(crate) fn bytes_came(&self) {
        if self.is_http2() {
            self.idle.set(&self.limits.clock);
        } else if self.serving.load(Relaxed) == 0 {
            self.head.set_once(&self.limits.clock);
        }
    }

    pub(crate) fn request_began(&self) {
        Counters::add(&self.limits.counters.requests);
        self.serving.fetch_add(1, Relaxed);
        self.head.clear();
        self.unread.store(false, Relaxed);
    }

    pub(crate) fn response_ended(&self) {
        if self.serving.fetch_sub(1, Relaxed) == 1 {
            self.idle.set(&self.limits.clock);
            self.end_half_closed();
        }
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.serving.load(Relaxed) > 0
    }

    /// Whether an HTTP/1 client that has closed its side still waits for something: its
    /// request was complete, and its response is not written.
    pub(crate) fn owes(&self) -> bool {
        let answers = self.serving.load(Relaxed) > 0 && !self.unread.load(Relaxed);
        answers || self.write_wait.is_set()
    }

    /// The client has closed its side while it waits for a response. Its connection has to
    /// check again afterwards.
    pub(crate) fn closed_half(&self) {
        self.half_closed.set_once(&self.limits.clock);
    }

    fn end_half_closed(&self) {
        if self.half_closed.is_set() {
            self.wake();
        }
    }

    /// The request has a body, which hyper reads before a handler holds it.
    pub(crate) fn body_comes(&self) {
        self.unread.store(true, Relaxed);
    }

    pub(crate) fn body_began(&self) {
        self.bodies.fetch_add(1, Relaxed);
    }

    pub(crate) fn body_was_read(&self) {
        self.unread.store(false, Relaxed);
    }

    pub(crate) fn body_ended(&self) {
        self.body_wait.clear();
        if self.bodies.fetch_sub(1, Relaxed) == 1 {
            self.idle.set(&self.limits.clock);
        }
    }

    pub(crate) fn body_waits(&self) {
        self.body_wait.set(&self.limits.clock);
    }

    pub(crate) fn body_goes_on(&self) {
        self.body_wait.clear();
    }

    /// A write begins to wait, or still waits although the client has read something.
    pub(crate) fn write_waits(&self) {
        self.write_wait.set(&self.limits.clock);
        self.write_asked.store(false, Relaxed);
    }

    pub(crate) fn write_goes_on(&self) {
        self.write_wait.clear();
        self.write_asked.store(false, Relaxed);
        self.end_half_closed();
    }

    /// Whether a waiting write has timed out. The connection is then closed unless it
    /// reports with [`Watch::write_waits`] that the client reads.
    pub(crate) fn asks_for_progress(&self) -> bool {
        self.write_asked.load(Relaxed)
    }

    /// Whether bytes of a response wait for the client to read others, on a connection
    /// without other responses.
    pub(crate) fn socket_is_full(&self) -> bool {
        !self.is_http2() && self.write_wait.is_set()
    }

    /// Large responses are still being written after their request has ended here.
    pub(crate) fn wrote(&self) {
        self.idle.set(&self.limits.clock);
    }

    pub(crate) fn lingers(&self) {
        self.lingering.set_once(&self.limits.clock);
    }

    /// Whether the client is still sending: closing now would make its kernel discard the
    /// response.
    pub(crate) fn has_unread(&self) -> bool {
        !self.is_http2() && (self.unread.load(Relaxed) || self.head.is_set())
    }

    /// Whether requests other than health checks are refused. A connection accepted beyond
    /// the limit becomes a regular one as soon as there is room.
    #[inline]
    pub(crate) fn is_spare(&self) -> bool {
        if !self.spare.load(Relaxed) {
            return false;
        }
        let full = self.limits.is_full();
        self.spare.store(full, Relaxed);
        full
    }

    /// For how many ticks it has been without a request; `None` if it has one.
    pub(crate) fn idle_age(&self) -> Option<u64> {
        let busy = self.is_busy() || self.orders() != 0;
        (!busy).then(|| {
            let since = if self.head.is_set() {
                &self.head
            } else {
                &self.idle
            };
            since.age(&self.limits.clock)
        })
    }

    fn is_busy(&self) -> bool {
        self.serving.load(Relaxed) > 0 || self.bodies.load(Relaxed) > 0 || self.write_wait.is_set()
    }

    /// Its task has ended.
    pub(crate) fn ended(&self) {
        if self.gives_way.load(Relaxed) {
            self.limits.giving_way.fetch_sub(1, Relaxed);
        }
    }

    // Ordered by the server.

    /// Ends a connection without a request to make room.
    pub(crate) fn give_way(&self) {
        self.gives_way.store(true, Relaxed);
        Counters::add(&self.limits.giving_way);
        self.order(if self.head.is_set() { LATE_HEAD } else { DRAIN });
    }

    /// Stores the connection's waker. The task of a connection never changes.
    pub(crate) fn attend(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    pub(crate) fn orders(&self) -> u8 {
        self.orders.load(Relaxed)
    }

    pub(crate) fn order(&self, order: u8) {
        if order & DRAIN != 0 {
            self.parting.set_once(&self.limits.clock);
        }
        self.orders.fetch_or(order, Relaxed);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }

    /// Compares all marks with the clock and gives the orders that follow.
    pub(crate) fn sweep(&self) {
        let Limits {
            clock, counters, ..
        } = &*self.limits;
        let old = |mark: &Mark, ticks: u64| mark.is_older(ticks, clock);
        if self.orders() & (CLOSE | LATE_HEAD) != 0 {
            return;
        }
        if old(&self.lingering, self.limits.parting_ticks) {
            return self.order(CLOSE);
        }
        if old(&self.write_wait, self.limits.write_ticks) {
            if self.write_asked.swap(true, Relaxed) {
                Counters::add(&counters.write_timeouts);
                return self.order(CLOSE);
            }
            // It has until the next tick to answer.
            return self.wake();
        }
        if old(&self.body_wait, self.limits.body_ticks) && self.orders() & STALLED == 0 {
            Counters::add(&counters.body_timeouts);
            return self.order(STALLED);
        }
        // If the server is full, a client that may have left makes room at once.
        let gone = old(&self.half_closed, self.limits.gone_ticks)
            || self.half_closed.is_set() && self.limits.is_full();
        if gone && !self.write_wait.is_set() {
            Counters::add(&counters.gone_timeouts);
            return self.order(CLOSE);
        }
        let stalled = self.flows.sweep(self.limits.write_ticks, clock);
        counters.write_timeouts.fetch_add(stalled as u64, Relaxed);
        if self.is_busy() {
            return;
        }
        let parting = self.parting.is_set();
        if parting
            && old(&self.parting, self.limits.parting_ticks)
            && old(&self.idle, self.limits.parting_ticks)
        {
            self.order(CLOSE);
        } else if parting {
            // A connection that is ending gets no further reason to.
        } else if old(&self.head, self.limits.header_ticks) {
            Counters::add(&counters.header_timeouts);
            self.order(LATE_HEAD);
        } else if !self.head.is_set() && old(&self.idle, self.limits.idle_ticks) {
            self.order(DRAIN);
        }
    }
}
