//! Answers, after `?ms=N` milliseconds, how many requests its instance has taken, and how many of
//! them it had at once when this one came: reuse and concurrency can both be seen from outside.

use std::sync::atomic::{AtomicU64, Ordering};

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};

static TAKEN: AtomicU64 = AtomicU64::new(0);
static RUNNING: AtomicU64 = AtomicU64::new(0);

struct Count;
wasip3::http::service::export!(Count);

impl Guest for Count {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed) + 1;
        let running = RUNNING.fetch_add(1, Ordering::Relaxed) + 1;
        wait_for(p3::number(&request, "ms", 0) * 1_000_000).await;
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        Ok(p3::respond(
            200,
            format!("taken {taken} at once {running}\n"),
        ))
    }
}
