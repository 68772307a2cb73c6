//! The server of every toolchain, with the SDK's simple requests, which are the same from
//! release 2 to 5: see README.md.

use spin_sdk::http::{Request, Response};
use spin_sdk::http_component;

#[http_component]
fn answer(request: Request) -> Response {
    match request.path_and_query().unwrap_or_default() {
        "/hello" => Response::builder()
            .status(200)
            .header("content-type", "text/plain")
            .header("x-made-by", "toolchain")
            .body("Hello from a toolchain\n")
            .build(),
        "/echo" => Response::builder()
            .status(200)
            .header("content-type", "application/octet-stream")
            .body(request.into_body())
            .build(),
        "/headers" => {
            let mut lines: Vec<String> = request
                .headers()
                .filter(|(name, _)| name.starts_with("x-"))
                .map(|(name, value)| format!("{name}: {}\n", value.as_str().unwrap_or_default()))
                .collect();
            lines.sort();
            Response::new(200, lines.concat())
        }
        "/large" => Response::new(200, "0123456789abcdef".repeat(131_072)),
        "/empty" => Response::new(204, ()),
        _ => Response::new(404, "no such path\n"),
    }
}
