//! Answers with all headers of the request.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};

struct Headers;
wasip3::http::service::export!(Headers);

impl Guest for Headers {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let headers = request.get_headers().copy_all().into_iter();
        let text: String = headers
            .map(|(name, value)| format!("{name}: {}\n", value.escape_ascii()))
            .collect();
        Ok(p3::respond(200, text))
    }
}
