//! The server of every toolchain, with wstd on WASI 0.2: see README.md.

use wstd::http::{Body, Client, Error, Request, Response};

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
        "/fetch" => {
            let url = request.uri().query().unwrap_or_default().to_owned();
            let request = Request::post(url)
                .header("x-own", "toolchain")
                .body(request.into_body())?;
            match Client::new().send(request).await {
                Ok(answer) => {
                    let builder = builder.status(answer.status());
                    let of = answer.headers().get("x-of").cloned();
                    let builder = of.into_iter().fold(builder, |b, of| b.header("x-of", of));
                    (builder, answer.into_body())
                }
                Err(error) => (builder.status(502), Body::from(format!("{error:?}\n"))),
            }
        }
        _ => (builder.status(404), Body::from("no such path\n")),
    };
    Ok(builder.body(body)?)
}
