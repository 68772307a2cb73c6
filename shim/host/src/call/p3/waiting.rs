//! A client that waits for an instance's response.

use std::sync::Arc;

use super::instance::Instance;

/// Held while a client waits for its response. A client that leaves drops it, and then the
/// instance has a limited time to become idle.
pub(crate) struct Waiting {
    instance: Option<Arc<Instance>>,
    /// How often the instance had become idle when the request was passed on.
    rests: usize,
}

impl Waiting {
    pub(super) fn new(instance: &Arc<Instance>) -> Self {
        Waiting {
            rests: instance.rests(),
            instance: Some(Arc::clone(instance)),
        }
    }

    /// The client has its response, and the guest may continue.
    pub(crate) fn over(mut self) {
        if let Some(instance) = self.instance.take() {
            instance.body_is_over();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(instance) = self.instance.take() else {
            return;
        };
        instance.body_is_over();
        // Without a runtime the process is shutting down.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (rests, limit) = (self.rests, instance.patience());
        if !instance.begins_abandoned(rests) {
            return;
        }
        runtime.spawn(async move {
            tokio::time::sleep(limit).await;
            instance.is_abandoned(rests, limit);
        });
    }
}
