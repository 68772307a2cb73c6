//! The interfaces that guests import and export: which ones exist, how each is answered,
//! and what is granted.

pub(crate) mod candidates;
mod catalogue;
mod cli;
mod denied;
pub(crate) mod filesystem;
pub(crate) mod http;
pub(crate) mod key_value;
mod missing;
pub(crate) mod random;
pub(crate) mod sockets;
mod sqlite;
mod variables;
pub(crate) mod wasi;

pub use catalogue::{Need, capability, need, needs_concurrency};
pub use cli::Cli;
pub use filesystem::{FileLimits, Filesystem, Mount};
pub use http::{
    HttpAnswer, HttpBody, HttpCall, HttpClient, HttpError, Mark, Neighbours, Outbound, Timeouts,
    Ways,
};
pub use key_value::{
    FoundPair, KeyValue, KeyValueStore, MOST_RESULT, Pair, Reply, StoreError, too_large,
};
pub use missing::Missing;
pub use sockets::{NameError, Names, Sockets};
pub use sqlite::{Database, DatabaseConnection, Databases, QueryResult, Row, SqlValue};
pub use variables::{
    Asking, KnownValues, ProviderError, ValueSource, Values, Variables, VariablesError,
    VariablesProvider,
};

pub(crate) use catalogue::{Status, add_to_linker, handlers, status};
pub(crate) use denied::{deny, is_denied};
pub(crate) use variables::ask as ask_variables;
