//! A store of `wasi:keyvalue@0.2.0-draft2` by HTTP, with its batches and atomics.
//!
//! `set-many` sets the keys `key` (with commas) to `value`, `get-many` answers
//! `key=value,…`, `delete-many` removes them. `increment` adds the number `value`. `swap`
//! swaps to `value`; `swap-late` does so after another has set `other`, tries again with the
//! fresh handle, and answers what it found there. `cursor` lists with a cursor.

use guests::store;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    inline: "
        package skiff:guests;

        world imports {
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
        }

        package wasi:keyvalue@0.2.0-draft2 {
            interface store {
                variant error { no-such-store, access-denied, other(string) }
                record key-response { keys: list<string>, cursor: option<string> }
                open: func(identifier: string) -> result<bucket, error>;
                resource bucket {
                    get: func(key: string) -> result<option<list<u8>>, error>;
                    set: func(key: string, value: list<u8>) -> result<_, error>;
                    delete: func(key: string) -> result<_, error>;
                    exists: func(key: string) -> result<bool, error>;
                    list-keys: func(cursor: option<string>) -> result<key-response, error>;
                }
            }
            interface batch {
                use store.{bucket, error};
                get-many: func(bucket: borrow<bucket>, keys: list<string>)
                    -> result<list<tuple<string, option<list<u8>>>>, error>;
                set-many: func(bucket: borrow<bucket>, key-values: list<tuple<string, list<u8>>>)
                    -> result<_, error>;
                delete-many: func(bucket: borrow<bucket>, keys: list<string>) -> result<_, error>;
            }
            interface atomics {
                use store.{bucket, error};
                variant cas-error { store-error(error), cas-failed(cas) }
                resource cas {
                    new: static func(bucket: borrow<bucket>, key: string) -> result<cas, error>;
                    current: func() -> result<option<list<u8>>, error>;
                }
                increment: func(bucket: borrow<bucket>, key: string, delta: s64)
                    -> result<s64, error>;
                swap: func(cas: cas, value: list<u8>) -> result<_, cas-error>;
            }
        }
    ",
    generate_all,
});

use wasi::keyvalue::atomics::{Cas, CasError, increment, swap};
use wasi::keyvalue::batch::{delete_many, get_many, set_many};
use wasi::keyvalue::store::{Bucket, Error};

impl store::Store for Bucket {
    type Error = Error;

    fn open(label: &str) -> Result<Self, Error> {
        wasi::keyvalue::store::open(label)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Bucket::get(self, key)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        Bucket::set(self, key, value)
    }

    fn delete(&self, key: &str) -> Result<(), Error> {
        Bucket::delete(self, key)
    }

    fn exists(&self, key: &str) -> Result<bool, Error> {
        Bucket::exists(self, key)
    }

    fn keys(&self) -> Result<Vec<String>, Error> {
        self.list_keys(None).map(|response| response.keys)
    }

    fn other(&self, op: &str, key: &str, value: &str) -> Option<Result<String, Error>> {
        Some(match op {
            "set-many" => {
                let pairs = keys(key).into_iter();
                let pairs: Vec<_> = pairs.map(|key| (key, value.as_bytes().to_vec())).collect();
                set_many(self, &pairs).map(|()| "set".to_owned())
            }
            "get-many" => get_many(self, &keys(key)).map(|pairs| {
                let pairs = pairs.into_iter().map(|(key, value)| match value {
                    Some(value) => format!("{key}={}", String::from_utf8_lossy(&value)),
                    None => format!("{key} is missing"),
                });
                pairs.collect::<Vec<_>>().join(",")
            }),
            "delete-many" => delete_many(self, &keys(key)).map(|()| "deleted".to_owned()),
            "increment" => {
                let delta = value.parse().expect("a number");
                increment(self, key, delta).map(|sum| sum.to_string())
            }
            "swap" => Cas::new(self, key).map(|cas| match swap(cas, value.as_bytes()) {
                Ok(()) => "swapped".to_owned(),
                Err(error) => format!("{error:?}"),
            }),
            "swap-late" => swap_late(self, key, value),
            "cursor" => self.list_keys(Some("0")).map(|_| "listed".to_owned()),
            _ => return None,
        })
    }
}

fn keys(text: &str) -> Vec<String> {
    let keys = text.split(',').filter(|key| !key.is_empty());
    keys.map(str::to_owned).collect()
}

fn swap_late(bucket: &Bucket, key: &str, value: &str) -> Result<String, Error> {
    let cas = Cas::new(bucket, key)?;
    bucket.set(key, b"other")?;
    match swap(cas, value.as_bytes()) {
        Ok(()) => Ok("swapped what was changed".to_owned()),
        Err(CasError::StoreError(error)) => Err(error),
        Err(CasError::CasFailed(fresh)) => {
            let found = fresh.current()?.unwrap_or_default();
            let found = String::from_utf8_lossy(&found).into_owned();
            match swap(fresh, value.as_bytes()) {
                Ok(()) => Ok(format!("swapped after {found}")),
                Err(error) => Ok(format!("{error:?}")),
            }
        }
    }
}

struct KeyValue;
wasip2::http::proxy::export!(KeyValue with_types_in wasip2);

impl Guest for KeyValue {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        store::serve::<Bucket>(&request, out);
    }
}
