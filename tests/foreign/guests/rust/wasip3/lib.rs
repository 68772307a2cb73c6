//! The server of every toolchain, with the bare bindings of WASI 0.3: see README.md.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use wasip3::{wit_bindgen, wit_future, wit_stream};

struct Server;
wasip3::http::service::export!(Server);

impl Guest for Server {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        match request.get_path_with_query().unwrap_or_default().as_str() {
            "/hello" => {
                let headers = [("content-type", "text/plain"), ("x-made-by", "toolchain")];
                Ok(respond(200, &headers, "Hello from a toolchain\n"))
            }
            "/echo" => {
                let headers = fields(&[("content-type", "application/octet-stream")]);
                let (_, received) = wit_future::new(|| Ok(()));
                let (body, trailers) = Request::consume_body(request, received);
                Ok(Response::new(headers, Some(body), trailers).0)
            }
            "/headers" => {
                let mut lines: Vec<String> = request
                    .get_headers()
                    .copy_all()
                    .iter()
                    .filter(|(name, _)| name.starts_with("x-"))
                    .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)))
                    .collect();
                lines.sort();
                Ok(respond(200, &[], lines.concat()))
            }
            "/large" => Ok(respond(200, &[], "0123456789abcdef".repeat(131_072))),
            "/empty" => Ok(respond(204, &[], "")),
            path if path.starts_with("/fetch?") => {
                let url = path["/fetch?".len()..].to_owned();
                let answer = fetch(&url, request).await;
                Ok(answer.unwrap_or_else(|error| respond(502, &[], format!("{error:?}\n"))))
            }
            // Promises more than it sends.
            "/short" => Ok(respond(200, &[("content-length", "10")], "five\n")),
            _ => Ok(respond(404, &[], "no such path\n")),
        }
    }
}

/// Sends a request's body on to a URL, and passes the answer back.
async fn fetch(url: &str, request: Request) -> Result<Response, ErrorCode> {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (_, received) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, received);
    let headers = fields(&[("x-own", "toolchain")]);
    let (asked, _sent) = Request::new(headers, Some(body), trailers, None);
    let wrong = |()| ErrorCode::HttpRequestUriInvalid;
    asked.set_method(&Method::Post).map_err(wrong)?;
    asked.set_scheme(Some(&Scheme::Http)).map_err(wrong)?;
    asked.set_authority(Some(authority)).map_err(wrong)?;
    asked.set_path_with_query(Some(path)).map_err(wrong)?;
    let answer = wasip3::http::client::send(asked).await?;
    let status = answer.get_status_code();
    let of = answer.get_headers().get("x-of");
    let of = of.iter().map(|value| ("x-of".to_owned(), value.clone()));
    let headers = Fields::from_list(&of.collect::<Vec<_>>()).expect("valid headers");
    let (_, received) = wit_future::new(|| Ok(()));
    let (body, trailers) = Response::consume_body(answer, received);
    let (response, _sent) = Response::new(headers, Some(body), trailers);
    response.set_status_code(status).expect("a valid status");
    Ok(response)
}

fn fields(headers: &[(&str, &str)]) -> Fields {
    let all = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
    Fields::from_list(&all.collect::<Vec<_>>()).expect("valid headers")
}

fn respond(status: u16, headers: &[(&str, &str)], text: impl Into<Vec<u8>>) -> Response {
    let text = text.into();
    let (mut writer, body) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(fields(headers), Some(body), trailers);
    response.set_status_code(status).expect("a valid status");
    // The body is sent after the response was returned, so a spawned task has to write
    // it.
    wit_bindgen::spawn(async move {
        drop(writer.write_all(text).await);
    });
    response
}
