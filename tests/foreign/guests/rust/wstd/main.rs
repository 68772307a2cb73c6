//! The server of every toolchain, with wstd on WASI 0.2: see README.md.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let builder = Response::builder();
    let (builder, body) = match request.uri().path() {
        "/hello" => (
            builder
                .header("content-type", "text/plain")
                .header("x-made-by", "toolchain"),
            Body::from("Hello from a toolchain\n"),
        ),
        "/echo" => (
            builder.header("content-type", "application/octet-stream"),
            request.into_body(),
        ),
        "/headers" => {
            let mut lines: Vec<String> = request
                .headers()
                .iter()
                .filter(|(name, _)| name.as_str().starts_with("x-"))
                .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or_default()))
                .collect();
            lines.sort();
            (builder, Body::from(lines.concat()))
        }
        "/large" => (builder, Body::from("0123456789abcdef".repeat(131_072))),
        "/empty" => (builder.status(204), Body::empty()),
        // Promises more than it sends.
        "/short" => (
            builder.header("content-length", "10"),
            Body::from_stream(futures_lite::stream::once("five\n")),
        ),
        _ => (builder.status(404), Body::from("no such path\n")),
    };
    Ok(builder.body(body)?)
}
