//! The interfaces that guests call, what each grant allows, and how guests are called: WASI
//! 0.2 and 0.3 and Spin 1 over HTTP, and commands.
//!
//! This crate does not know routes, containerd or artifacts, and does not read the
//! environment: settings are passed as values.

mod call;
mod grants;
mod held;
mod interfaces;
mod load;
mod meter;
mod output;
mod settings;
mod state;

pub use call::{
    BodyFault, Command, CommandError, ComponentKind, Cut, Guest, GuestBody, GuestError, HttpGuest,
    ImportError, Payload, Reuse, SpinHttp, Wagi, Wanted, kind,
};
pub use grants::Grants;
pub use interfaces::{
    Asking, Cli, Database, DatabaseConnection, Databases, FileLimits, Filesystem, FoundPair,
    HttpAnswer, HttpBody, HttpCall, HttpClient, HttpError, KeyValue, KeyValueStore, KnownValues,
    MOST_RESULT, Mark, Missing, Mount, NameError, Names, Need, Neighbours, Outbound, Pair,
    ProviderError, QueryResult, Reply, Row, Sockets, SqlValue, StoreError, Timeouts, ValueSource,
    Values, Variables, VariablesError, VariablesProvider, Ways, capability, need,
    needs_concurrency, too_large,
};
pub use load::{LoadError, Loader};
pub use output::Output;
pub use settings::Settings;
