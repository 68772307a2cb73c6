//! What an instance has taken of the memory that is granted to its component.

use std::sync::Arc;

use skiff_engine::{Account, MemoryError};
use wasmtime::ResourceLimiter;

use crate::Grants;

/// An instance's account. What was taken is given back when it is dropped.
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

    /// Looks at the whole pod and at what the host holds for the guest, in bytes.
    pub(crate) fn check(&mut self, held: usize) -> Result<(), MemoryError> {
        self.grants.memory.check(&mut self.account, held)
    }

    /// The host holds nothing for the guest any more.
    pub(crate) fn holds_nothing(&mut self) {
        self.grants.memory.holds_nothing(&mut self.account);
    }

    /// Looks at the whole pod alone.
    pub(crate) fn check_pod(&self) -> Result<(), MemoryError> {
        self.grants.memory.check_pod(&self.account)
    }
}

/// Refuses growth of linear memories, as the contract has it: without a trap.
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
