//! Every setting of a pod in one place: parsing, the documentation table and the list of
//! known names all use it.

use super::Settings;
use super::parse::{self, Kind};
use crate::process::SHUTDOWN_DELAY_IN_POD;

/// A folder of variables, which only the container itself can read.
pub(super) const VARIABLES_DIR: &str = "SKIFF_VARIABLES_DIR";

/// One setting.
pub(super) struct Row {
    /// The variable.
    pub(super) name: &'static str,
    /// Spin's name for the same setting; `name` wins if both are set.
    pub(super) alias: Option<&'static str>,
    /// What its value looks like.
    pub(super) kind: Kind,
    /// What it does, for the documentation.
    pub(super) meaning: &'static str,
    /// Applies a value; `None` if it does not parse.
    pub(super) set: fn(&mut Settings, &str) -> Option<()>,
    /// The current value as text.
    pub(super) show: fn(&Settings) -> String,
}

impl Row {
    /// All its names, the one with precedence first.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.alias)
    }
}

pub(super) const TABLE: &[Row] = &[
    Row {
        name: "SKIFF_HTTP_LISTEN_ADDR",
        alias: Some("SPIN_HTTP_LISTEN_ADDR"),
        kind: Kind::Address,
        meaning: "Where requests come in; `[::]` is every address, of IPv4 and IPv6, and in a pod `0.0.0.0` is the same. Containers of one pod share its network: give each another port.",
        set: |s, v| parse::address(v).map(|v| s.listen = Some(v)),
        show: |s| match s.listen {
            Some(address) => address.to_string(),
            None => format!(
                "{} in a pod, {} with `skiff run`",
                super::LISTEN_IN_POD,
                super::LISTEN_ON_LAPTOP
            ),
        },
    },
    Row {
        name: "SKIFF_COMPONENTS_TO_RETAIN",
        alias: Some("SPIN_COMPONENTS_TO_RETAIN"),
        kind: Kind::Components,
        meaning: "The components to run; the others and their triggers are left out.",
        set: |s, v| parse::components(v).map(|v| s.retain = Some(v)),
        show: |s| {
            s.retain.as_ref().map_or_else(
                || "all".to_owned(),
                |ids| ids.iter().map(String::as_str).collect::<Vec<_>>().join(","),
            )
        },
    },
    Row {
        name: VARIABLES_DIR,
        alias: None,
        kind: Kind::Folder,
        meaning: "A folder with one file for each application variable, such as a mounted ConfigMap or Secret. See [Variables](#variables).",
        set: |s, v| parse::folder(v).map(|v| s.variables = Some(v)),
        show: |s| match &s.variables {
            Some(folder) => folder.display().to_string(),
            None => "none".to_owned(),
        },
    },
    Row {
        name: "SKIFF_MAX_INSTANCE_MEMORY",
        alias: Some("SPIN_MAX_INSTANCE_MEMORY"),
        kind: Kind::Size,
        meaning: "How far each linear memory of a guest may grow, less what Skiff holds for the guest; the guest sees a refused growth. With or without it, guests share what the pod's memory limit leaves (all but an eighth): each may grow by up to three times of what it leaves to the others.",
        set: |s, v| parse::memory(v).map(|v| s.guests.memory = Some(v)),
        show: |s| {
            s.guests.memory.map_or_else(
                || "as the pod's memory allows".to_owned(),
                parse::show_memory,
            )
        },
    },
    Row {
        name: "SKIFF_MAX_INSTANCE_FILES",
        alias: None,
        kind: Kind::Count,
        meaning: "Files and folders that a guest may have open; opening more fails. A command that is a core module has as many as the kernel gives its process.",
        set: |s, v| parse::number(v).map(|v| s.guests.files = v),
        show: |s| s.guests.files.to_string(),
    },
    Row {
        name: "SKIFF_STORE_DIR",
        alias: None,
        kind: Kind::Folder,
        meaning: "The folder of the stores labelled `default`, such as a mounted volume; it has to be writable for the container's user. See [state.md](state.md).",
        set: |s, v| parse::folder(v).map(|v| s.stores.folder = Some(v)),
        show: |s| {
            s.stores.folder.as_ref().map_or_else(
                || "/.skiff in a pod, .skiff beside the manifest with `skiff run`".to_owned(),
                |folder| folder.display().to_string(),
            )
        },
    },
    Row {
        name: "SKIFF_STORE_TIMEOUT",
        alias: None,
        kind: Kind::Limit,
        meaning: "How long a store may wait for a lock that another process or pod holds, or for the answer of its server; then the guest's call fails.",
        set: |s, v| parse::limit(v).map(|v| s.stores.wait = v),
        show: |s| parse::show_duration(s.stores.wait),
    },
    Row {
        name: "SKIFF_REQUEST_TIMEOUT",
        alias: None,
        kind: Kind::Limit,
        meaning: "How long a request may take, also while the guest computes; then 504.",
        set: |s, v| parse::limit(v).map(|v| s.engine.deadline = Some(v)),
        show: |s| optional(s.engine.deadline, parse::show_duration),
    },
    Row {
        name: "SKIFF_SHUTDOWN_DELAY",
        alias: None,
        kind: Kind::Duration,
        meaning: "How long new connections are still taken after SIGTERM, at most, while the health endpoint answers 503 and the cluster learns of it. Over as soon as none but probes has come for two seconds.",
        set: |s, v| parse::duration(v).map(|v| s.process.shutdown_delay = Some(v)),
        show: |s| match s.process.shutdown_delay {
            Some(delay) => parse::show_duration(delay),
            None => format!(
                "{} in a pod, none with `skiff run`",
                parse::show_duration(SHUTDOWN_DELAY_IN_POD)
            ),
        },
    },
    Row {
        name: "SKIFF_DRAIN_TIMEOUT",
        alias: None,
        kind: Kind::Duration,
        meaning: "How long requests may go on after SIGTERM, the shutdown delay included. Keep it below the pod's terminationGracePeriodSeconds.",
        set: |s, v| parse::duration(v).map(|v| s.process.drain_limit = v),
        show: |s| parse::show_duration(s.process.drain_limit),
    },
    Row {
        name: "SKIFF_MAX_INSTANCES",
        alias: None,
        kind: Kind::Count,
        meaning: "Instances at once in each worker; more requests wait. Where there are several components, a half is divided among them and each has at least one for itself.",
        set: |s, v| parse::count(v).map(|v| s.engine.instances = v.get()),
        show: |s| s.engine.instances.to_string(),
    },
    Row {
        name: "SKIFF_QUEUE_TIMEOUT",
        alias: None,
        kind: Kind::Duration,
        meaning: "How long a request waits for an instance; then 503 with Retry-After.",
        set: |s, v| parse::duration(v).map(|v| s.engine.queue = v),
        show: |s| parse::show_duration(s.engine.queue),
    },
    Row {
        name: "SKIFF_CLIENT_GONE_TIMEOUT",
        alias: None,
        kind: Kind::Duration,
        meaning: "How long a guest goes on whose client has left before it had its whole answer, and how long an answer may take to a client that has closed its own side of the connection. Guests that have answered may work on without a limit.",
        set: |s, v| {
            parse::duration(v).map(|v| {
                s.guests.abandoned = v;
                s.http.gone_timeout = v;
            })
        },
        show: |s| parse::show_duration(s.guests.abandoned),
    },
    Row {
        name: "SKIFF_MAX_STACK",
        alias: None,
        kind: Kind::Size,
        meaning: "Stack of a guest; deeper recursion is a trap.",
        set: |s, v| parse::memory(v).map(|v| s.engine.stack = v),
        show: |s| parse::show_memory(s.engine.stack),
    },
    Row {
        name: "SKIFF_WORKERS",
        alias: None,
        kind: Kind::Count,
        meaning: "Workers that serve side by side.",
        set: |s, v| parse::count(v).map(|v| s.process.workers = Some(v)),
        show: |s| {
            s.process
                .workers
                .map_or_else(|| "as the pod's CPUs allow".to_owned(), |v| v.to_string())
        },
    },
    Row {
        name: "SKIFF_INSTANCE_REUSE",
        alias: None,
        kind: Kind::Switch,
        meaning: "Whether WASI 0.2 instances answer several requests, each as the one before has left it. Otherwise a request finds an instance as it was made. WASI 0.3 instances always may.",
        set: |s, v| parse::switch(v).map(|v| s.guests.reuse.wasi_0_2 = v),
        show: |s| s.guests.reuse.wasi_0_2.to_string(),
    },
    Row {
        name: "SKIFF_MAX_INSTANCE_REUSE_COUNT",
        alias: None,
        kind: Kind::Count,
        meaning: "Requests an instance answers before it is replaced, where instances are reused.",
        set: |s, v| parse::number(v).map(|v| s.guests.reuse.requests = v),
        show: |s| s.guests.reuse.requests.to_string(),
    },
    Row {
        name: "SKIFF_MAX_INSTANCE_CONCURRENT_REUSE_COUNT",
        alias: None,
        kind: Kind::Count,
        meaning: "Requests a WASI 0.3 instance answers at the same time.",
        set: |s, v| parse::number(v).map(|v| s.guests.reuse.concurrent = v),
        show: |s| s.guests.reuse.concurrent.to_string(),
    },
    Row {
        name: "SKIFF_IDLE_INSTANCE_TIMEOUT",
        alias: None,
        kind: Kind::Duration,
        meaning: "How long an instance that can answer another request is kept without one.",
        set: |s, v| parse::duration(v).map(|v| s.guests.reuse.idle = v),
        show: |s| parse::show_duration(s.guests.reuse.idle),
    },
    Row {
        name: "SKIFF_MAX_HEADER_SIZE",
        alias: None,
        kind: Kind::Size,
        meaning: "Bytes of a request's head, all headers together; more is answered with 431.",
        set: |s, v| parse::memory(v).map(|v| s.http.max_header_bytes = v),
        show: |s| parse::show_memory(s.http.max_header_bytes),
    },
    Row {
        name: "SKIFF_MAX_HEADERS",
        alias: None,
        kind: Kind::Count,
        meaning: "Headers of a request; more is answered with 431.",
        set: |s, v| parse::number(v).map(|v| s.http.max_header_count = v),
        show: |s| s.http.max_header_count.to_string(),
    },
    Row {
        name: "SKIFF_HEADER_READ_TIMEOUT",
        alias: None,
        kind: Kind::Limit,
        meaning: "How long a client may take to send a request's head.",
        set: |s, v| parse::limit(v).map(|v| s.http.header_timeout = v),
        show: |s| parse::show_duration(s.http.header_timeout),
    },
    Row {
        name: "SKIFF_IDLE_TIMEOUT",
        alias: None,
        kind: Kind::Limit,
        meaning: "How long a connection is kept while nothing moves on it.",
        set: |s, v| parse::limit(v).map(|v| s.http.idle_timeout = v),
        show: |s| parse::show_duration(s.http.idle_timeout),
    },
    Row {
        name: "SKIFF_MAX_CONNECTIONS",
        alias: None,
        kind: Kind::Count,
        meaning: "Connections at once in each worker. For one more, the one that has been idle for longest gives way; where none is idle, its requests are answered 503 with Retry-After, except the health endpoint's.",
        set: |s, v| parse::number(v).map(|v| s.http.max_connections = v),
        show: |s| s.http.max_connections.to_string(),
    },
    Row {
        name: "SKIFF_MAX_REQUEST_BODY",
        alias: None,
        kind: Kind::Size,
        meaning: "Bytes of a request's body; more is answered with 413.",
        set: |s, v| parse::size(v).map(|v| s.http.max_body_bytes = Some(v)),
        show: |s| optional(s.http.max_body_bytes, parse::show_size),
    },
    Row {
        name: "SKIFF_OUTBOUND_TIMEOUT",
        alias: None,
        kind: Kind::Limit,
        meaning: "The longest that a guest's request to another machine may take to connect, to get the head of its response, and to get each next piece of it. The guest may ask for less.",
        set: |s, v| parse::limit(v).map(|v| s.network.patience = v),
        show: |s| parse::show_duration(s.network.patience),
    },
    Row {
        name: "SKIFF_MAX_OUTBOUND_CONNECTIONS",
        alias: None,
        kind: Kind::Count,
        meaning: "Connections that guests have at once for HTTP requests, in each worker. For one more, the one that has been idle for longest is closed; where none is idle, the request fails with `connection-limit-reached`.",
        set: |s, v| parse::number(v).map(|v| s.network.connections = v),
        show: |s| s.network.connections.to_string(),
    },
    Row {
        name: "SKIFF_MAX_OUTBOUND_CONNECTIONS_PER_HOST",
        alias: None,
        kind: Kind::Count,
        meaning: "The same for each host and port.",
        set: |s, v| parse::number(v).map(|v| s.network.connections_each = v),
        show: |s| s.network.connections_each.to_string(),
    },
    Row {
        name: "SKIFF_BLOCKED_NETWORKS",
        alias: None,
        kind: Kind::Networks,
        meaning: "Networks that no guest connects to, whatever it was granted, also by a name or a redirect: networks, `private` for every address that is not reachable from everywhere, `link-local` for those of a link and the metadata services of clouds, or `none`.",
        set: |s, v| parse::networks(v).map(|v| s.network.blocked = Some(v)),
        show: |s| match &s.network.blocked {
            Some(blocked) => blocked.to_string(),
            None => "link-local in a pod, none with `skiff run`".to_owned(),
        },
    },
    Row {
        name: "SKIFF_OUTBOUND_H2C_PRIOR_KNOWLEDGE",
        alias: Some("SPIN_OUTBOUND_H2C_PRIOR_KNOWLEDGE"),
        kind: Kind::Host,
        meaning: "A host that guests' requests without TLS reach by HTTP/2; all others are reached by HTTP/1.1.",
        set: |s, v| parse::host(v).map(|v| s.network.http2_without_tls = Some(v)),
        show: |s| optional(s.network.http2_without_tls.clone(), |host| host),
    },
    Row {
        name: "SSL_CERT_FILE",
        alias: None,
        kind: Kind::File,
        meaning: "Certificate authorities in PEM that guests' requests and stores over TLS trust besides those of Mozilla, which are built in.",
        set: |s, v| parse::file(v).map(|v| s.network.authorities = Some(v)),
        show: |s| match &s.network.authorities {
            Some(file) => file.display().to_string(),
            None => {
                "`/etc/ssl/certs/ca-certificates.crt` and its like, where there is one".to_owned()
            }
        },
    },
    Row {
        name: "SSL_CERT_DIR",
        alias: None,
        kind: Kind::Folders,
        meaning: "Folders of such files.",
        set: |s, v| parse::folders(v).map(|v| s.network.authorities_in = v),
        show: |s| match s.network.authorities_in.as_slice() {
            [] => "none".to_owned(),
            folders => parse::show_folders(folders),
        },
    },
    Row {
        name: "SKIFF_ACCESS_LOG",
        alias: None,
        kind: Kind::Switch,
        meaning: "Whether each request is a line of the log.",
        set: |s, v| parse::switch(v).map(|v| s.http.access_log = v),
        show: |s| s.http.access_log.to_string(),
    },
    Row {
        name: "SKIFF_LOG_LEVEL",
        alias: None,
        kind: Kind::LogLevel,
        meaning: "How much Skiff itself logs, on stderr.",
        set: |s, v| parse::log_level(v).map(|v| s.process.log_level = v),
        show: |s| s.process.log_level.name().to_owned(),
    },
];

fn optional<T>(value: Option<T>, show: fn(T) -> String) -> String {
    value.map_or_else(|| "none".to_owned(), show)
}
