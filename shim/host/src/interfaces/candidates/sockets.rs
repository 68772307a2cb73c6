//! `wasi:sockets` of 0.2.0-rc-2023-10-18, and what it shares with 0.2.0-rc-2023-11-10.

mod tcp;
mod udp;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::SocketResult;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, Network};

pub(crate) use self::udp::Exchanges;
use crate::interfaces::sockets::p2::look_up;
use crate::state::State;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type Asked = (Resource<Network>, String, Option<IpAddressFamily>, bool);
    let mut names = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    names.func_wrap(
        "resolve-addresses-rc20231018",
        |mut store: StoreContextMut<'_, State>, (network, name, family, _): Asked| {
            let lookup = look_up(store.data_mut(), &network, &name, family)?;
            Ok((Result::<_, ErrorCode>::Ok(lookup),))
        },
    )?;
    tcp::add_to_linker(linker)?;
    udp::add_to_linker(linker)
}

fn answer<T>(result: SocketResult<T>) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

/// An option that sockets of the release do not have: it can be read, and set to what it is.
fn fixed(value: bool, asked: bool) -> SocketResult<()> {
    match value == asked {
        true => Ok(()),
        false => Err(ErrorCode::NotSupported.into()),
    }
}

/// Sockets of version 6 take no part in version 4.
fn ipv6_only(family: IpAddressFamily) -> SocketResult<bool> {
    match family {
        IpAddressFamily::Ipv4 => Err(ErrorCode::NotSupported.into()),
        IpAddressFamily::Ipv6 => Ok(true),
    }
}
