//! A store of `fermyon:spin/key-value` by HTTP, and `closed=1`, which uses it after its end.

use guests::{query, store};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    inline: "
        package skiff:guests;

        world imports {
            import fermyon:spin/key-value;
        }

        package fermyon:spin {
            interface key-value {
                type store = u32;
                variant error {
                    store-table-full,
                    no-such-store,
                    access-denied,
                    invalid-store,
                    no-such-key,
                    io(string),
                }
                open: func(name: string) -> result<store, error>;
                get: func(store: store, key: string) -> result<list<u8>, error>;
                set: func(store: store, key: string, value: list<u8>) -> result<_, error>;
                delete: func(store: store, key: string) -> result<_, error>;
                exists: func(store: store, key: string) -> result<bool, error>;
                get-keys: func(store: store) -> result<list<string>, error>;
                close: func(store: store);
            }
        }
    ",
    generate_all,
});

use fermyon::spin::key_value::{self, Error};

struct Store(u32);

impl Drop for Store {
    fn drop(&mut self) {
        key_value::close(self.0);
    }
}

impl store::Store for Store {
    type Error = Error;

    fn open(label: &str) -> Result<Self, Error> {
        key_value::open(label).map(Store)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        key_value::get(self.0, key).map(Some)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        key_value::set(self.0, key, value)
    }

    fn delete(&self, key: &str) -> Result<(), Error> {
        key_value::delete(self.0, key)
    }

    fn exists(&self, key: &str) -> Result<bool, Error> {
        key_value::exists(self.0, key)
    }

    fn keys(&self) -> Result<Vec<String>, Error> {
        key_value::get_keys(self.0)
    }
}

struct KeyValue;
wasip2::http::proxy::export!(KeyValue with_types_in wasip2);

impl Guest for KeyValue {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        if query(&request, "closed").is_some() {
            let number = key_value::open("default").expect("a store");
            key_value::close(number);
            key_value::exists(number, "key").ok();
        }
        store::serve::<Store>(&request, out);
    }
}
