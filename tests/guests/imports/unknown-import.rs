//! Imports an interface that no host offers, so it must not start.

use guests::answer;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    inline: "
        package skiff:guests;

        world imports {
            import nowhere:land/teapot@1.2.3;
        }

        package nowhere:land@1.2.3 {
            interface teapot {
                brew: func() -> string;
            }
        }
    ",
    generate_all,
});

struct UnknownImport;
wasip2::http::proxy::export!(UnknownImport with_types_in wasip2);

impl Guest for UnknownImport {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        answer(out, 200, nowhere::land::teapot::brew());
    }
}
