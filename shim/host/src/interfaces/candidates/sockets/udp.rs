//! UDP sockets of the first candidate, which send and receive themselves; those of the release
//! have streams for it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket, IncomingDatagramStream,
    OutgoingDatagram, OutgoingDatagramStream, UdpSocket,
};
use wasmtime_wasi::p2::{SocketError, SocketResult};
use wasmtime_wasi::sockets::{WasiSocketsCtxView, WasiSocketsView as _};
use wasmtime_wasi_io::poll::{DynPollable, subscribe};

use super::{answer, fixed, ipv6_only};
use crate::state::State;

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datagram {
    #[component(name = "data")]
    data: Vec<u8>,
    #[component(name = "remote-address")]
    remote_address: IpSocketAddress,
}

/// What goes in and out at a UDP socket: the release has streams for it, and the first
/// candidate the socket itself.
struct Exchange {
    socket: u32,
    incoming: u32,
    outgoing: u32,
    /// It has been connected, which the guest was not told yet.
    connecting: bool,
    /// The guest found nothing to receive, so that it waits until there is.
    waits: bool,
}

/// Those of an instance's sockets.
#[derive(Default)]
pub(crate) struct Exchanges(Vec<Exchange>);

impl Exchanges {
    pub(crate) fn renew(&mut self) {
        self.0.clear();
    }

    fn find(&mut self, socket: &Resource<UdpSocket>) -> Option<&mut Exchange> {
        let mut all = self.0.iter_mut();
        all.find(|exchange| exchange.socket == socket.rep())
    }

    fn take(&mut self, socket: u32) -> Option<Exchange> {
        let index = self
            .0
            .iter()
            .position(|exchange| exchange.socket == socket)?;
        Some(self.0.swap_remove(index))
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut udp = linker.instance("wasi:sockets/udp@0.2.12")?;
    let ty = ResourceType::host::<UdpSocket>();
    udp.resource("udp-socket", ty, |mut store, rep| {
        let state = store.data_mut();
        close(state, rep)?;
        HostUdpSocket::drop(&mut state.sockets(), Resource::new_own(rep))
    })?;
    linker.allow_shadowing(false);
    let mut udp = linker.instance("wasi:sockets/udp@0.2.12")?;
    udp.func_wrap(
        "[method]udp-socket.ipv6-only",
        |mut store: StoreContextMut<'_, State>, (socket,): (Resource<UdpSocket>,)| {
            let family = store.data_mut().sockets().address_family(socket)?;
            answer(ipv6_only(family))
        },
    )?;
    udp.func_wrap(
        "[method]udp-socket.set-ipv6-only",
        |mut store: StoreContextMut<'_, State>, (socket, asked): (Resource<UdpSocket>, bool)| {
            let family = store.data_mut().sockets().address_family(socket)?;
            answer(ipv6_only(family).and_then(|only| fixed(only, asked)))
        },
    )?;
    type Connected = (Resource<UdpSocket>, Resource<Network>, IpSocketAddress);
    udp.func_wrap_async(
        "[method]udp-socket.start-connect",
        |mut store: StoreContextMut<'_, State>, (socket, network, to): Connected| {
            Box::new(async move { answer(connect(store.data_mut(), &socket, network, to).await) })
        },
    )?;
    udp.func_wrap(
        "[method]udp-socket.finish-connect",
        |mut store: StoreContextMut<'_, State>, (socket,): (Resource<UdpSocket>,)| {
            let state = store.data_mut();
            state.table.get(&socket)?;
            let exchange = state.exchanges.find(&socket);
            let connected = exchange.is_some_and(|it| std::mem::take(&mut it.connecting));
            answer(match connected {
                true => Ok(()),
                false => Err(ErrorCode::NotInProgress.into()),
            })
        },
    )?;
    udp.func_wrap_async(
        "[method]udp-socket.receive",
        |mut store: StoreContextMut<'_, State>, (socket, most): (Resource<UdpSocket>, u64)| {
            Box::new(async move { answer(receive(store.data_mut(), &socket, most).await) })
        },
    )?;
    udp.func_wrap_async(
        "[method]udp-socket.send",
        |mut store: StoreContextMut<'_, State>,
         (socket, datagrams): (Resource<UdpSocket>, Vec<Datagram>)| {
            Box::new(async move { answer(send(store.data_mut(), &socket, datagrams).await) })
        },
    )?;
    udp.func_wrap(
        "[method]udp-socket.subscribe-rc20231018",
        |mut store: StoreContextMut<'_, State>, (socket,): (Resource<UdpSocket>,)| {
            let state = store.data_mut();
            let exchange = state.exchanges.find(&socket).filter(|it| it.waits);
            let incoming = exchange.map(|it| it.incoming);
            let pollable: Resource<DynPollable> = match incoming {
                Some(incoming) => {
                    let incoming = Resource::<IncomingDatagramStream>::new_borrow(incoming);
                    subscribe(&mut state.table, incoming)?
                }
                None => subscribe(&mut state.table, socket)?,
            };
            Ok((pollable,))
        },
    )
}

/// The same socket again, for a function that only borrows it.
fn of(socket: &Resource<UdpSocket>) -> Resource<UdpSocket> {
    Resource::new_borrow(socket.rep())
}

/// Ends what goes in and out at a socket, which cannot be dropped before.
fn close(state: &mut State, socket: u32) -> wasmtime::Result<()> {
    if let Some(exchange) = state.exchanges.take(socket) {
        let incoming = Resource::<IncomingDatagramStream>::new_own(exchange.incoming);
        state.table.delete(incoming)?;
        let outgoing = Resource::<OutgoingDatagramStream>::new_own(exchange.outgoing);
        state.table.delete(outgoing)?;
    }
    Ok(())
}

/// The exchange of a socket; a new one with a remote address, or where there is none.
async fn exchange<'a>(
    state: &'a mut State,
    socket: &Resource<UdpSocket>,
    to: Option<IpSocketAddress>,
) -> SocketResult<&'a mut Exchange> {
    if to.is_some() || state.exchanges.find(socket).is_none() {
        close(state, socket.rep()).map_err(SocketError::trap)?;
        let connecting = to.is_some();
        let (incoming, outgoing) = state.sockets().stream(of(socket), to).await?;
        state.exchanges.0.push(Exchange {
            socket: socket.rep(),
            incoming: incoming.rep(),
            outgoing: outgoing.rep(),
            connecting,
            waits: false,
        });
    }
    let found = state.exchanges.find(socket);
    found.ok_or_else(|| ErrorCode::InvalidState.into())
}

/// Connects a socket. One that is not bound yet is bound to any address.
async fn connect(
    state: &mut State,
    socket: &Resource<UdpSocket>,
    network: Resource<Network>,
    to: IpSocketAddress,
) -> SocketResult<()> {
    let mut view: WasiSocketsCtxView<'_> = state.sockets();
    if view.local_address(of(socket)).is_err() {
        let any = match view.address_family(of(socket)).map_err(SocketError::trap)? {
            IpAddressFamily::Ipv4 => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            IpAddressFamily::Ipv6 => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        view.start_bind(of(socket), network, any.into()).await?;
        view.finish_bind(of(socket))?;
    }
    exchange(state, socket, Some(to)).await?;
    Ok(())
}

async fn receive(
    state: &mut State,
    socket: &Resource<UdpSocket>,
    most: u64,
) -> SocketResult<Vec<Datagram>> {
    let incoming = exchange(state, socket, None).await?.incoming;
    let incoming = Resource::<IncomingDatagramStream>::new_borrow(incoming);
    let received = HostIncomingDatagramStream::receive(&mut state.sockets(), incoming, most)?;
    let nothing = received.is_empty() && most > 0;
    exchange(state, socket, None).await?.waits = nothing;
    if nothing {
        return Err(ErrorCode::WouldBlock.into());
    }
    let datagrams = received.into_iter().map(|datagram| Datagram {
        data: datagram.data,
        remote_address: datagram.remote_address,
    });
    Ok(datagrams.collect())
}

async fn send(
    state: &mut State,
    socket: &Resource<UdpSocket>,
    datagrams: Vec<Datagram>,
) -> SocketResult<u64> {
    let exchange = exchange(state, socket, None).await?;
    exchange.waits = false;
    let outgoing = exchange.outgoing;
    let outgoing = || Resource::<OutgoingDatagramStream>::new_borrow(outgoing);
    let mut view = state.sockets();
    let most = usize::try_from(HostOutgoingDatagramStream::check_send(
        &mut view,
        outgoing(),
    )?)
    .unwrap_or(usize::MAX);
    if most == 0 && !datagrams.is_empty() {
        return Err(ErrorCode::WouldBlock.into());
    }
    let datagrams = datagrams
        .into_iter()
        .take(most)
        .map(|datagram| OutgoingDatagram {
            data: datagram.data,
            remote_address: Some(datagram.remote_address),
        });
    HostOutgoingDatagramStream::send(&mut view, outgoing(), datagrams.collect())
}
