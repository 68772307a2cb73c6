//! Counts what an instance has taken of the memory granted to its component.

use std::sync::Arc;

use skiff_engine::{Account, MemoryError};
use wasmtime::ResourceLimiter;

use crate::Grants;

/// An instance's account. What it has taken is returned on drop.
pub(crate) struct Meter {
    grants: Arc<Grants>,
    account: Account,
}

impl Meter {
    pub(crate) fn new(grants: &Arc<Grants>) -> Self {
        Meter {
            grants: Arc::clone(grants),
            account: Account::default(),
        }
    }

    pub(crate) fn grants(&self) -> &Arc<Grants> {
        &self.grants
    }

    /// Checks the whole pod and what the host holds for the guest, in bytes.
    pub(crate) fn check(&mut self, held: usize) -> Result<(), MemoryError> {
        self.grants.memory.check(&mut self.account, held)
    }

    /// How many bytes more the host may hold for the guest at this moment.
    pub(crate) fn room(&self) -> usize {
        self.grants.memory.room(&self.account)
    }

    /// The host no longer holds anything for the guest.
    pub(crate) fn holds_nothing(&mut self) {
        self.grants.memory.holds_nothing(&mut self.account);
    }

    /// Checks the whole pod only.
    pub(crate) fn check_pod(&self) -> Result<(), MemoryError> {
        self.grants.memory.check_pod(&self.account)
    }
}

/// Refuses growth of linear memories without a trap, so that the guest can handle it.
impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let limit = &self.grants.memory;
        Ok(limit.allows_growth(&mut self.account, current, desired, maximum))
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.grants.memory.close(&mut self.account);
    }
}
