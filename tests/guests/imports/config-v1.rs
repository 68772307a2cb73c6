//! Answers with the variable `?name=…` through `fermyon:spin/config`, the interface of Spin 1.

use guests::{answer, query};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    inline: "
        package skiff:guests;

        world imports {
            import fermyon:spin/config;
        }

        package fermyon:spin {
            interface config {
                variant error {
                    provider(string),
                    invalid-key(string),
                    invalid-schema(string),
                    other(string),
                }
                get-config: func(key: string) -> result<string, error>;
            }
        }
    ",
    generate_all,
});

struct ConfigV1;
wasip2::http::proxy::export!(ConfigV1 with_types_in wasip2);

impl Guest for ConfigV1 {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let name = query(&request, "name").expect("a name");
        match fermyon::spin::config::get_config(&name) {
            Ok(value) => answer(out, 200, value),
            Err(error) => answer(out, 500, format!("{error:?}\n")),
        }
    }
}
