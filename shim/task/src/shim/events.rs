//! What containerd is told without having asked.

use std::sync::{Mutex, PoisonError};

use containerd_shim::event::Event;
use containerd_shim::publisher::RemotePublisher;

/// The way to containerd's event service, for one namespace of it.
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

    /// Tells it. A containerd that was restarted is found again; one that is away
    /// asks for itself when it is back.
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
            Err(error) => log::warn!("cannot tell containerd of {}: {error}", event.topic()),
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
