//! Answers with the variable `?name=…` through `fermyon:spin/variables@2.0.0`, or with its error.

use guests::{answer, query};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    inline: "
        package skiff:guests;

        world imports {
            import fermyon:spin/variables@2.0.0;
        }

        package fermyon:spin@2.0.0 {
            interface variables {
                variant error {
                    invalid-name(string),
                    undefined(string),
                    provider(string),
                    other(string),
                }
                get: func(name: string) -> result<string, error>;
            }
        }
    ",
    generate_all,
});

struct Variables;
wasip2::http::proxy::export!(Variables with_types_in wasip2);

impl Guest for Variables {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let name = query(&request, "name").expect("a name");
        match fermyon::spin::variables::get(&name) {
            Ok(value) => answer(out, 200, value),
            Err(error) => answer(out, 500, format!("{error:?}\n")),
        }
    }
}
