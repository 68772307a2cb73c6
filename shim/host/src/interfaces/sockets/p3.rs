//! `wasi:sockets/ip-name-lookup` of WASI 0.3.

use wasmtime::component::{Accessor, Linker};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup::ErrorCode;
use wasmtime_wasi::p3::bindings::sockets::types::IpAddress;

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
