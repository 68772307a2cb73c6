//! Takes `?count=N` of `?what=…` and keeps them until it has answered how many it got:
//! `files` opens the file at `?path=…`, `fields` makes fields of `?size=N` bytes,
//! `bodies` begins answers and writes as much of each body as the host takes, `litter` makes
//! fields and never drops them.

use std::fs::File;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};

struct Hoard;
wasip2::http::proxy::export!(Hoard with_types_in wasip2);

impl Guest for Hoard {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let what = guests::query(&request, "what").unwrap_or_else(|| "files".to_owned());
        let path = guests::query(&request, "path").unwrap_or_else(|| "/".to_owned());
        let count = guests::number(&request, "count", 1000) as usize;
        let size = guests::number(&request, "size", 100_000) as usize;
        let got = match what.as_str() {
            "fields" => take(count, || Some(fields(size))),
            "bodies" => take(count, || Some(body())),
            "litter" => take(count, || Some(std::mem::forget(Fields::new()))),
            _ => take(count, || File::open(&path).ok()),
        };
        guests::answer(out, 200, format!("{got}\n"));
    }
}

/// Takes things until there are enough or no more, and returns how many there were.
fn take<T>(count: usize, more: impl Fn() -> Option<T>) -> usize {
    let kept: Vec<T> = std::iter::from_fn(more).take(count).collect();
    kept.len()
}

fn fields(size: usize) -> Fields {
    let fields = Fields::new();
    fields
        .append("x-hoard", &vec![b'v'; size])
        .expect("the host has room for one header");
    fields
}

fn body() -> OutgoingResponse {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("it has not been taken");
    let stream = body.write().expect("it has not been taken");
    while let Ok(room @ 1..) = stream.check_write() {
        if stream.write(&vec![0; room as usize]).is_err() {
            break;
        }
    }
    drop(stream);
    drop(body);
    response
}
