//! Sends its request on to `?url=…` and passes the answer back, or answers 502 and the error
//! code. With `pause` it waits so many milliseconds before.

use wasip3::clocks::monotonic_clock;
use wasip3::exports::http::handler::Guest;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::wit_future;

struct Relay;
wasip3::http::service::export!(Relay);

impl Guest for Relay {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let query = request.get_path_with_query().unwrap_or_default();
        let url = guests::query_of(&query, "url").expect("a url");
        if let Some(pause) = guests::query_of(&query, "pause") {
            let millis: u64 = pause.parse().expect("a number");
            monotonic_clock::wait_for(millis * 1_000_000).await;
        }
        let method = request.get_method();
        let (_, received) = wit_future::new(|| Ok(()));
        let (body, trailers) = Request::consume_body(request, received);
        let (asked, _sent) = Request::new(Fields::new(), Some(body), trailers, None);
        asked.set_method(&method).expect("a method");
        let path = match url.split_once("://") {
            None => url.as_str(),
            Some((scheme, rest)) => {
                let scheme = match scheme {
                    "http" => Scheme::Http,
                    _ => Scheme::Https,
                };
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                asked.set_scheme(Some(&scheme)).expect("a scheme");
                asked.set_authority(Some(authority)).expect("an authority");
                path
            }
        };
        let path = if path.is_empty() { "/" } else { path };
        asked.set_path_with_query(Some(path)).expect("a path");
        let response = match client::send(asked).await {
            Ok(response) => response,
            Err(error) => return Ok(p3::respond(502, format!("{error:?}\n"))),
        };
        let (status, headers) = (response.get_status_code(), response.get_headers());
        let fields = Fields::new();
        for (name, value) in headers.copy_all() {
            // Those of the connection cannot be set.
            let _ = fields.append(&name, &value);
        }
        let (_, received) = wit_future::new(|| Ok(()));
        let (body, trailers) = Response::consume_body(response, received);
        let (answer, _sent) = Response::new(fields, Some(body), trailers);
        answer.set_status_code(status).expect("a status");
        Ok(answer)
    }
}
