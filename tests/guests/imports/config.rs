//! Answers with `?name=…` through `wasi:config/store`; without a name, with every pair, sorted.

use guests::{answer, query};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    inline: "
        package skiff:guests;

        world imports {
            import wasi:config/store@0.2.0-draft-2024-09-27;
        }

        package wasi:config@0.2.0-draft-2024-09-27 {
            interface store {
                variant error {
                    upstream(string),
                    io(string),
                }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
            }
        }
    ",
    generate_all,
});

use wasi::config::store;

struct Config;
wasip2::http::proxy::export!(Config with_types_in wasip2);

impl Guest for Config {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let answered = match query(&request, "name") {
            Some(name) => store::get(&name).map(|value| format!("{value:?}\n")),
            None => store::get_all().map(|mut pairs| {
                pairs.sort();
                pairs
                    .iter()
                    .map(|(key, value)| format!("{key}={value}\n"))
                    .collect()
            }),
        };
        match answered {
            Ok(text) => answer(out, 200, text),
            Err(error) => answer(out, 500, format!("{error:?}\n")),
        }
    }
}
