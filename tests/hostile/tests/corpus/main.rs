//! The corpus. What holds for every case is in the library of this crate.

mod artifacts;
mod guests;
mod machines;
mod requests;
