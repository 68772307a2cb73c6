//! `wasi:random`: `wasmtime-wasi`'s implementation, except for `insecure-seed` of WASI 0.2.
//! That is all that many guests ask for: it works without a WASI context, which is created
//! only for guests that ask for more.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::state::State;

/// The interface in the form that the linker needs.
const INSECURE_SEED: &str = "wasi:random/insecure-seed@0.2.12";

/// Replaces `wasmtime-wasi`'s function.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(INSECURE_SEED)?.func_wrap(
        "insecure-seed",
        |mut store: StoreContextMut<'_, State>, (): ()| Ok((store.data_mut().random.get()?,)),
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The seed for an instance's hash tables: a new one for each request, created on demand.
#[derive(Default)]
pub(crate) struct Seed(Option<(u64, u64)>);

impl Seed {
    fn get(&mut self) -> io::Result<(u64, u64)> {
        match self.0 {
            Some(seed) => Ok(seed),
            None => Ok(*self.0.insert(two_numbers()?)),
        }
    }

    /// Whether the guest has asked for it.
    pub(crate) fn is_made(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn renew(&mut self) {
        let Seed(made) = self;
        *made = None;
    }
}

/// Two random numbers.
pub(super) fn two_numbers() -> io::Result<(u64, u64)> {
    let mut bytes = [0; 16];
    // So few bytes are never returned in parts.
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    let number = |half: &[u8]| half.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let (one, other) = bytes.split_at(8);
    Ok((number(one), number(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_stays_until_it_is_renewed() {
        let mut seed = Seed::default();
        assert!(!seed.is_made());
        let first = seed.get().unwrap();
        assert_eq!(seed.get().unwrap(), first);
        assert!(seed.is_made());
        seed.renew();
        assert!(!seed.is_made());
        assert_ne!(seed.get().unwrap(), first);
    }
}
