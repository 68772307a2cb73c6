//! Asks the server at `?host=…` (plain HTTP) for `/` and answers with its status, or with the error.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingRequest, ResponseOutparam, Scheme,
};

struct Fetch;
wasip2::http::proxy::export!(Fetch with_types_in wasip2);

impl Guest for Fetch {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let host = guests::query(&request, "host").expect("a host");
        match status_of(&host) {
            Ok(status) => guests::answer(out, 200, format!("{status}\n")),
            Err(error) => guests::answer(out, 502, format!("{error:?}\n")),
        }
    }
}

fn status_of(host: &str) -> Result<u16, ErrorCode> {
    let asked = OutgoingRequest::new(Fields::new());
    asked.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    asked.set_authority(Some(host)).expect("an authority");
    asked.set_path_with_query(Some("/")).expect("a path");
    let future = handle(asked, None)?;
    future.subscribe().block();
    let response = future
        .get()
        .expect("it is ready")
        .expect("it is asked once")?;
    Ok(response.status())
}
