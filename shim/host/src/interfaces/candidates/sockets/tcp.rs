//! Options of TCP sockets that the release does not have.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::tcp::{HostTcpSocket as _, TcpSocket};
use wasmtime_wasi::sockets::WasiSocketsView as _;

use super::{answer, fixed, ipv6_only};
use crate::state::State;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut tcp = linker.instance("wasi:sockets/tcp@0.2.12")?;
    tcp.func_wrap(
        "[method]tcp-socket.ipv6-only",
        |mut store: StoreContextMut<'_, State>, (socket,): (Resource<TcpSocket>,)| {
            let family = store.data_mut().sockets().address_family(socket)?;
            answer(ipv6_only(family))
        },
    )?;
    tcp.func_wrap(
        "[method]tcp-socket.set-ipv6-only",
        |mut store: StoreContextMut<'_, State>, (socket, asked): (Resource<TcpSocket>, bool)| {
            let family = store.data_mut().sockets().address_family(socket)?;
            answer(ipv6_only(family).and_then(|only| fixed(only, asked)))
        },
    )?;
    tcp.func_wrap(
        "[method]tcp-socket.no-delay",
        |mut store: StoreContextMut<'_, State>, (socket,): (Resource<TcpSocket>,)| {
            store.data_mut().table.get(&socket)?;
            answer(Ok(false))
        },
    )?;
    tcp.func_wrap(
        "[method]tcp-socket.set-no-delay",
        |mut store: StoreContextMut<'_, State>, (socket, asked): (Resource<TcpSocket>, bool)| {
            store.data_mut().table.get(&socket)?;
            answer(fixed(false, asked))
        },
    )
}
