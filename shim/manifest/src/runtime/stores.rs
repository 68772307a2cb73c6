//! `[key_value_store.<label>]`, `[sqlite_database.<label>]` and `[llm_compute]`.

use crate::check::passed;
use crate::fields::{Ask, Fields, boolean, text};
use crate::node::Node;

use super::read::{secret, some_text, typed, url, word};
use super::{AwsCredentials, KeyValueStore, LlmApi, LlmCompute, ServiceUrl, SqliteDatabase};

const STORES: &[&str] = &["spin", "redis", "postgres", "azure_cosmos", "aws_dynamo"];
const DATABASES: &[&str] = &["spin", "libsql"];
const MODELS: &[&str] = &["spin", "remote_http"];

const HTTP: &[&str] = &["http", "https"];
const REDIS: &[&str] = &["redis", "rediss"];
const POSTGRES: &[&str] = &["postgres", "postgresql"];

/// More databases than any server of Redis has.
const MOST_DIGITS: usize = 9;

/// Longer names of PostgreSQL are cut off.
const LONGEST_NAME: usize = 63;

const APIS: &[(&str, LlmApi)] = &[("default", LlmApi::Spin), ("open_ai", LlmApi::OpenAi)];

pub(super) fn key_value(node: Node, ask: &Ask<'_>) -> Option<KeyValueStore> {
    typed(node, ask, STORES, |kind, fields| match kind {
        "spin" => Some(KeyValueStore::Spin {
            path: fields.optional("path", file),
        }),
        "redis" => {
            let url = fields.required("url", redis_url);
            let prefix = fields.optional("prefix", text);
            Some(KeyValueStore::Redis {
                url: url?,
                prefix: prefix.map(|prefix| prefix.value),
            })
        }
        "postgres" => {
            let url = fields.required("url", url(POSTGRES));
            let table = fields.optional("table", table);
            Some(KeyValueStore::Postgres { url: url?, table })
        }
        "azure_cosmos" => azure_cosmos(fields),
        _ => aws_dynamo(fields),
    })
}

/// A path that can be that of a file.
fn file(node: Node, ask: &Ask<'_>) -> Option<String> {
    let at = node.at;
    let path = some_text(node, ask)?;
    let last = path.rsplit('/').next();
    let checked = match last {
        Some("" | "." | "..") => Err("must be the path of a file, not of a folder"),
        _ => Ok(path),
    };
    passed(checked, at, ask)
}

/// A URL whose path, if there is one, is the number of a database.
fn redis_url(node: Node, ask: &Ask<'_>) -> Option<ServiceUrl> {
    let at = node.at;
    let url = url(REDIS)(node, ask)?;
    let database = url.expose().path().trim_matches('/');
    let is_number = database.bytes().all(|byte| byte.is_ascii_digit());
    let checked = match is_number && database.len() <= MOST_DIGITS {
        true => Ok(url),
        false => Err("must have the number of a database as its path, such as `/0`, or none"),
    };
    passed(checked, at, ask)
}

/// The name of a table, possibly with a schema before a dot.
fn table(node: Node, ask: &Ask<'_>) -> Option<String> {
    let at = node.at;
    let table = some_text(node, ask)?;
    let parts: Vec<&str> = table.split('.').collect();
    let is_name = |part: &&str| (1..=LONGEST_NAME).contains(&part.len()) && !part.contains('\0');
    let checked = match parts.len() <= 2 && parts.iter().all(is_name) {
        true => Ok(table),
        false => Err(
            "must be the name of a table, or of a schema and a table with a dot between them, each of 1 to 63 bytes",
        ),
    };
    passed(checked, at, ask)
}

fn azure_cosmos(fields: &mut Fields<'_>) -> Option<KeyValueStore> {
    let account = fields.required("account", some_text);
    let database = fields.required("database", some_text);
    let container = fields.required("container", some_text);
    let key = fields.optional("key", secret);
    Some(KeyValueStore::AzureCosmos {
        account: account?,
        database: database?,
        container: container?,
        key,
    })
}

fn aws_dynamo(fields: &mut Fields<'_>) -> Option<KeyValueStore> {
    let (at, ask) = (fields.at, fields.ask.clone());
    let before = ask.sink.noted();
    let region = fields.required("region", some_text);
    let table = fields.required("table", some_text);
    let access_key = fields.optional("access_key", secret);
    let secret_key = fields.optional("secret_key", secret);
    let token = fields.optional("token", secret);
    let consistent_read = fields.optional("consistent_read", boolean);
    let credentials = match (access_key, secret_key, token) {
        (Some(access_key), Some(secret_key), token) => Some(AwsCredentials {
            access_key,
            secret_key,
            token,
        }),
        (None, None, None) => None,
        _ => {
            // A member that is wrong was written, and is not missing as well.
            if ask.sink.noted() == before {
                ask.fault(at, "must have both `access_key` and `secret_key`, or none");
            }
            None
        }
    };
    Some(KeyValueStore::AwsDynamo {
        region: region?,
        table: table?,
        credentials,
        consistent_read: consistent_read.is_some_and(|flag| flag.value),
    })
}

pub(super) fn sqlite(node: Node, ask: &Ask<'_>) -> Option<SqliteDatabase> {
    typed(node, ask, DATABASES, |kind, fields| match kind {
        "spin" => {
            let path = fields.optional("path", file);
            let attach = fields.optional("allow_attach_file", boolean);
            Some(SqliteDatabase::Spin {
                path,
                allow_attach_file: attach.is_some_and(|flag| flag.value),
            })
        }
        _ => {
            let url = fields.required("url", url(HTTP));
            let token = fields.required("token", secret);
            Some(SqliteDatabase::Libsql {
                url: url?,
                token: token?,
            })
        }
    })
}

pub(super) fn llm(node: Node, ask: &Ask<'_>) -> Option<LlmCompute> {
    typed(node, ask, MODELS, |kind, fields| match kind {
        "spin" => Some(LlmCompute::Spin),
        _ => {
            let url = fields.required("url", url(HTTP));
            let auth_token = fields.required("auth_token", secret);
            let api = fields.optional("api_type", word(APIS));
            Some(LlmCompute::RemoteHttp {
                url: url?,
                auth_token: auth_token?,
                api: api.unwrap_or_default(),
            })
        }
    })
}
