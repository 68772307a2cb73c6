//! `wasi:io` and the clock of 0.2.0-rc-2023-10-18.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as _;
use wasmtime_wasi::p2::bindings::io::error::HostError as _;
use wasmtime_wasi::p2::bindings::io::poll::HostPollable as _;
use wasmtime_wasi::p2::bindings::io::streams::{
    Host as _, HostInputStream, HostOutputStream, StreamError as Fault,
};
use wasmtime_wasi_io::poll::DynPollable;
use wasmtime_wasi_io::streams::{
    DynInputStream, DynOutputStream, Error, StreamError, StreamResult,
};

use crate::state::State;

type Spliced = (Resource<DynOutputStream>, Resource<DynInputStream>, u64);
type Forwarded = (Resource<DynOutputStream>, Resource<DynInputStream>);
type Moved = (Result<u64, Fault>,);

/// How many bytes are forwarded at once.
const PIECE: usize = 64 << 10;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance("wasi:io/poll@0.2.12")?.func_wrap_async(
        "poll-one",
        |mut store: StoreContextMut<'_, State>, (pollable,): (Resource<DynPollable>,)| {
            Box::new(async move { store.data_mut().table.block(pollable).await })
        },
    )?;
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    clock.func_wrap(
        "subscribe",
        |mut store: StoreContextMut<'_, State>, (when, absolute): (u64, bool)| {
            let mut clock = store.data_mut().clocks();
            let pollable = match absolute {
                true => clock.subscribe_instant(when)?,
                false => clock.subscribe_duration(when)?,
            };
            Ok((pollable,))
        },
    )?;
    let mut streams = linker.instance("wasi:io/streams@0.2.12")?;
    let ty = ResourceType::host::<Error>();
    streams.resource("error", ty, |mut store, rep| {
        let error = Resource::<Error>::new_own(rep);
        store.data_mut().table.delete(error)?;
        Ok(())
    })?;
    streams.func_wrap(
        "[method]error.to-debug-string",
        |mut store: StoreContextMut<'_, State>, (error,): (Resource<Error>,)| {
            Ok((store.data_mut().table.to_debug_string(error)?,))
        },
    )?;
    streams.func_wrap_async(
        "[method]output-stream.splice-rc20231018",
        |mut store: StoreContextMut<'_, State>, (to, from, most): Spliced| {
            Box::new(async move {
                let table = &mut store.data_mut().table;
                let moved = HostOutputStream::splice(table, to, of(&from), most);
                end(store.data_mut(), moved, from).await
            })
        },
    )?;
    streams.func_wrap_async(
        "[method]output-stream.blocking-splice-rc20231018",
        |mut store: StoreContextMut<'_, State>, (to, from, most): Spliced| {
            Box::new(async move {
                let table = &mut store.data_mut().table;
                let moved = HostOutputStream::blocking_splice(table, to, of(&from), most).await;
                end(store.data_mut(), moved, from).await
            })
        },
    )?;
    streams.func_wrap_async(
        "[method]output-stream.forward",
        |mut store: StoreContextMut<'_, State>, (to, from): Forwarded| {
            Box::new(async move {
                let moved = forward(store.data_mut(), &to, &from).await;
                end(store.data_mut(), moved, from).await
            })
        },
    )
}

/// The same stream again, for a function that only borrows it.
fn of(stream: &Resource<DynInputStream>) -> Resource<DynInputStream> {
    Resource::new_borrow(stream.rep())
}

/// Drops the stream that was read from, as it was given away.
async fn end(
    state: &mut State,
    moved: StreamResult<u64>,
    from: Resource<DynInputStream>,
) -> wasmtime::Result<Moved> {
    let moved = match moved {
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(state.table.convert_stream_error(error)?),
    };
    HostInputStream::drop(&mut state.table, from).await?;
    Ok((moved,))
}

/// Writes all that comes from a stream to another one.
async fn forward(
    state: &mut State,
    to: &Resource<DynOutputStream>,
    from: &Resource<DynInputStream>,
) -> StreamResult<u64> {
    let mut sum = 0;
    loop {
        let room = state.table.get_mut(to)?.write_ready().await?;
        let input = state.table.get_mut(from)?;
        let piece = match input.blocking_read(room.min(PIECE)).await {
            Ok(piece) => piece,
            Err(StreamError::Closed) => break,
            Err(error) => return Err(error),
        };
        sum += piece.len() as u64;
        state.table.get_mut(to)?.write(piece)?;
        // Others have their turn, also where neither stream ever makes it wait.
        tokio::task::yield_now().await;
    }
    let output = state.table.get_mut(to)?;
    output.flush()?;
    output.write_ready().await?;
    Ok(sum)
}
