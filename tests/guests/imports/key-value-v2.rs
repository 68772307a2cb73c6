//! A store of `fermyon:spin/key-value@2.0.0` by HTTP.

use guests::store;
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
                    delete: func(key: string) -> result<_, error>;
                    exists: func(key: string) -> result<bool, error>;
                    get-keys: func() -> result<list<string>, error>;
                }
            }
        }
    ",
    generate_all,
});

use fermyon::spin::key_value::{Error, Store};

impl store::Store for Store {
    type Error = Error;

    fn open(label: &str) -> Result<Self, Error> {
        Store::open(label)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Store::get(self, key)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        Store::set(self, key, value)
    }

    fn delete(&self, key: &str) -> Result<(), Error> {
        Store::delete(self, key)
    }

    fn exists(&self, key: &str) -> Result<bool, Error> {
        Store::exists(self, key)
    }

    fn keys(&self) -> Result<Vec<String>, Error> {
        self.get_keys()
    }
}

struct KeyValue;
wasip2::http::proxy::export!(KeyValue with_types_in wasip2);

impl Guest for KeyValue {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        store::serve::<Store>(&request, out);
    }
}
