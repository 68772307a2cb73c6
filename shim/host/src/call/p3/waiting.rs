//! A client that waits for what an instance does.

use std::sync::Arc;

use super::instance::Instance;

/// Held while a client waits for its answer. A client that leaves drops it, and from then
/// on the instance has a limited time to come to rest.
pub(crate) struct Waiting {
    instance: Option<Arc<Instance>>,
    /// How often the instance had rested when the request was handed over.
    rests: usize,
}

impl Waiting {
    pub(super) fn new(instance: &Arc<Instance>) -> Self {
        Waiting {
            rests: instance.rests(),
            instance: Some(Arc::clone(instance)),
        }
    }

    /// The client has its answer, and the guest may work on.
    pub(crate) fn over(mut self) {
        self.instance = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(instance) = self.instance.take() else {
            return;
        };
        // Outside a runtime the process is on its way out.
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
