//! `make bench`: Skiff compared with a native server and its peers, in one run.
//!
//! [`promises`] holds every number that the project promises; [`series`] the
//! measurements; [`report`] joins the two into a table. [`load`], [`state`], [`compile`] and
//! [`containers`] are the disciplines; [`against`] compares two builds of Skiff. Figures
//! never fail the program.

pub mod against;
pub mod compile;
pub mod containers;
pub mod contenders;
pub mod load;
pub mod machine;
pub mod options;
pub mod outbound;
pub mod output;
pub mod proc;
pub mod promises;
pub mod report;
pub mod run;
pub mod scratch;
pub mod series;
pub mod server;
pub mod setup;
pub mod skiff;
pub mod state;
pub mod wasmtime;
pub mod wrk;
