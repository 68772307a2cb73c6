//! `[key_value_store.<label>]`, `[sqlite_database.<label>]` and `[llm_compute]`.

use crate::fields::{Ask, Fields, boolean};
use crate::node::Node;

use super::read::{secret, some_text, typed, url, word};
use super::{AwsCredentials, KeyValueStore, LlmApi, LlmCompute, SqliteDatabase};

const STORES: &[&str] = &["spin", "redis", "postgres", "azure_cosmos", "aws_dynamo"];
const DATABASES: &[&str] = &["spin", "libsql"];
const MODELS: &[&str] = &["spin", "remote_http"];

const HTTP: &[&str] = &["http", "https"];
const REDIS: &[&str] = &["redis", "rediss"];
const POSTGRES: &[&str] = &["postgres", "postgresql"];

const APIS: &[(&str, LlmApi)] = &[("default", LlmApi::Spin), ("open_ai", LlmApi::OpenAi)];

pub(super) fn key_value(node: Node, ask: &Ask<'_>) -> Option<KeyValueStore> {
    typed(node, ask, STORES, |kind, fields| match kind {
        "spin" => Some(KeyValueStore::Spin {
            path: fields.optional("path", some_text),
        }),
        "redis" => {
            let url = fields.required("url", url(REDIS))?;
            Some(KeyValueStore::Redis { url })
        }
        "postgres" => {
            let url = fields.required("url", url(POSTGRES));
            let table = fields.optional("table", some_text);
            Some(KeyValueStore::Postgres { url: url?, table })
        }
        "azure_cosmos" => azure_cosmos(fields),
        _ => aws_dynamo(fields),
    })
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
            let path = fields.optional("path", some_text);
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
