//! The corpus. The checks of every case are in the library of this crate.

mod artifacts;
mod guests;
mod machines;
mod requests;
