//! Events sent to containerd.

use std::sync::{Mutex, PoisonError};

use containerd_shim::event::Event;
use containerd_shim::publisher::RemotePublisher;

/// A connection to containerd's event service, for one namespace.
pub(crate) struct Events {
    namespace: String,
    address: String,
    publisher: Mutex<Option<RemotePublisher>>,
}

impl Events {
    /// `address` is that of containerd's ttrpc socket.
    pub(crate) fn new(namespace: String, address: String) -> Self {
        Self {
            namespace,
            address,
            publisher: Mutex::default(),
        }
    }

    /// Sends an event. Reconnects if containerd was restarted. If it is down, it asks for
    /// the state itself once it is back.
    pub(crate) fn send<E: Event + Clone>(&self, event: &E) {
        let mut publisher = self
            .publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*publisher
            && self.publish(known, event).is_ok()
        {
            return;
        }
        let found = RemotePublisher::new(&self.address).and_then(|new| {
            self.publish(&new, event)?;
            Ok(new)
        });
        match found {
            Ok(new) => *publisher = Some(new),
            Err(error) => log::warn!("cannot send {} to containerd: {error}", event.topic()),
        }
    }

    fn publish<E: Event + Clone>(
        &self,
        publisher: &RemotePublisher,
        event: &E,
    ) -> containerd_shim::Result<()> {
        let topic = event.topic();
        let event = Box::new(event.clone());
        publisher.publish(Default::default(), &topic, &self.namespace, event)
    }
}
