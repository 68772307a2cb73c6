//! The server of every toolchain, with spin-sdk 7 on WASI 0.3: see README.md.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use spin_sdk::http::{FullBody, IntoResponse, Request};
use spin_sdk::http_service;

#[http_service]
async fn answer(request: Request) -> impl IntoResponse {
    let path = request.uri().path().to_owned();
    let builder = http::Response::builder();
    let (builder, body) = match path.as_str() {
        "/hello" => (
            builder
                .header("content-type", "text/plain")
                .header("x-made-by", "toolchain"),
            Bytes::from("Hello from a toolchain\n"),
        ),
        "/echo" => {
            let body = request.into_body().collect().await.expect("a whole body");
            let builder = builder.header("content-type", "application/octet-stream");
            (builder, body.to_bytes())
        }
        "/headers" => {
            let mut lines: Vec<String> = request
                .headers()
                .iter()
                .filter(|(name, _)| name.as_str().starts_with("x-"))
                .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or_default()))
                .collect();
            lines.sort();
            (builder, Bytes::from(lines.concat()))
        }
        "/large" => (builder, Bytes::from("0123456789abcdef".repeat(131_072))),
        "/empty" => (builder.status(204), Bytes::new()),
        _ => (builder.status(404), Bytes::from("no such path\n")),
    };
    builder.body(FullBody::new(body)).expect("a valid answer")
}
