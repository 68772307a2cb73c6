//! Opens the key-value store `?store=…` (`default`) of `fermyon:spin/key-value@2.0.0` and counts in it.

use guests::{answer, query};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    inline: "
        package skiff:guests;

        world imports {
            import fermyon:spin/key-value@2.0.0;
        }

        package fermyon:spin@2.0.0 {
            interface key-value {
                variant error {
                    store-table-full,
                    no-such-store,
                    access-denied,
                    other(string),
                }
                resource store {
                    open: static func(label: string) -> result<store, error>;
                    get: func(key: string) -> result<option<list<u8>>, error>;
                    set: func(key: string, value: list<u8>) -> result<_, error>;
                }
            }
        }
    ",
    generate_all,
});

use fermyon::spin::key_value::{Error, Store};

struct KeyValue;
wasip2::http::proxy::export!(KeyValue with_types_in wasip2);

impl Guest for KeyValue {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let label = query(&request, "store").unwrap_or_else(|| "default".to_owned());
        match count(&label) {
            Ok(times) => answer(out, 200, format!("{times}\n")),
            Err(error) => answer(out, 500, format!("{error:?}\n")),
        }
    }
}

/// How often this was called for the store: one byte is enough for a test.
fn count(label: &str) -> Result<u8, Error> {
    let store = Store::open(label)?;
    let times = store.get("times")?.and_then(|value| value.first().copied());
    let times = times.unwrap_or_default().wrapping_add(1);
    store.set("times", &[times])?;
    Ok(times)
}
