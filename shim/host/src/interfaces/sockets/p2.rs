//! `wasi:sockets` of WASI 0.2: name look-up, and the end of sockets.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, Network,
};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

pub(super) use wasmtime_wasi::p2::bindings::sockets::tcp::TcpSocket as Socket;

use super::NameError;
use crate::state::State;

/// Addresses of a name, which may be still on their way.
pub(in crate::interfaces) enum Lookup {
    Asked(AbortOnDropJoinHandle<Result<Vec<IpAddr>, NameError>>),
    Answered(Result<std::vec::IntoIter<IpAddr>, NameError>),
}

impl From<NameError> for ErrorCode {
    fn from(error: NameError) -> Self {
        match error {
            NameError::Denied => ErrorCode::PermanentResolverFailure,
            NameError::Invalid => ErrorCode::InvalidArgument,
            NameError::Unknown => ErrorCode::NameUnresolvable,
            NameError::Failed => ErrorCode::TemporaryResolverFailure,
        }
    }
}

impl Lookup {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Lookup::Asked(asked) = self {
            let answer = std::task::ready!(Pin::new(asked).poll(cx));
            *self = Lookup::Answered(answer.map(Vec::into_iter));
        }
        Poll::Ready(())
    }

    fn next(&mut self) -> Result<Option<IpAddress>, ErrorCode> {
        let _ = self.poll(&mut Context::from_waker(Waker::noop()));
        match self {
            Lookup::Asked(_) => Err(ErrorCode::WouldBlock),
            Lookup::Answered(Ok(addresses)) => Ok(addresses.next().map(IpAddress::from)),
            Lookup::Answered(Err(error)) => Err((*error).into()),
        }
    }
}

impl Pollable for Lookup {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(poll_fn(|cx| self.poll(cx)))
    }
}

/// Begins to look up a name, for addresses of one family or of both.
pub(in crate::interfaces) fn look_up(
    state: &mut State,
    network: &Resource<Network>,
    name: &str,
    family: Option<IpAddressFamily>,
) -> wasmtime::Result<Resource<Lookup>> {
    state.table.get(network)?;
    let looking = state.look_up(name);
    let asked = spawn(async move {
        let mut addresses = looking.await?;
        addresses.retain(|address| match family {
            None => true,
            Some(IpAddressFamily::Ipv4) => address.is_ipv4(),
            Some(IpAddressFamily::Ipv6) => address.is_ipv6(),
        });
        Ok(addresses)
    });
    Ok(state.table.push(Lookup::Asked(asked))?)
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut tcp = linker.instance("wasi:sockets/tcp@0.2.12")?;
    let ty = ResourceType::host::<Socket>();
    tcp.resource("tcp-socket", ty, |mut store, rep| {
        super::end(store.data_mut(), Resource::<Socket>::new_own(rep))
    })?;
    let mut names = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    let ty = ResourceType::host::<Lookup>();
    names.resource("resolve-address-stream", ty, |mut store, rep| {
        let lookup = Resource::<Lookup>::new_own(rep);
        store.data_mut().table.delete(lookup)?;
        Ok(())
    })?;
    type Asked = (Resource<Network>, String);
    names.func_wrap(
        "resolve-addresses",
        |mut store: StoreContextMut<'_, State>, (network, name): Asked| {
            let lookup = look_up(store.data_mut(), &network, &name, None)?;
            Ok((Result::<_, ErrorCode>::Ok(lookup),))
        },
    )?;
    names.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store: StoreContextMut<'_, State>, (lookup,): (Resource<Lookup>,)| {
            let lookup = store.data_mut().table.get_mut(&lookup)?;
            Ok((lookup.next(),))
        },
    )?;
    names.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store: StoreContextMut<'_, State>, (lookup,): (Resource<Lookup>,)| {
            let pollable: Resource<DynPollable> = subscribe(&mut store.data_mut().table, lookup)?;
            Ok((pollable,))
        },
    )
}
