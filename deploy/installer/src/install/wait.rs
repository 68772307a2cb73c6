//! Waiting until containerd is back.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Limits, NotBack};
use crate::HANDLER;
use crate::host::Host;
use crate::layouts::Service;
use crate::node::Node;

/// Whether containerd offers our handler.
pub(super) fn is_among(handlers: &[String]) -> bool {
    handlers.iter().any(|handler| handler == HANDLER)
}

pub(super) struct Wait<'a, N> {
    pub(super) host: &'a Host,
    pub(super) node: &'a N,
    pub(super) socket: &'a Path,
    pub(super) limits: Limits,
}

impl<N: Node> Wait<'_, N> {
    /// Restarts containerd, or has the distribution do so, and waits until it
    /// offers the handler, or no longer does.
    pub(super) fn restarted(&self, service: Service, with_handler: bool) -> Result<(), NotBack> {
        if let Service::Watched(_) = service {
            let seen = self.until(self.limits.seen_within, Some(with_handler));
            if seen.is_ok() {
                return seen;
            }
        }
        self.restart(service)?;
        self.for_handler(with_handler)
    }

    /// Restarts it and waits until it answers, whatever it offers.
    pub(super) fn restarted_with_anything(&self, service: Service) -> Result<(), NotBack> {
        self.restart(service)?;
        self.until(self.limits.back_within, None)
    }

    fn restart(&self, service: Service) -> Result<(), NotBack> {
        let within = self.limits.restarted_within;
        Ok(self.node.restart(self.host, service, within)?)
    }

    /// Waits until it offers the handler, or no longer does.
    pub(super) fn for_handler(&self, with_handler: bool) -> Result<(), NotBack> {
        self.until(self.limits.back_within, Some(with_handler))
    }

    fn until(&self, within: Duration, wanted: Option<bool>) -> Result<(), NotBack> {
        let end = Instant::now() + within;
        loop {
            let answer = self.node.handlers(self.host, self.socket);
            if let Ok(handlers) = &answer
                && wanted.is_none_or(|wanted| wanted == is_among(handlers))
            {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(match answer {
                    Ok(_) => NotBack::NoHandler { within },
                    Err(source) => NotBack::Silent { within, source },
                });
            }
            sleep(self.limits.again);
        }
    }
}
