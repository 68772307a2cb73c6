//! Sends `?bytes=N` bytes (default 100), of a promised `length` if there is one, and then
//! breaks off by `how`: 0 waits and traps, 1 ends with trailers that are an error, 2 ends
//! well, if the length is right.

use std::time::Duration;

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

/// Long enough for the written bytes to be sent.
const PAUSE: Duration = Duration::from_millis(200);

struct BreaksOff;
wasip3::http::service::export!(BreaksOff);

impl Guest for BreaksOff {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let number = |name, default| p3::number(&request, name, default);
        let (bytes, length, how) = (number("bytes", 100), number("length", 0), number("how", 0));
        let headers = Fields::new();
        if length > 0 {
            let length = length.to_string();
            headers
                .append("content-length", length.as_bytes())
                .expect("a name that guests may set");
        }
        let (mut writer, body) = wit_stream::new();
        let (trailing, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(body), trailers);
        wit_bindgen::spawn(async move {
            // Data that a departed client did not take is lost.
            drop(writer.write_all(vec![b'x'; bytes as usize]).await);
            match how {
                0 => {
                    wasip3::clocks::monotonic_clock::wait_for(PAUSE.as_nanos() as u64).await;
                    panic!("this guest stops in the middle of its answer");
                }
                1 => {
                    drop(writer);
                    let error = ErrorCode::InternalError(Some("the sum is wrong".to_owned()));
                    drop(trailing.write(Err(error)).await);
                }
                _ => {}
            }
        });
        Ok(response)
    }
}
