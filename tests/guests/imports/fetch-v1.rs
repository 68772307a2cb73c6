//! Sends its request on to `?url=…` through the interface of Spin's first SDKs, and answers with
//! the status, headers and body of the answer, or with 502 and the error.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, Method as Asked, ResponseOutparam};

wit_bindgen::generate!({
    inline: "
        package fermyon:spin;
        interface http-types {
            type http-status = u16;
            type body = list<u8>;
            type headers = list<tuple<string, string>>;
            type params = list<tuple<string, string>>;
            type uri = string;
            enum method { get, post, put, delete, patch, head, options }
            record request { method: method, uri: uri, headers: headers, params: params, body: option<body> }
            record response { status: http-status, headers: option<headers>, body: option<body> }
            enum http-error { success, destination-not-allowed, invalid-url, request-error, runtime-error, too-many-requests }
        }
        interface http {
            use http-types.{request, response, http-error};
            send-request: func(req: request) -> result<response, http-error>;
        }
        world guest { import http; }
    ",
    generate_all,
});

use fermyon::spin::http::{Request, send_request};
use fermyon::spin::http_types::Method;

struct Fetch;
wasip2::http::proxy::export!(Fetch with_types_in wasip2);

impl Guest for Fetch {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let method = match request.method() {
            Asked::Post => Method::Post,
            _ => Method::Get,
        };
        let (_incoming, input) = guests::body(&request);
        let mut body = Vec::new();
        while let Some(piece) = guests::read(&input) {
            body.extend(piece);
        }
        let asked = Request {
            method,
            uri: guests::query(&request, "url").expect("a url"),
            headers: vec![("authorization".to_owned(), "secret".to_owned())],
            params: Vec::new(),
            body: (!body.is_empty()).then_some(body),
        };
        match send_request(&asked) {
            Err(error) => guests::answer(out, 502, format!("{error:?}\n")),
            Ok(response) => {
                let headers = response.headers.unwrap_or_default().into_iter();
                let mut text: Vec<u8> = headers
                    .flat_map(|(name, value)| format!("{name}: {value}\n").into_bytes())
                    .collect();
                text.extend(response.body.unwrap_or_default());
                guests::answer(out, response.status, text);
            }
        }
    }
}
