//! `wasi:random`, as `wasmtime-wasi` serves it, but for `insecure-seed` of WASI 0.2. That is
//! all that many guests ask for: it is given without a WASI context, which is made for guests
//! that ask for more.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::state::State;

/// The interface as the linker knows it.
const INSECURE_SEED: &str = "wasi:random/insecure-seed@0.2.12";

/// Puts it in the place of `wasmtime-wasi`'s.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(INSECURE_SEED)?.func_wrap(
        "insecure-seed",
        |mut store: StoreContextMut<'_, State>, (): ()| Ok((store.data_mut().random.get()?,)),
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// What an instance has as the seed of its tables: another one for each request, made when
/// it is asked for.
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
fn two_numbers() -> io::Result<(u64, u64)> {
    let mut bytes = [0; 16];
    // So few bytes are never given in parts.
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
