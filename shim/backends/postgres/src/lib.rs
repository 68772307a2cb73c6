//! Key-value stores in tables of PostgreSQL, a table for each store.
//!
//! A worker has one connection for a store, which it makes at the first call and again when
//! it is lost. Each call is one statement, so it happens as a whole or not at all, and calls
//! of many guests share the connection. Statements have no names, so a pool between Skiff and
//! the server may pass each to another connection.

mod statements;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{FutureExt as _, TryStreamExt as _};
use skiff_backend_tls::{Authorities, Tls};
use skiff_host::{FoundPair, KeyValueStore, Pair, Reply, StoreError, too_large};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Error, NoTls, Row, Socket};

use self::statements::Statements;

/// How often a call is tried that the server has undone because of others.
const MOST_TRIES: usize = 5;

/// A key-value store in a table of PostgreSQL.
pub struct PostgresKeyValue {
    label: String,
    /// The server's URL as it may be shown.
    shown: String,
    config: Config,
    tls: Tls,
    statements: Statements,
    /// The longest time of a call.
    wait: Duration,
    client: Mutex<Option<Arc<Client>>>,
}

impl fmt::Debug for PostgresKeyValue {
    /// Without the password that the configuration has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresKeyValue({}, {})", self.label, self.shown)
    }
}

/// A parameter of a statement, with its type.
type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Why a call did not do what it should.
enum CallError {
    Postgres(Error),
    Tls(String),
    Refused(String),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        CallError::Postgres(error)
    }
}

/// The text of an error with its causes, none of which has a password.
fn in_words(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return error.message().to_owned();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

impl PostgresKeyValue {
    /// The store of this label in a table of the database at `url`; nothing is connected
    /// yet. The table is `table`, which may have a schema before a dot, or else one named
    /// after the label; it is made if it is missing. Errors show the URL as `shown`. A call
    /// may take as long as `wait`.
    ///
    /// With `sslmode=require` or `verify-full` there is TLS, with a server that proves its
    /// name by one of `authorities` or of those that are built in; with `verify-ca` for any
    /// name. With `prefer`, or without a mode, there is TLS if the server offers it, and it
    /// proves nothing. An `sslrootcert` takes the place of all these authorities.
    ///
    /// # Errors
    /// A URL that PostgreSQL does not have, without the URL itself.
    pub fn new(
        label: &str,
        url: &str,
        shown: String,
        table: Option<&str>,
        wait: Duration,
        authorities: &Authorities,
    ) -> Result<Self, String> {
        let (url, settings) = tls::settings(url, authorities)?;
        let config = url.parse();
        let config: Config =
            config.map_err(|error: Error| format!("its URL is refused: {}", in_words(&error)))?;
        Ok(PostgresKeyValue {
            label: label.to_owned(),
            shown,
            config,
            tls: Tls::new(settings),
            statements: match table {
                Some(table) => Statements::new(&table.split('.').collect::<Vec<_>>())?,
                None => Statements::new(&[&format!("skiff_{label}")])?,
            },
            wait,
            client: Mutex::default(),
        })
    }

    fn named(&self) -> String {
        format!("store `{}` at `{}`", self.label, self.shown)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Arc<Client>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn client(&self) -> Result<Arc<Client>, CallError> {
        let kept = self.kept().clone();
        if let Some(client) = kept.filter(|client| !client.is_closed()) {
            return Ok(client);
        }
        let client = match self.config.get_ssl_mode() {
            SslMode::Disable => self.connect(NoTls).await?,
            _ => {
                let connector = self.tls.connector().await;
                let told = |error| CallError::Tls(skiff_backend_tls::told(&error));
                self.connect(tls::Make(connector.map_err(told)?)).await?
            }
        };
        self.make_table(&client).await?;
        let client = Arc::new(client);
        *self.kept() = Some(Arc::clone(&client));
        Ok(client)
    }

    async fn connect<T>(&self, tls: T) -> Result<Client, Error>
    where
        T: MakeTlsConnect<Socket, Stream: Send + 'static>,
    {
        let (client, connection) = self.config.connect(tls).await?;
        let name = self.named();
        // It ends with the last user of the client.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(
                    error = in_words(&error),
                    "The connection of {name} has ended"
                );
            }
        });
        Ok(client)
    }

    async fn make_table(&self, client: &Client) -> Result<(), Error> {
        // Who may use the table need not have the right to make it.
        let there = client
            .query_typed(
                &self.statements.look,
                &[(&self.statements.table, Type::TEXT)],
            )
            .await?;
        if let Some(row) = there.first()
            && row.try_get(0)?
        {
            return Ok(());
        }
        match client.batch_execute(&self.statements.make).await {
            // Another worker has made it at the same moment.
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(()),
            result => result,
        }
    }

    /// What a statement's rows are read as. Statements see to it that they are not too large.
    async fn rows<T>(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
        read: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, CallError> {
        let client = self.client().await?;
        let parameters = parameters.iter().map(|(value, ty)| (*value, ty.clone()));
        let rows = client.query_typed_raw(statement, parameters).await?;
        let mut rows = pin!(rows);
        let mut all = Vec::new();
        while let Some(row) = rows.try_next().await? {
            all.push(read(&row)?);
        }
        Ok(all)
    }

    /// The same within the time of a call. With `twice`, the same may be done twice, so it is
    /// tried again where the connection was lost.
    async fn ask<T>(
        &self,
        twice: bool,
        statement: &str,
        parameters: &[Parameter<'_>],
        read: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, StoreError> {
        let call = async {
            let mut tries = 1;
            loop {
                match self.rows(statement, parameters, &read).await {
                    Err(CallError::Postgres(error)) if tries < MOST_TRIES => {
                        let undone = [
                            SqlState::T_R_DEADLOCK_DETECTED,
                            SqlState::T_R_SERIALIZATION_FAILURE,
                        ];
                        let is_undone = error.code().is_some_and(|code| undone.contains(code));
                        let is_lost = twice && tries == 1 && error.is_closed();
                        if !is_undone && !is_lost {
                            return Err(CallError::Postgres(error));
                        }
                    }
                    result => return result,
                }
                tries += 1;
            }
        };
        match tokio::time::timeout(self.wait, call).await {
            Ok(result) => result.map_err(|error| self.failure(error)),
            Err(_) => {
                // Late answers are for nobody.
                *self.kept() = None;
                let text = format!("{} has not answered in {:?}", self.named(), self.wait);
                Err(StoreError::Failed(text))
            }
        }
    }

    fn failure(&self, error: CallError) -> StoreError {
        let named = self.named();
        let error = match error {
            CallError::Refused(why) => return StoreError::Refused(format!("{named}: {why}")),
            CallError::Tls(why) => return StoreError::Failed(format!("{named}: {why}")),
            CallError::Postgres(error) => error,
        };
        let text = format!("{named}: {}", in_words(&error));
        // Class 22 is about data, as a text with a zero byte, or a sum that is too large.
        match error.code() {
            Some(code) if code.code().starts_with("22") => StoreError::Refused(text),
            _ => StoreError::Failed(text),
        }
    }

    /// A statement without an interesting result.
    async fn act(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<(), StoreError> {
        self.ask(true, statement, parameters, |_| Ok(())).await?;
        Ok(())
    }

    fn too_large(&self, what: &str, most: usize) -> StoreError {
        self.failure(CallError::Refused(too_large(what, most)))
    }
}

/// How much may be read, as a parameter.
fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

impl KeyValueStore for PostgresKeyValue {
    fn get<'a>(&'a self, key: &'a str, most: usize) -> Reply<'a, Option<Vec<u8>>> {
        async move {
            let limit = limit(most);
            let parameters: [Parameter<'_>; 2] = [(&key, Type::TEXT), (&limit, Type::INT8)];
            let value = |row: &Row| row.try_get(0);
            let found = self.ask(true, &self.statements.get, &parameters, value);
            match found.await?.pop() {
                Some(None) => Err(self.too_large("the value has", most)),
                found => Ok(found.flatten()),
            }
        }
        .boxed()
    }

    fn set(&self, key: String, value: Vec<u8>) -> Reply<'_, ()> {
        async move {
            let parameters: [Parameter<'_>; 2] = [(&key, Type::TEXT), (&value, Type::BYTEA)];
            self.act(&self.statements.set, &parameters).await
        }
        .boxed()
    }

    fn delete(&self, key: String) -> Reply<'_, ()> {
        async move {
            self.act(&self.statements.delete, &[(&key, Type::TEXT)])
                .await
        }
        .boxed()
    }

    fn exists<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        async move {
            let parameters: [Parameter<'_>; 1] = [(&key, Type::TEXT)];
            let found = self.ask(true, &self.statements.exists, &parameters, |_| Ok(()));
            Ok(!found.await?.is_empty())
        }
        .boxed()
    }

    fn keys(&self, most: usize) -> Reply<'_, Vec<String>> {
        async move {
            let limit = limit(most);
            let parameters: [Parameter<'_>; 1] = [(&limit, Type::INT8)];
            let key = |row: &Row| row.try_get(0);
            let keys: Vec<Option<String>> = self
                .ask(true, &self.statements.keys, &parameters, key)
                .await?;
            let all: Option<Vec<String>> = keys.into_iter().collect();
            all.ok_or_else(|| self.too_large("its keys have", most))
        }
        .boxed()
    }

    fn get_many(&self, keys: Vec<String>, most: usize) -> Reply<'_, Vec<FoundPair>> {
        async move {
            let limit = limit(most);
            let parameters: [Parameter<'_>; 2] = [(&keys, Type::TEXT_ARRAY), (&limit, Type::INT8)];
            let pair = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
            let pairs: Vec<FoundPair> = self
                .ask(true, &self.statements.get_many, &parameters, pair)
                .await?;
            match pairs.iter().all(|(_, value)| value.is_some()) {
                true => Ok(pairs),
                false => Err(self.too_large("the values have", most)),
            }
        }
        .boxed()
    }

    fn set_many(&self, pairs: Vec<Pair>) -> Reply<'_, ()> {
        async move {
            // A key that is named twice gets its last value. In this order, two batches do
            // not wait for each other's rows.
            let pairs = BTreeMap::from_iter(pairs);
            let (keys, values): (Vec<String>, Vec<Vec<u8>>) = pairs.into_iter().unzip();
            let parameters: [Parameter<'_>; 2] =
                [(&keys, Type::TEXT_ARRAY), (&values, Type::BYTEA_ARRAY)];
            self.act(&self.statements.set_many, &parameters).await
        }
        .boxed()
    }

    fn delete_many(&self, keys: Vec<String>) -> Reply<'_, ()> {
        async move {
            let parameters: [Parameter<'_>; 1] = [(&keys, Type::TEXT_ARRAY)];
            self.act(&self.statements.delete_many, &parameters).await
        }
        .boxed()
    }

    fn increment(&self, key: String, delta: i64) -> Reply<'_, i64> {
        async move {
            let parameters: [Parameter<'_>; 2] = [(&key, Type::TEXT), (&delta, Type::INT8)];
            let sum = |row: &Row| row.try_get(0);
            let sums: Vec<Vec<u8>> = self
                .ask(false, &self.statements.increment, &parameters, sum)
                .await?;
            let sum = sums.into_iter().next();
            let sum = sum.and_then(|sum| sum.try_into().ok());
            sum.map(i64::from_le_bytes).ok_or_else(|| {
                let why = "the value is not a number of 8 bytes".to_owned();
                self.failure(CallError::Refused(why))
            })
        }
        .boxed()
    }

    fn swap(&self, key: String, before: Option<Vec<u8>>, value: Vec<u8>) -> Reply<'_, bool> {
        async move {
            let mut parameters: Vec<Parameter<'_>> =
                vec![(&key, Type::TEXT), (&value, Type::BYTEA)];
            let statement = match &before {
                Some(before) => {
                    parameters.push((before, Type::BYTEA));
                    &self.statements.swap
                }
                None => &self.statements.add,
            };
            let swapped = self.ask(false, statement, &parameters, |_| Ok(()));
            Ok(!swapped.await?.is_empty())
        }
        .boxed()
    }
}
