//! What a store holds for one instance.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use skiff_engine::{Guest, MemoryError, Ticks};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};
use wasmtime_wasi_io::IoView;

use crate::held::Lent;
use crate::interfaces::{candidates, filesystem, http, random, wasi};
use crate::meter::Meter;
use crate::{Grants, NameError, Output, held};

/// The state of one instance: its handles, the memory it has taken, and each interface's
/// own state.
pub(crate) struct State {
    meter: Meter,
    pub(crate) table: ResourceTable,
    /// Handles that guests have left behind, which wasmtime still counts.
    left: usize,
    /// For how many more ticks the host's memory for it is not checked.
    unseen: usize,
    wasi: wasi::Context,
    pub(crate) http: http::Http,
    pub(crate) filesystem: filesystem::Opened,
    pub(crate) random: random::Seed,
    pub(crate) exchanges: candidates::Exchanges,
    /// Memory that the guest prints to.
    printed: Option<Output>,
    calls: held::Calls,
}

impl State {
    fn new(grants: &Arc<Grants>) -> Self {
        State {
            meter: Meter::new(grants),
            table: new_table(),
            left: 0,
            unseen: 0,
            wasi: wasi::Context::default(),
            http: http::Http::new(grants),
            filesystem: filesystem::Opened::default(),
            random: random::Seed::default(),
            exchanges: candidates::Exchanges::default(),
            printed: None,
            calls: held::Calls::default(),
        }
    }

    /// Gives the guest another context than its grants do. `printed` is memory that it
    /// prints to, and that counts as its own.
    pub(crate) fn begins_in(&mut self, context: wasi::Context, printed: Option<Output>) {
        self.wasi = context;
        self.printed = printed;
    }

    /// A store for one instance, with its limits.
    pub(crate) fn store(engine: &Engine, grants: &Arc<Grants>, ticks: &Ticks) -> Store<State> {
        let mut store = Store::new(engine, State::new(grants));
        store.limiter(|state| &mut state.meter);
        if let Some(table) = store.concurrent_resource_table() {
            table.set_max_capacity(held::MOST_HANDLES);
        }
        ticks.interrupt(&mut store);
        store
    }

    pub(crate) fn grants(&self) -> &Grants {
        self.meter.grants()
    }

    pub(crate) fn outbound(&self) -> http::Outbound {
        self.http.outbound().clone()
    }

    /// Looks up a name for a socket.
    pub(crate) fn look_up(
        &mut self,
        name: &str,
    ) -> impl Future<Output = Result<Vec<IpAddr>, NameError>> + Send + use<> {
        let found = self.wasi.found();
        self.meter.grants().sockets.look_up(name, found)
    }

    /// A socket was dropped; `is_socket` knows those that are left.
    pub(crate) fn socket_ended(&mut self, is_socket: impl Fn(&(dyn Any + Send)) -> bool) {
        let State { wasi, table, .. } = self;
        if let Some(found) = wasi.has_found() {
            found.has_left(|| table.iter_mut().filter(|entry| is_socket(&**entry)).count());
        }
    }

    /// Counts bytes that a host function holds while it runs.
    pub(crate) fn holds(&mut self, bytes: usize) -> Result<(), skiff_engine::MemoryError> {
        self.meter.check(bytes)
    }

    /// The request that the caller of a host function answers, by its task.
    pub(crate) fn answers(&mut self, task: Option<wasmtime::component::GuestTaskId>) {
        let origin = task.and_then(|task| self.http.origins.find(task)).cloned();
        self.http.answers(origin);
    }

    /// Whether the guest has asked for its arguments, environment, files, time or random
    /// numbers.
    pub(crate) fn has_looked_around(&self) -> bool {
        self.wasi.is_made() || self.random.is_made()
    }

    /// Whether too many handles were left behind for another guest.
    pub(crate) fn is_littered(&self) -> bool {
        self.left > held::MOST_LEFT
    }

    /// The number of its handles.
    pub(crate) fn handles(&mut self) -> usize {
        self.table.iter_mut().count()
    }

    /// The number of its handles, and the bytes that the host holds for it.
    fn held(&mut self) -> (usize, usize) {
        let printed = self.printed.as_ref().map_or(0, Output::size);
        let (mut handles, mut held) = (0, self.calls.bytes() + printed);
        for entry in self.table.iter_mut() {
            handles += 1;
            held += held::size(entry);
        }
        (handles, held)
    }

    /// Counts bytes that the host holds for a call, until the result is dropped.
    ///
    /// # Errors
    /// If there is no room for them in the guest's memory limit.
    pub(crate) fn lend(&mut self, bytes: usize) -> Result<Option<Lent>, MemoryError> {
        if bytes < held::FREE_CALL {
            return Ok(None);
        }
        let lent = self.calls.lend(bytes);
        let (_, held) = self.held();
        self.meter.check(held)?;
        Ok(Some(lent))
    }

    /// About how many bytes more can be lent to a call at this moment.
    pub(crate) fn room(&self) -> usize {
        self.meter.room()
    }

    /// The state of a new instance, except for its memory.
    pub(crate) fn renew(&mut self) {
        let handles = self.handles();
        // All fields are named, so that a new one is not forgotten here.
        let State {
            meter,
            table,
            left,
            unseen,
            wasi,
            http,
            filesystem,
            random,
            exchanges,
            printed,
            calls,
        } = self;
        *printed = None;
        meter.holds_nothing();
        *table = new_table();
        *left += handles;
        *unseen = 0;
        wasi.renew();
        http.renew();
        filesystem.renew();
        random.renew();
        exchanges.renew();
        *calls = held::Calls::default();
    }
}

fn new_table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(held::MOST_HANDLES);
    table
}

impl Guest for State {
    fn ticked(&mut self) -> wasmtime::Result<()> {
        if let Some(unseen) = self.unseen.checked_sub(1) {
            self.unseen = unseen;
            self.meter.check_pod()?;
            return Ok(());
        }
        let (handles, held) = self.held();
        // Checking many takes time, and creating many more takes longer.
        self.unseen = handles / held::HANDLES_A_TICK;
        self.meter.check(held)?;
        Ok(())
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.view(self.meter.grants(), &mut self.table)
    }
}

impl IoView for State {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        http_view(self)
    }
}

pub(crate) fn http_view(state: &mut State) -> WasiHttpCtxView<'_> {
    state.http.view(&mut state.table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_renewed_has_nothing_of_what_was_but_counts_its_handles() {
        let mut state = State::new(&Arc::new(Grants::none("guest")));
        assert!(!state.has_looked_around());
        let first = state.table.push("of the first").unwrap();
        state.table.push("of the first as well").unwrap();
        let _ = state.ctx();
        assert!(state.has_looked_around());
        state.renew();
        assert!(!state.has_looked_around());
        assert_eq!(state.handles(), 0);
        assert!(state.table.get(&first).is_err());
        assert_eq!(state.left, 2);
        assert!(!state.is_littered());
        state.left = held::MOST_LEFT + 1;
        assert!(state.is_littered());
    }
}
