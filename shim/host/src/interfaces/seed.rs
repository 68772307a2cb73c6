//! `wasi:random/insecure-seed`, which is all that many guests ask for: without a WASI context,
//! which is made for whoever asks for more.

use rustix::rand::{GetRandomFlags, getrandom};
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::state::State;

const P2: &str = "wasi:random/insecure-seed@0.2.12";

/// Puts it in the place of `wasmtime-wasi`'s.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(P2)?.func_wrap(
        "insecure-seed",
        |mut store: StoreContextMut<'_, State>, (): ()| Ok((store.data_mut().seed()?,)),
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Two random numbers.
pub(crate) fn new() -> std::io::Result<(u64, u64)> {
    let mut bytes = [0; 16];
    // So few bytes are never given in parts.
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    let number = |half: &[u8]| half.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let (one, other) = bytes.split_at(8);
    Ok((number(one), number(other)))
}
