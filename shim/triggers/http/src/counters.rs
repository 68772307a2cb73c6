//! Counters of events.

use std::sync::atomic::AtomicU64;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one server since it was bound. The owner reads them at any time;
        /// they only grow, except for `open_connections`.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Counters {
            /// Every counter with its name, in a fixed order.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(std::sync::atomic::Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Connections that were accepted.
    connections,
    /// Connections that are open now.
    open_connections,
    /// Idle connections that were closed to make room for new ones.
    gave_way,
    /// Requests answered 503 because the limit of connections was exceeded.
    refused_connections,
    /// Calls of `accept` that failed.
    accept_errors,
    /// Requests whose head was read, answered or not.
    requests,
    /// Requests answered 400 because their host is missing, duplicate or not valid.
    refused_hosts,
    /// Other requests that violate HTTP, answered 400, 431 or 501.
    bad_requests,
    /// Requests answered 413 because of their `content-length`.
    refused_bodies,
    /// Handlers that failed with [`Failure::Trap`](crate::Failure::Trap).
    traps,
    /// Handlers that failed with [`Failure::Deadline`](crate::Failure::Deadline).
    deadlines,
    /// Handlers that failed with [`Failure::Busy`](crate::Failure::Busy).
    busy,
    /// Handlers that failed in another way.
    failures,
    /// Responses that failed after their head was sent.
    cut_responses,
    /// Connections whose client took too long for a request head.
    header_timeouts,
    /// Requests whose client had closed its side, and which were not answered in time.
    gone_timeouts,
    /// Bodies whose client stopped sending.
    body_timeouts,
    /// Connections whose client stopped reading.
    write_timeouts,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}
