//! A key-value store by HTTP, for the guests that call one: `?op=…` on the store `store`
//! [`default`], the key `key` [`key`] and the value `value` [`value`].

use std::fmt::Debug;

use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use crate::{answer, number, query};

/// What every version of an interface has.
pub trait Store: Sized {
    /// Its error.
    type Error: Debug;

    fn open(label: &str) -> Result<Self, Self::Error>;
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Self::Error>;
    fn set(&self, key: &str, value: &[u8]) -> Result<(), Self::Error>;
    fn delete(&self, key: &str) -> Result<(), Self::Error>;
    fn exists(&self, key: &str) -> Result<bool, Self::Error>;
    fn keys(&self) -> Result<Vec<String>, Self::Error>;

    /// What only this version has; `None` for an operation that it does not have either.
    fn other(&self, _op: &str, _key: &str, _value: &str) -> Option<Result<String, Self::Error>> {
        None
    }
}

/// Answers with what came of the operation, or 500 and the error. `get` answers with the
/// value or `none`, `size` with its length, `exists` with a boolean, and `keys` with the
/// sorted keys. `fill` sets `bytes` [1024] zeros. `times` [1] repeats the operation.
pub fn serve<S: Store>(request: &IncomingRequest, out: ResponseOutparam) {
    let text = |name: &str, default: &str| query(request, name).unwrap_or_else(|| default.into());
    let (op, key, value) = (
        text("op", "get"),
        text("key", "key"),
        text("value", "value"),
    );
    let (times, bytes) = (number(request, "times", 1), number(request, "bytes", 1024));
    let run = || -> Result<String, S::Error> {
        let store = S::open(&text("store", "default"))?;
        let mut result = String::new();
        for _ in 0..times {
            result = act(&store, &op, &key, &value, bytes)?;
        }
        Ok(result)
    };
    match run() {
        Ok(result) => answer(out, 200, result),
        Err(error) => answer(out, 500, format!("{error:?}")),
    }
}

fn act<S: Store>(
    store: &S,
    op: &str,
    key: &str,
    value: &str,
    bytes: u64,
) -> Result<String, S::Error> {
    Ok(match op {
        "get" => match store.get(key)? {
            Some(value) => String::from_utf8_lossy(&value).into_owned(),
            None => "none".to_owned(),
        },
        "size" => store.get(key)?.map_or(0, |value| value.len()).to_string(),
        "set" => store
            .set(key, value.as_bytes())
            .map(|()| "set".to_owned())?,
        "fill" => {
            let value = vec![0; bytes as usize];
            store.set(key, &value).map(|()| "set".to_owned())?
        }
        "delete" => store.delete(key).map(|()| "deleted".to_owned())?,
        "exists" => store.exists(key)?.to_string(),
        "keys" => {
            let mut keys = store.keys()?;
            keys.sort();
            keys.join(",")
        }
        other => match store.other(other, key, value) {
            Some(result) => result?,
            None => format!("there is no operation {other}"),
        },
    })
}
