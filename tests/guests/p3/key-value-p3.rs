//! A store of `spin:key-value/key-value@3.0.0` by HTTP, as the guests of `guests::store`.
//! With `times`, that many calls are under way at once.

use futures::future::join_all;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};

wit_bindgen::generate!({
    inline: "
        package skiff:guests;

        world imports {
            import spin:key-value/key-value@3.0.0;
        }

        package spin:key-value@3.0.0 {
            interface key-value {
                variant error {
                    store-table-full,
                    no-such-store,
                    access-denied,
                    other(string),
                }
                resource store {
                    open: static async func(label: string) -> result<store, error>;
                    get: async func(key: string) -> result<option<list<u8>>, error>;
                    set: async func(key: string, value: list<u8>) -> result<_, error>;
                    delete: async func(key: string) -> result<_, error>;
                    exists: async func(key: string) -> result<bool, error>;
                    get-keys: async func() -> tuple<stream<string>, future<result<_, error>>>;
                }
            }
        }
    ",
    generate_all,
});

use spin::key_value::key_value::{Error, Store};

struct KeyValue;
wasip3::http::service::export!(KeyValue);

impl Guest for KeyValue {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        Ok(match run(&path).await {
            Ok(text) => p3::respond(200, text),
            Err(error) => p3::respond(500, format!("{error:?}")),
        })
    }
}

async fn run(path: &str) -> Result<String, Error> {
    let text = |name: &str, default: &str| {
        guests::query_of(path, name).unwrap_or_else(|| default.to_owned())
    };
    let store = Store::open(text("store", "default")).await?;
    let (op, key, value) = (
        text("op", "get"),
        text("key", "key"),
        text("value", "value"),
    );
    let times: usize = text("times", "1").parse().expect("a number");
    let calls = (0..times).map(|_| act(&store, &op, key.clone(), value.clone()));
    let results: Result<Vec<String>, Error> = join_all(calls).await.into_iter().collect();
    Ok(results?.pop().unwrap_or_default())
}

async fn act(store: &Store, op: &str, key: String, value: String) -> Result<String, Error> {
    Ok(match op {
        "get" => match store.get(key).await? {
            Some(value) => String::from_utf8_lossy(&value).into_owned(),
            None => "none".to_owned(),
        },
        "set" => {
            store.set(key, value.into_bytes()).await?;
            "set".to_owned()
        }
        "delete" => {
            store.delete(key).await?;
            "deleted".to_owned()
        }
        "exists" => store.exists(key).await?.to_string(),
        "keys" => {
            let (stream, done) = store.get_keys().await;
            let mut keys = stream.collect().await;
            done.await?;
            keys.sort();
            keys.join(",")
        }
        other => format!("there is no operation {other}"),
    })
}
