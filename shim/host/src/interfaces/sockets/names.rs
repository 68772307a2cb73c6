//! Addresses of the names that a component was granted.

use std::fmt::Debug;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skiff_manifest::hosts::Host;

use super::Sockets;
use super::limit::{Limits, Right};

/// How many addresses of names an instance may connect to.
const MOST: usize = 1024;

/// Finds the addresses of names.
pub trait Names: Debug + Send + Sync {
    /// All addresses of a name; none if it has none.
    ///
    /// # Errors
    /// [`NameError::Failed`] if they cannot be found out now.
    fn addresses(
        &self,
        name: &str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, NameError>> + Send>>;
}

/// Why a name has no address for a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// No entry for sockets has it.
    Denied,
    /// It is not a name.
    Invalid,
    /// It has no address, or none that may be connected to.
    Unknown,
    /// No name server answers.
    Failed,
}

/// What an instance has found and has connected to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Addresses with their names: an entry with the name allows them.
    names: Vec<(IpAddr, Host)>,
    /// Rights to connections, where they have a limit: no more than there are sockets.
    rights: Vec<Right>,
}

impl Found {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for one more connection, which counts from now on.
    pub(super) fn connects(&self, limits: &Limits) -> bool {
        let right = limits.take();
        let connects = right.is_some();
        self.inner().rights.extend(right);
        connects
    }

    /// A socket was dropped, and as many as `sockets` says are left.
    pub(crate) fn has_left(&self, sockets: impl FnOnce() -> usize) {
        let mut inner = self.inner();
        if !inner.rights.is_empty() {
            inner.rights.truncate(sockets());
        }
    }

    pub(super) fn names_of(&self, ip: IpAddr) -> Vec<Host> {
        let found = &self.inner().names;
        let names = found.iter().filter(|(other, _)| *other == ip);
        names.map(|(_, host)| host.clone()).collect()
    }

    fn add(&self, addresses: &[IpAddr], host: &Host) {
        let found = &mut self.inner().names;
        for ip in addresses {
            let new = (*ip, host.clone());
            if found.len() < MOST && !found.contains(&new) {
                found.push(new);
            }
        }
    }
}

impl Sockets {
    /// The addresses of a name that an entry for sockets has; the instance may connect to
    /// them from then on, as the entry says.
    pub(crate) fn look_up(
        &self,
        name: &str,
        found: &Found,
    ) -> impl Future<Output = Result<Vec<IpAddr>, NameError>> + Send + use<> {
        let host = match name.parse::<Ipv6Addr>() {
            Ok(ip) => Ok(Host::Ipv6(ip)),
            Err(_) => Host::parse(name).map_err(|_| NameError::Invalid),
        };
        let (sockets, found) = (self.clone(), found.clone());
        async move {
            let host = host?;
            if !sockets.may_look_up(&host) {
                return Err(NameError::Denied);
            }
            let (Some(names), Host::Domain(name)) = (&sockets.names, &host) else {
                return match host {
                    Host::Ipv4(ip) => Ok(vec![IpAddr::V4(ip)]),
                    Host::Ipv6(ip) => Ok(vec![IpAddr::V6(ip)]),
                    Host::Domain(_) => Err(NameError::Denied),
                };
            };
            let mut addresses = names.addresses(name).await?;
            addresses.retain(|ip| !sockets.blocked.contains(*ip));
            if addresses.is_empty() {
                return Err(NameError::Unknown);
            }
            found.add(&addresses, &host);
            Ok(addresses)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A few names.
    #[derive(Debug)]
    pub(in super::super) struct Table;

    impl Names for Table {
        fn addresses(
            &self,
            name: &str,
        ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, NameError>> + Send>> {
            let answer = match name {
                "db.test" => Ok(vec!["10.0.0.7".parse().unwrap()]),
                "trap.test" => Ok(vec!["169.254.169.254".parse().unwrap()]),
                "dead.test" => Err(NameError::Failed),
                _ => Ok(Vec::new()),
            };
            Box::pin(std::future::ready(answer))
        }
    }
}
