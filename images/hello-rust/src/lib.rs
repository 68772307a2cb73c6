//! Greets the name in the path. WASI 0.3: one instance answers many requests, also at
//! once.

use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::http_service;

#[http_service]
async fn hello(request: Request) -> impl IntoResponse {
    match request.uri().path().trim_matches('/') {
        "" => "Hello from Rust\n".to_owned(),
        name => format!("Hello {name}, from Rust\n"),
    }
}
