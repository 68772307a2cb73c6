//! Fails as numbered by `?how=`: 0 an error, 1 a panic, 2 it never ends, 3 it loops.

use std::hint::black_box;

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};

struct Fail;
wasip3::http::service::export!(Fail);

impl Guest for Fail {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        match p3::number(&request, "how", 0) {
            0 => Err(ErrorCode::InternalError(Some(
                "the guest gave up".to_owned(),
            ))),
            1 => panic!("this guest was asked to panic"),
            2 => {
                // Years: longer than any host waits.
                wasip3::clocks::monotonic_clock::wait_for(u64::MAX / 2).await;
                Ok(p3::respond(200, "it ended\n"))
            }
            _ => loop {
                black_box(());
            },
        }
    }
}
