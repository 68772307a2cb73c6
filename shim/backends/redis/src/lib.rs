//! Key-value stores in a server of Redis, or of what speaks its protocol.
//!
//! Stores with the same server, database and prefix share their keys. A worker has one
//! connection for a store, which it makes at the first call and again when it is lost. Each
//! call that changes something is one command, a transaction or a script of the server, so it
//! happens as a whole or not at all.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt as _;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, RedisError,
    ServerErrorKind, cmd, pipe,
};
use skiff_backend_tls::{Authorities, Settings, Tls};
use skiff_host::{FoundPair, KeyValueStore, Pair, Reply, StoreError, too_large};
use tokio::net::TcpStream;

/// Sets a key if it still has a value, or none where the first argument is 0.
const SWAP: &str = "
    local found = redis.call('GET', KEYS[1])
    if ARGV[1] == '0' and found or ARGV[1] == '1' and found ~= ARGV[2] then return 0 end
    redis.call('SET', KEYS[1], ARGV[3])
    return 1";

/// How many keys the server is asked for at a time: it does nothing else meanwhile.
const KEYS_AT_ONCE: usize = 1000;

/// The largest value that is read without asking for its size first.
const SMALL: usize = 1 << 20;

/// A key-value store in a server of Redis.
pub struct RedisKeyValue {
    label: String,
    /// The server's URL as it may be shown.
    shown: String,
    client: Client,
    /// If there is TLS.
    tls: Option<Tls>,
    /// How each of its keys begins in the server.
    prefix: String,
    /// The longest time of a call.
    wait: Duration,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl fmt::Debug for RedisKeyValue {
    /// Without the password that the client has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisKeyValue({}, {})", self.label, self.shown)
    }
}

impl RedisKeyValue {
    /// The store of this label in the server at `url`; nothing is connected yet. Errors show
    /// the URL as `shown`. The store has those keys that begin with `prefix` in the server. A
    /// call may take as long as `wait`. With `rediss://` there is TLS, with a server that proves
    /// its name by one of `authorities` or of those that are built in.
    ///
    /// # Errors
    /// A URL that Redis does not have, without the URL itself, or a `rediss://` with a
    /// fragment: by `#insecure` others ask for TLS with anybody.
    pub fn new(
        label: &str,
        url: &str,
        shown: String,
        prefix: &str,
        wait: Duration,
        authorities: &Authorities,
    ) -> Result<Self, String> {
        let after = url.strip_prefix("rediss:");
        if after.is_some_and(|rest| rest.contains('#')) {
            return Err("its URL has a `#`; the certificate of its server is always checked, and in a password `#` is written `%23`".to_owned());
        }
        let tls = after.map(|_| Tls::new(Settings::new(authorities.clone())));
        // The client needs to know nothing of TLS: it gets a stream.
        let url = after.map_or_else(|| url.to_owned(), |rest| format!("redis:{rest}"));
        let client = Client::open(url)
            .map_err(|error| format!("its URL is refused: {}", error.category()))?;
        Ok(RedisKeyValue {
            label: label.to_owned(),
            shown,
            client,
            tls,
            prefix: prefix.to_owned(),
            wait,
            connection: Mutex::default(),
        })
    }

    fn named(&self) -> String {
        format!("store `{}` at `{}`", self.label, self.shown)
    }

    /// A key as the server has it.
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn refused(&self, why: &str) -> StoreError {
        StoreError::Refused(format!("{}: {why}", self.named()))
    }

    /// The error for the guest, and whether it is about the server.
    fn failure(&self, error: &RedisError) -> StoreError {
        let text = format!("{}: {error}", self.named());
        match error.kind() {
            // A value of another type, or no number: the server works.
            ErrorKind::Server(ServerErrorKind::ResponseError) | ErrorKind::UnexpectedReturnType => {
                StoreError::Refused(text)
            }
            ErrorKind::Extension if error.code() == Some("WRONGTYPE") => StoreError::Refused(text),
            _ => StoreError::Failed(text),
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A connection keeps as much memory as the largest answer that it has read, so that one
    /// with a large answer is not used again.
    fn has_read(&self, bytes: usize) {
        if bytes > SMALL {
            *self.kept() = None;
        }
    }

    async fn connection(&self) -> Result<MultiplexedConnection, CallError> {
        let kept = self.kept().clone();
        if let Some(connection) = kept {
            return Ok(connection);
        }
        // The wait is for the whole call.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let connection = match &self.tls {
            None => {
                let client = &self.client;
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                connection.await?
            }
            Some(tls) => self.over(tls, config).await?,
        };
        *self.kept() = Some(connection.clone());
        Ok(connection)
    }

    /// A new connection over TLS.
    async fn over(
        &self,
        tls: &Tls,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, CallError> {
        let info = self.client.get_connection_info();
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(CallError::Refused("it has no host".to_owned()));
        };
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(RedisError::from)?;
        // Commands are written at once.
        stream.set_nodelay(true).map_err(RedisError::from)?;
        let stream = tls.connect(host, stream).await;
        let stream = stream.map_err(|error| CallError::Tls(skiff_backend_tls::told(&error)))?;
        let settings = info.redis_settings();
        let connection = MultiplexedConnection::new_with_config(settings, stream, config);
        let (connection, driver) = connection.await?;
        // It ends with the last user of the connection.
        tokio::spawn(driver);
        Ok(connection)
    }

    /// Does something with the connection, within the time of a call. A connection that is
    /// lost is made anew for the next call, and at once if the same may be done twice.
    async fn call<T, F>(
        &self,
        twice: bool,
        act: impl Fn(MultiplexedConnection) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let attempt = async || {
            let connection = self.connection().await?;
            act(connection).await
        };
        let call = async {
            match attempt().await {
                Err(CallError::Redis(error)) if error.is_unrecoverable_error() => {
                    *self.kept() = None;
                    if twice && error.is_connection_dropped() {
                        attempt().await
                    } else {
                        Err(CallError::Redis(error))
                    }
                }
                result => result,
            }
        };
        match tokio::time::timeout(self.wait, call).await {
            Ok(result) => result.map_err(|error| match error {
                CallError::Redis(error) => self.failure(&error),
                CallError::Refused(why) => self.refused(&why),
                CallError::Tls(why) => StoreError::Failed(format!("{}: {why}", self.named())),
            }),
            Err(_) => {
                // Late answers are for nobody.
                *self.kept() = None;
                let text = format!("{} has not answered in {:?}", self.named(), self.wait);
                Err(StoreError::Failed(text))
            }
        }
    }

    /// One command.
    async fn ask<T: FromRedisValue>(&self, twice: bool, command: Cmd) -> Result<T, StoreError> {
        self.call(twice, |mut connection| {
            let command = &command;
            async move { Ok(command.query_async(&mut connection).await?) }
        })
        .await
    }
}

/// Why a call did not do what it should.
enum CallError {
    Redis(RedisError),
    Tls(String),
    Refused(String),
}

impl From<RedisError> for CallError {
    fn from(error: RedisError) -> Self {
        CallError::Redis(error)
    }
}

/// The value of a key: in one round trip if it is small, and in no case more than `most`
/// bytes of it.
async fn value(
    mut connection: MultiplexedConnection,
    key: &str,
    most: usize,
) -> Result<Option<Vec<u8>>, CallError> {
    for limit in [most.min(SMALL), most] {
        let mut get = pipe();
        let last = isize::try_from(limit).unwrap_or(isize::MAX);
        get.atomic().exists(key).strlen(key).getrange(key, 0, last);
        let (exists, whole, value): (bool, usize, Vec<u8>) =
            get.query_async(&mut connection).await?;
        if whole <= limit {
            return Ok(exists.then_some(value));
        }
        if whole > most {
            break;
        }
    }
    Err(CallError::Refused(too_large("the value has", most)))
}

/// The server's pattern for all keys that begin like this.
fn starting_with(prefix: &str) -> String {
    let mut pattern = String::new();
    for letter in prefix.chars() {
        if r"\*?[]".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern + "*"
}

async fn keys(
    mut connection: MultiplexedConnection,
    prefix: &str,
    most: usize,
) -> Result<Vec<String>, CallError> {
    let pattern = starting_with(prefix);
    // The server may name a key twice.
    let mut keys = BTreeSet::new();
    let (mut size, mut cursor) = (0, 0_u64);
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&pattern);
        scan.arg("COUNT").arg(KEYS_AT_ONCE);
        let (next, some): (u64, Vec<Vec<u8>>) = scan.query_async(&mut connection).await?;
        for key in some {
            // What is not UTF-8 is nothing that a guest could have set or could name.
            let key = str::from_utf8(&key).ok();
            let Some(key) = key.and_then(|key| key.strip_prefix(prefix)) else {
                continue;
            };
            size += key.len() + size_of::<String>();
            if size > most {
                return Err(CallError::Refused(too_large("its keys have", most)));
            }
            keys.insert(key.to_owned());
        }
        cursor = next;
        if cursor == 0 {
            return Ok(keys.into_iter().collect());
        }
    }
}

async fn many(
    mut connection: MultiplexedConnection,
    keys: &[String],
    named: &[String],
    most: usize,
) -> Result<Vec<FoundPair>, CallError> {
    let mut sizes = pipe();
    for key in named {
        sizes.strlen(key);
    }
    let sizes: Vec<usize> = sizes.query_async(&mut connection).await?;
    if sizes.iter().sum::<usize>() > most {
        return Err(CallError::Refused(too_large("the values have", most)));
    }
    let mut get = cmd("MGET");
    get.arg(named);
    let values: Vec<Option<Vec<u8>>> = get.query_async(&mut connection).await?;
    Ok(keys.iter().cloned().zip(values).collect())
}

impl KeyValueStore for RedisKeyValue {
    fn get<'a>(&'a self, key: &'a str, most: usize) -> Reply<'a, Option<Vec<u8>>> {
        async move {
            let key = self.key(key);
            let value = self
                .call(true, |connection| value(connection, &key, most))
                .await?;
            self.has_read(value.as_ref().map_or(0, Vec::len));
            Ok(value)
        }
        .boxed()
    }

    fn set(&self, key: String, value: Vec<u8>) -> Reply<'_, ()> {
        self.ask(true, Cmd::set(self.key(&key), value)).boxed()
    }

    fn delete(&self, key: String) -> Reply<'_, ()> {
        self.ask(true, Cmd::del(self.key(&key))).boxed()
    }

    fn exists<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        self.ask(true, Cmd::exists(self.key(key))).boxed()
    }

    fn keys(&self, most: usize) -> Reply<'_, Vec<String>> {
        self.call(true, move |connection| keys(connection, &self.prefix, most))
            .boxed()
    }

    fn get_many(&self, names: Vec<String>, most: usize) -> Reply<'_, Vec<FoundPair>> {
        async move {
            let keys: Vec<String> = names.iter().map(|key| self.key(key)).collect();
            let many = |connection| many(connection, &names, &keys, most);
            let pairs = self.call(true, many).await?;
            let values = pairs.iter().filter_map(|(_, value)| value.as_ref());
            self.has_read(values.map(Vec::len).sum());
            Ok(pairs)
        }
        .boxed()
    }

    fn set_many(&self, pairs: Vec<Pair>) -> Reply<'_, ()> {
        let pairs = pairs.into_iter();
        let pairs: Vec<Pair> = pairs.map(|(key, value)| (self.key(&key), value)).collect();
        self.ask(true, Cmd::mset(&pairs)).boxed()
    }

    fn delete_many(&self, keys: Vec<String>) -> Reply<'_, ()> {
        let keys: Vec<String> = keys.iter().map(|key| self.key(key)).collect();
        self.ask(true, Cmd::del(keys)).boxed()
    }

    fn increment(&self, key: String, delta: i64) -> Reply<'_, i64> {
        self.ask(false, Cmd::incr(self.key(&key), delta)).boxed()
    }

    fn swap(&self, key: String, before: Option<Vec<u8>>, value: Vec<u8>) -> Reply<'_, bool> {
        let mut swap = cmd("EVAL");
        swap.arg(SWAP)
            .arg(1)
            .arg(self.key(&key))
            .arg(u8::from(before.is_some()));
        swap.arg(before.unwrap_or_default()).arg(value);
        self.ask(false, swap).boxed()
    }
}
