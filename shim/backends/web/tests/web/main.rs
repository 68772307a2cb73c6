//! The clients against small stand-ins of ours, which speak the documented HTTP of the real
//! servers and can be made to lie, to fail and to say nothing.

mod download;
mod secrets;
mod server;
mod trust;
