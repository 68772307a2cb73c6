//! `wasi:sockets` of WASI 0.3: name look-up, and the end of sockets.

use wasmtime::component::{Accessor, Linker, Resource, ResourceType};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup::ErrorCode;
use wasmtime_wasi::p3::bindings::sockets::types::IpAddress;

pub(super) use wasmtime_wasi::sockets::TcpSocket as Socket;

use super::NameError;
use crate::state::State;

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

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut types = linker.instance("wasi:sockets/types@0.3.0")?;
    let ty = ResourceType::host::<Socket>();
    types.resource("tcp-socket", ty, |mut store, rep| {
        super::end(store.data_mut(), Resource::<Socket>::new_own(rep))
    })?;
    let mut names = linker.instance("wasi:sockets/ip-name-lookup@0.3.0")?;
    names.func_wrap_concurrent(
        "resolve-addresses",
        |accessor: &Accessor<State>, (name,): (String,)| {
            Box::pin(async move {
                let looking = accessor.with(|mut access| access.get().look_up(&name));
                let addresses = looking.await.map_err(ErrorCode::from);
                let addresses = addresses
                    .map(|found| found.into_iter().map(IpAddress::from).collect::<Vec<_>>());
                Ok((addresses,))
            })
        },
    )
}
