//! WAGI, which is CGI for WebAssembly: a command gets a request as its arguments,
//! environment and standard input, and its standard output is the answer.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Body;
use percent_encoding::percent_decode_str;
use skiff_engine::Permits;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;

use super::body::Payload;
use super::command::{Command, CommandError, Ended};
use super::running::Guests;
use super::{BodyFault, GuestError, Terms, whole};
use crate::Output;
use crate::interfaces::http::Origin;

/// A request header whose variable programs would take for a setting of their own.
const PROXY: HeaderName = HeaderName::from_static("proxy");

/// A command behind an HTTP trigger with the executor `wagi`.
pub struct Wagi {
    command: Command,
    argv: String,
    terms: Terms,
    permits: Permits,
    guests: Guests,
}

impl Wagi {
    pub(crate) fn new(
        command: Command,
        argv: &str,
        terms: Terms,
        permits: Permits,
        guests: Guests,
    ) -> Self {
        Wagi {
            command,
            argv: argv.to_owned(),
            terms,
            permits,
            guests,
        }
    }

    pub(crate) async fn handle<B>(
        &self,
        request: http::Request<B>,
    ) -> Result<http::Response<Payload>, GuestError>
    where
        B: Body<Data = Bytes, Error = BodyFault> + Send + 'static,
    {
        let grants = self.command.grants();
        let mut context = self.command.context();
        context.origin = grants.outbound.is_granted().then(|| Origin::of(&request));
        let (head, body) = request.into_parts();
        let body = whole::body(body, grants).await?;
        let printed = Output::up_to(whole::MOST_BYTES);
        context
            .wasi
            .args(&arguments(&self.argv, &head))
            .envs(&environment(&head, body.bytes.len()))
            .stdin(MemoryInputPipe::new(body.bytes))
            .stdout(printed.clone());
        let permit = whole::permit(&self.permits, &self.guests).await?;
        let run = async {
            skiff_engine::turn().await;
            let ended = self.command.run_in(context, Some(printed.clone())).await;
            ended.map_err(failure)
        };
        let ended = whole::run(self.terms.limits.deadline, run).await;
        drop((body.meter, permit));
        let component = &*self.command.grants().component;
        match ended? {
            Ended::Exited(code) if code != 0 => {
                return Err(GuestError::Answer(format!("its exit code is {code}")));
            }
            Ended::Returned(Err(())) => {
                tracing::warn!(component_id = component, "Command returned an error");
            }
            Ended::Exited(_) | Ended::Returned(Ok(())) => {}
        }
        let Some(printed) = printed.take() else {
            let most = whole::MOST_BYTES;
            return Err(GuestError::Answer(format!("it has more than {most} bytes")));
        };
        if printed.is_empty() {
            return Err(GuestError::Answer("it printed nothing".to_owned()));
        }
        Ok(match answer(&printed, head.method == http::Method::HEAD) {
            Ok(Answer { response, ignored }) => {
                if let Some(status) = ignored {
                    tracing::warn!(
                        component_id = component,
                        status,
                        "The command's status is none, so its answer is 502"
                    );
                }
                response
            }
            Err(fault) => {
                let reason = fault.to_string();
                tracing::error!(
                    component_id = component,
                    reason,
                    "The command's answer is not passed on"
                );
                explained(&reason)
            }
        })
    }
}

/// The answer to a client whose command printed none.
fn explained(reason: &str) -> http::Response<Payload> {
    let mut headers = HeaderMap::new();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, text);
    let body = format!("The program's answer cannot be passed on: {reason}.\n");
    whole::answer(StatusCode::INTERNAL_SERVER_ERROR, headers, body)
}

fn failure(error: CommandError) -> GuestError {
    match error {
        CommandError::Trap { reason, .. } => GuestError::Trap(wasmtime::Error::msg(reason)),
        CommandError::Instantiate { reason, .. } => {
            GuestError::Instantiate(wasmtime::Error::msg(reason))
        }
    }
}

/// The arguments of a request. They are split at every single space, so an empty query
/// makes an empty argument.
fn arguments(argv: &str, head: &Parts) -> Vec<String> {
    let query = head.uri.query().unwrap_or_default().replace('&', " ");
    let argv = argv
        .replace("${SCRIPT_NAME}", head.uri.path())
        .replace("${ARGS}", &query);
    argv.split(' ').map(str::to_owned).collect()
}

/// The environment of a request, as CGI 1.1 has it and Spin extends it.
fn environment(head: &Parts, length: usize) -> Vec<(String, String)> {
    let header = |name: &str| {
        let value = head.headers.get(name).map(http::HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    let client = header("spin-client-addr");
    let ip = client.parse::<SocketAddr>();
    let ip = ip.map_or_else(|_| client.clone(), |client| client.ip().to_string());
    let authority = header(HOST.as_str()).parse::<http::uri::Authority>().ok();
    let authority = authority.as_ref().or_else(|| head.uri.authority());
    let port = authority
        .and_then(http::uri::Authority::port_u16)
        .unwrap_or(80);
    let path_info = header("spin-path-info");
    let decoded = percent_decode_str(&path_info).decode_utf8_lossy();
    let mut all = vec![
        ("AUTH_TYPE", String::new()),
        ("CONTENT_LENGTH", length.to_string()),
        ("CONTENT_TYPE", header(CONTENT_TYPE.as_str())),
        ("X_FULL_URL", header("spin-full-url")),
        ("GATEWAY_INTERFACE", "CGI/1.1".to_owned()),
        ("X_MATCHED_ROUTE", header("spin-matched-route")),
        (
            "QUERY_STRING",
            head.uri.query().unwrap_or_default().to_owned(),
        ),
        ("REMOTE_ADDR", ip.clone()),
        ("REMOTE_HOST", ip),
        ("REMOTE_USER", String::new()),
        ("REQUEST_METHOD", head.method.to_string()),
        ("SCRIPT_NAME", header("spin-component-route")),
        ("X_RAW_PATH_INFO", path_info.clone()),
        ("PATH_TRANSLATED", decoded.into_owned()),
        ("PATH_INFO", path_info),
        (
            "SERVER_NAME",
            authority.map(|it| it.host().to_owned()).unwrap_or_default(),
        ),
        ("SERVER_PORT", port.to_string()),
        ("SERVER_PROTOCOL", format!("{:?}", head.version)),
        ("SERVER_SOFTWARE", "WAGI/1".to_owned()),
        ("X_COMPONENT_ROUTE", header("spin-component-route")),
        ("X_RAW_COMPONENT_ROUTE", header("spin-raw-component-route")),
        ("X_BASE_PATH", header("spin-base-path")),
        ("X_CLIENT_ADDR", client),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect::<Vec<_>>();
    for (name, value) in &head.headers {
        let upper = |name: &str| name.to_ascii_uppercase().replace('-', "_");
        let name = match name.as_str().strip_prefix("spin-") {
            Some(ours) => match ours.strip_prefix("path-match-") {
                Some(segment) => format!("X_PATH_MATCH_{}", upper(segment)),
                None => continue,
            },
            None if [AUTHORIZATION, CONNECTION, PROXY].contains(name) => continue,
            None => format!("HTTP_{}", upper(name.as_str())),
        };
        all.push((name, String::from_utf8_lossy(value.as_bytes()).into_owned()));
    }
    all
}

/// An answer that a command has printed.
#[derive(Debug)]
struct Answer {
    response: http::Response<Payload>,
    /// A status that is not one.
    ignored: Option<String>,
}

/// Why what a command has printed is not an answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("it does not begin with headers and an empty line")]
    NoHeaders,
    #[error("a header is not UTF-8")]
    NotText,
    #[error("{0}")]
    Header(String),
    #[error("it has none of the headers `content-type`, `status` and `location`")]
    NoneOfThree,
}

/// Reads what a command has printed: header lines, an empty line, and the body.
fn answer(printed: &Bytes, to_head: bool) -> Result<Answer, Fault> {
    let mut headers = HeaderMap::new();
    let (mut status, mut ignored) = (None, None);
    let mut begin = 0;
    loop {
        let rest = &printed[begin..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        begin += end.map_or(rest.len(), |end| end + 1);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let line = std::str::from_utf8(line).map_err(|_| Fault::NotText)?;
        let (name, value) = line.split_once(':').ok_or(Fault::NoHeaders)?;
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("status") {
            // The reason may follow the number.
            let number = value.split(' ').next().unwrap_or_default();
            let number = number.parse::<u16>().ok();
            let number = number.and_then(|number| StatusCode::from_u16(number).ok());
            ignored = number.is_none().then(|| value.to_owned());
            status = Some(number.unwrap_or(StatusCode::BAD_GATEWAY));
        } else {
            let added = whole::add_header(&mut headers, to_head, name, value);
            added.map_err(|error| Fault::Header(error.to_string()))?;
        }
    }
    let redirects = headers.contains_key(LOCATION);
    let status = match status {
        Some(status) => status,
        None if redirects => StatusCode::FOUND,
        None if headers.contains_key(CONTENT_TYPE) => StatusCode::OK,
        None => return Err(Fault::NoneOfThree),
    };
    let response = whole::answer(status, headers, printed.slice(begin..));
    Ok(Answer { response, ignored })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri(uri).method("POST");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn arguments_come_from_path_and_query() {
        let argv = "${SCRIPT_NAME} ${ARGS}";
        assert_eq!(
            arguments(argv, &head("http://a/x/y?a=1&b=2", &[])),
            ["/x/y", "a=1", "b=2"]
        );
        assert_eq!(arguments(argv, &head("http://a/x", &[])), ["/x", ""]);
        assert_eq!(arguments("run  it", &head("/", &[])), ["run", "", "it"]);
    }

    #[test]
    fn the_environment_tells_all_of_a_request_but_what_is_not_the_programs() {
        let head = head(
            "http://shop.example:8080/cart/caf%C3%A9?q=1",
            &[
                ("host", "shop.example:8080"),
                ("content-type", "text/plain"),
                ("x-own", "1"),
                ("authorization", "secret"),
                ("proxy", "http://evil"),
                ("spin-path-info", "/caf%C3%A9"),
                ("spin-component-route", "/cart"),
                ("spin-matched-route", "/cart/..."),
                ("spin-raw-component-route", "/cart/..."),
                ("spin-base-path", "/"),
                (
                    "spin-full-url",
                    "http://shop.example:8080/cart/caf%C3%A9?q=1",
                ),
                ("spin-client-addr", "10.0.0.7:5000"),
                ("spin-path-match-id", "7"),
            ],
        );
        let all = environment(&head, 3);
        for (name, value) in [
            ("AUTH_TYPE", ""),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REMOTE_HOST", "10.0.0.7"),
            ("REMOTE_USER", ""),
            ("SERVER_SOFTWARE", "WAGI/1"),
            ("X_BASE_PATH", "/"),
            ("X_COMPONENT_ROUTE", "/cart"),
            ("X_FULL_URL", "http://shop.example:8080/cart/caf%C3%A9?q=1"),
            ("X_RAW_COMPONENT_ROUTE", "/cart/..."),
            ("X_RAW_PATH_INFO", "/caf%C3%A9"),
            ("CONTENT_LENGTH", "3"),
            ("CONTENT_TYPE", "text/plain"),
            ("HTTP_CONTENT_TYPE", "text/plain"),
            ("HTTP_HOST", "shop.example:8080"),
            ("HTTP_X_OWN", "1"),
            ("PATH_INFO", "/caf%C3%A9"),
            ("PATH_TRANSLATED", "/café"),
            ("QUERY_STRING", "q=1"),
            ("REMOTE_ADDR", "10.0.0.7"),
            ("REQUEST_METHOD", "POST"),
            ("SCRIPT_NAME", "/cart"),
            ("SERVER_NAME", "shop.example"),
            ("SERVER_PORT", "8080"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("X_CLIENT_ADDR", "10.0.0.7:5000"),
            ("X_MATCHED_ROUTE", "/cart/..."),
            ("X_PATH_MATCH_ID", "7"),
        ] {
            let found = all.iter().find(|(known, _)| known == name);
            assert_eq!(
                found.map(|(_, value)| value.as_str()),
                Some(value),
                "{name}"
            );
        }
        for absent in ["HTTP_AUTHORIZATION", "HTTP_PROXY", "HTTP_SPIN_PATH_INFO"] {
            assert!(!all.iter().any(|(name, _)| name == absent), "{absent}");
        }
    }

    #[test]
    fn what_is_printed_becomes_an_answer() {
        for (printed, status, body) in [
            (
                "content-type: text/plain\n\nhello\n\nyou",
                200,
                "hello\n\nyou",
            ),
            ("Content-Type: a\r\nX: 1\r\n\r\n", 200, ""),
            ("status: 404 Not Found\n\n", 404, ""),
            ("status: many\n\n", 502, ""),
            ("location: /there\n\n", 302, ""),
            ("location: /there\nstatus: 307\n\n", 307, ""),
            ("content-type: x", 200, ""),
        ] {
            let answer = answer(&Bytes::from_static(printed.as_bytes()), false).unwrap();
            assert_eq!(answer.ignored.is_some(), status == 502, "{printed:?}");
            assert_eq!(answer.response.status(), status, "{printed:?}");
            let Payload::Full(bytes) = answer.response.body() else {
                panic!("it is whole");
            };
            assert_eq!(bytes, body, "{printed:?}");
        }
    }

    #[test]
    fn the_last_header_of_a_name_counts() {
        let printed = Bytes::from_static(b"content-type: a\r\nContent-Type: b\r\n\r\n");
        let response = answer(&printed, false).unwrap().response;
        assert_eq!(response.headers().get_all(CONTENT_TYPE).iter().count(), 1);
        assert_eq!(response.headers()[CONTENT_TYPE], "b");
    }

    #[test]
    fn what_is_no_answer_is_told() {
        for (printed, fault) in [
            (&b"\n"[..], Fault::NoneOfThree),
            (b"x: 1\n\nbody", Fault::NoneOfThree),
            (b"hello", Fault::NoHeaders),
            (b"\xff: 1\n\n", Fault::NotText),
        ] {
            let found = answer(&Bytes::from_static(printed), false).unwrap_err();
            assert_eq!(found, fault);
        }
        let found = answer(&Bytes::from_static(b"a b: 1\n\n"), false).unwrap_err();
        assert!(matches!(found, Fault::Header(_)), "{found}");
    }
}
