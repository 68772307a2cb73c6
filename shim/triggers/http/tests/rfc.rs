//! What RFC 9110, 9112 and 9113 require of a server. `docs/http.md` lists it.

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use skiff_trigger_http::{
    BoxError, ResponseBody, Route, RoutePath, Settings, StaticAnswer, Target,
};
use support::*;
use tokio::io::AsyncWriteExt;

const MANY: usize = 8 * 1024 * 1024;

/// A guest that mirrors requests, one that fails half way, and fixed answers.
fn everything() -> Vec<Route<Fun>> {
    let fixed = |path: &str, status: u16, body: Vec<u8>| Route {
        trigger: path.to_owned(),
        path: RoutePath::Public(path.to_owned()),
        target: Target::Static(StaticAnswer::new(status, [("x-a", "b")], body).unwrap()),
    };
    vec![
        route("/...", "mirror", mirror()),
        route("/half", "half", half()),
        fixed("/fixed", 200, b"fixed".to_vec()),
        fixed("/large", 200, vec![b'x'; MANY]),
        fixed("/empty", 204, b"nobody sees it".to_vec()),
    ]
}

fn all() -> Running {
    serve_with(&Settings::default(), everything())
}

/// A guest whose response is in the path: `/STATUS/content-length/bytes that are there`,
/// with `-` for no length.
fn answers() -> Fun {
    fun(|request| async move {
        let path = request.uri().path().to_owned();
        let mut parts = path[1..].split('/');
        let mut part = || parts.next().unwrap();
        let (status, length, bytes) = (part(), part(), part().parse::<usize>().unwrap());
        let pieces = (0..bytes).map(|_| Ok(Frame::data(Bytes::from_static(b"x"))));
        let pieces: Vec<Result<_, BoxError>> = pieces.collect();
        let body = StreamBody::new(futures::stream::iter(pieces));
        let mut response = Response::new(ResponseBody::new(body));
        *response.status_mut() = status.parse::<u16>().unwrap().try_into().unwrap();
        if length != "-" {
            let length = HeaderValue::from_str(length).unwrap();
            response.headers_mut().insert("content-length", length);
        }
        Ok(response)
    })
}

async fn http2(server: &Running) -> SendRequest<Empty<Bytes>> {
    let stream = TokioIo::new(server.connect().await.stream);
    let (client, connection) = soon(handshake(TokioExecutor::new(), stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn ask(
    client: &mut SendRequest<Empty<Bytes>>,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
) -> Result<(u16, HeaderMap, String), hyper::Error> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::new()).unwrap();
    let response = soon(client.send_request(request)).await?;
    let (head, body) = response.into_parts();
    let body = soon(body.collect()).await?.to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    Ok((head.status.as_u16(), head.headers, text))
}

/// Sends a request and reads everything up to the end of the connection.
async fn whole(server: &Running, request: &str) -> String {
    let mut client = server.connect().await;
    client.send(request).await;
    client.stream.shutdown().await.unwrap();
    client.rest().await
}

#[tokio::test]
async fn a_request_of_http_1_1_has_one_valid_host_on_every_route() {
    let server = all();
    let heads = [
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1\r\nhost:\r\n\r\n",
        "HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "HTTP/1.1\r\nhost: a b\r\n\r\n",
        "HTTP/1.1\r\nhost: u@a\r\n\r\n",
        "HTTP/1.1\r\nhost: a:b\r\n\r\n",
        "HTTP/1.1\r\nhost: \u{e9}\r\n\r\n",
        "HTTP/1.1\r\nhost: other.spin.internal\r\n\r\n",
        "HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n",
    ];
    let paths = ["/", "/fixed", "/.well-known/spin/health"];
    for head in heads {
        for path in paths {
            let mut client = server.connect().await;
            client.send(format!("GET {path} {head}")).await;
            let reply = client.reply().await;
            assert_eq!(reply.status, 400, "{path} {head:?}");
            assert_eq!(reply.header("connection"), Some("close"), "{head:?}");
            assert_eq!(client.rest().await, "");
        }
    }
    let refused = server.count(|counters| &counters.refused_hosts);
    assert_eq!(refused, (heads.len() * paths.len()) as u64);
    assert_eq!(server.get("/fixed").await.text(), "fixed");
}

#[tokio::test]
async fn http_1_0_needs_no_host_on_every_route() {
    let server = all();
    let guest = whole(&server, "GET /x HTTP/1.0\r\n\r\n").await;
    assert!(guest.starts_with("HTTP/1.0 200 OK\r\n"), "{guest}");
    assert!(guest.contains("GET http://localhost/x\n"), "{guest}");
    let fixed = whole(&server, "GET /fixed HTTP/1.0\r\n\r\n").await;
    assert!(fixed.ends_with("\r\n\r\nfixed"), "{fixed}");
}

#[tokio::test]
async fn an_absolute_target_wins_over_host() {
    let server = all();
    let mut client = server.connect().await;
    client
        .send("GET http://example.com/x HTTP/1.1\r\nhost: other:1\r\n\r\n")
        .await;
    let reply = client.reply().await;
    let text = reply.text();
    assert!(text.starts_with("GET http://example.com/x\n"), "{text}");
    assert!(text.contains("\nhost: example.com\n"), "{text}");
    assert!(
        text.contains("spin-full-url: http://example.com/x\n"),
        "{text}"
    );
    assert!(!text.contains("other"), "{text}");
}

#[tokio::test]
async fn an_absolute_target_needs_a_host_as_well() {
    let server = all();
    let mut client = server.connect().await;
    client.send("GET http://a/fixed HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 400);
}

#[tokio::test]
async fn a_target_that_is_no_path_is_400() {
    let server = all();
    for target in ["example.com:80", "*", "foo"] {
        let mut client = server.connect().await;
        client
            .send(format!(
                "GET {target} HTTP/1.1\r\nhost: example.com:80\r\n\r\n"
            ))
            .await;
        assert_eq!(client.reply().await.status, 400, "{target}");
    }
    assert_eq!(server.count(|counters| &counters.bad_requests), 3);
}

#[tokio::test]
async fn options_of_the_server_are_its_own() {
    let server = all();
    let mut client = server.connect().await;
    client.send("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text()), (200, ""));
    assert_eq!(reply.header("content-length"), Some("0"));
    assert!(reply.header("allow").unwrap().contains("OPTIONS"));
    client.send("OPTIONS /a HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(
        client
            .reply()
            .await
            .text()
            .starts_with("OPTIONS http://a/a\n")
    );
}

#[tokio::test]
async fn tunnels_are_refused_and_what_is_allowed_is_told() {
    let server = all();
    let mut client = server.connect().await;
    client
        .send("CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 405);
    assert!(reply.header("allow").unwrap().starts_with("GET, HEAD"));
}

#[tokio::test]
async fn what_is_against_the_grammar_is_400_with_a_date_and_is_counted() {
    let server = all();
    let bad = [
        "GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET / HTTP/1.1\r\n host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/3.0\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\nx",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 2\r\n\r\nx",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\nx",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    for request in bad {
        let mut client = server.connect().await;
        client.send(request).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 400, "{request:?}");
        assert!(reply.header("date").is_some(), "{request:?}");
        assert_eq!(client.rest().await, "", "{request:?}");
    }
    until(|| server.count(|counters| &counters.bad_requests) == bad.len() as u64).await;
    assert_eq!(server.count(|counters| &counters.requests), 0);
}

#[tokio::test]
async fn a_head_that_breaks_off_is_400() {
    let server = all();
    let reply = whole(&server, "GET / HTTP/1.1\r\nhost: a\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{reply}");
    assert!(reply.contains("\r\ndate: "), "{reply}");
}

#[tokio::test]
async fn a_transfer_coding_that_is_not_known_is_501() {
    let server = all();
    for (coding, status) in [
        ("gzip, chunked", 501),
        ("chunked, chunked", 400),
        ("Chunked", 200),
    ] {
        let mut client = server.connect().await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n"
            ))
            .await;
        assert_eq!(client.reply().await.status, status, "{coding}");
    }
}

#[tokio::test]
async fn chunks_win_over_a_length_and_end_the_connection() {
    let server = all();
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2;ext=1\r\nab\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert!(reply.text().ends_with("\n\nab"), "{}", reply.text());
    assert!(!reply.text().contains("content-length"), "{}", reply.text());
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_broken_chunk_is_400() {
    let server = all();
    for body in ["xyz\r\n", "1\r\nab\r\n0\r\n\r\n", "fffffffffffffffff\r\n"] {
        let mut client = server.connect().await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}"
            ))
            .await;
        assert_eq!(client.reply().await.status, 400, "{body:?}");
        assert_eq!(client.rest().await, "", "{body:?}");
    }
    assert_eq!(server.count(|counters| &counters.traps), 0);
}

#[tokio::test]
async fn bytes_above_ascii_reach_the_guest_and_come_back() {
    let server = serve(fun(|mut request| async move {
        let value = request.headers_mut().remove("x").unwrap();
        let mut response = Response::new(format!("{:?}", value.as_bytes()).into());
        response.headers_mut().insert("y", value);
        Ok(response)
    }));
    let mut client = server.connect().await;
    client
        .send(b"GET / HTTP/1.1\r\nhost: a\r\nx: a\xff\x80\r\nconnection: close\r\n\r\n")
        .await;
    let mut bytes = Vec::new();
    soon(tokio::io::AsyncReadExt::read_to_end(
        &mut client.stream,
        &mut bytes,
    ))
    .await
    .unwrap();
    assert!(bytes.ends_with(b"[97, 255, 128]"), "{bytes:?}");
    assert!(
        bytes
            .windows(8)
            .any(|part| part == b"y: a\xff\x80\r\n"[..8].as_ref())
    );
}

#[tokio::test]
async fn what_belongs_to_a_connection_stays_there() {
    let server = all();
    let mut client = server.connect().await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: X-Hop, keep-alive\r\nconnection: te\r\nx-hop: 1\r\nte: trailers\r\nkeep-alive: timeout=5\r\nx-end: 2\r\n\r\n")
        .await;
    let reply = client.reply().await;
    let text = reply.text();
    for gone in ["x-hop", "\nte:", "connection", "keep-alive"] {
        assert!(!text.contains(gone), "{text}");
    }
    assert!(text.contains("\nx-end: 2\n"), "{text}");
}

#[tokio::test]
async fn parts_of_a_cookie_are_joined_for_http_2_alone() {
    let server = all();
    let mut client = http2(&server).await;
    let cookies = [
        ("cookie", "a=b"),
        ("x", "y"),
        ("cookie", "c=d; e"),
        ("cookie", "f"),
    ];
    let (_, _, text) = ask(&mut client, "GET", "http://a/", &cookies)
        .await
        .unwrap();
    assert!(text.contains("\ncookie: a=b; c=d; e; f\n"), "{text}");
    assert_eq!(text.matches("cookie").count(), 1, "{text}");
    let mut client = server.connect().await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\ncookie: 1\r\ncookie: 2\r\n\r\n")
        .await;
    assert!(
        client
            .reply()
            .await
            .text()
            .contains("cookie: 1\ncookie: 2\n")
    );
}

#[tokio::test]
async fn a_client_that_sends_no_more_gets_its_answer_on_every_route() {
    let slow = fun(|_| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(Response::new("late".into()))
    });
    let mut routes = everything();
    routes.push(route("/slow", "slow", slow));
    let server = serve_with(&Settings::default(), routes);
    for (path, end) in [
        ("/", "\n\n"),
        ("/slow", "late"),
        ("/fixed", "fixed"),
        ("/.well-known/spin/health", "OK"),
        ("/half", "4\r\nhalf\r\n"),
    ] {
        let reply = whole(&server, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {reply}");
        assert!(reply.ends_with(end), "{path}: {reply}");
    }
    let body = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody";
    assert!(whole(&server, body).await.ends_with("\n\nbody"));
    let large = whole(&server, "GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(large.len() > MANY, "{}", large.len());
    let two = "GET /slow HTTP/1.1\r\nhost: a\r\n\r\nGET /fixed HTTP/1.1\r\nhost: a\r\n\r\n";
    let two = whole(&server, two).await;
    assert!(two.contains("late") && two.ends_with("fixed"), "{two}");
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let server = serve_with(
        &Settings::default(),
        everything()
            .into_iter()
            .chain([route(
                "/a/...",
                "answers",
                fun(|request| async move {
                    let path = request.uri().path().to_owned();
                    let status = path.rsplit('/').next().unwrap().parse::<u16>().unwrap();
                    let mut response = Response::new(ResponseBody::from("body"));
                    *response.status_mut() = status.try_into().unwrap();
                    let length = HeaderValue::from_static("4");
                    response.headers_mut().insert("content-length", length);
                    Ok(response)
                }),
            )])
            .collect(),
    );
    let mut client = server.connect().await;
    for (path, status, length) in [
        ("/a/204", 204, None),
        ("/a/205", 205, Some("0")),
        ("/a/304", 304, None),
        ("/empty", 204, None),
    ] {
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        let head = client.head().await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (status, length),
            "{path}"
        );
        // What follows is the next response.
        assert_eq!(client.get("/fixed").await.text(), "fixed", "{path}");
    }
    let mut client = http2(&server).await;
    for (path, status, length) in [
        ("http://a/a/204", 204, None),
        ("http://a/a/205", 205, None),
        ("http://a/a/304", 304, Some("4")),
        ("http://a/empty", 204, None),
    ] {
        let (code, headers, text) = ask(&mut client, "GET", path, &[]).await.unwrap();
        let told = headers
            .get("content-length")
            .map(|length| length.to_str().unwrap());
        assert_eq!((code, told, &*text), (status, length, ""), "{path}");
    }
}

#[tokio::test]
async fn head_has_no_body_over_http_2() {
    let server = all();
    let mut client = http2(&server).await;
    for path in ["http://a/fixed", "http://a/half", "http://a/x"] {
        let (status, headers, text) = ask(&mut client, "HEAD", path, &[]).await.unwrap();
        assert_eq!((status, &*text), (200, ""), "{path}");
        assert_eq!(
            headers.contains_key("content-length"),
            path != "http://a/half"
        );
    }
}

#[tokio::test]
async fn a_host_that_is_not_the_authority_is_400_over_http_2() {
    let server = all();
    let mut client = http2(&server).await;
    let differing = ask(&mut client, "GET", "http://a/", &[("host", "b")]).await;
    assert_eq!(differing.unwrap().0, 400);
    assert_eq!(server.count(|counters| &counters.refused_hosts), 1);
    let (status, ..) = ask(&mut client, "GET", "http://a/", &[]).await.unwrap();
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_body_that_is_not_its_length_is_cut_after_what_there_is() {
    let server = serve(answers());
    for (path, body) in [("/200/5/3", "xxx"), ("/200/2/3", "xx"), ("/200/3/3", "xxx")] {
        let mut client = server.connect().await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        assert_eq!(client.head().await.status, 200, "{path}");
        assert_eq!(client.take(body.len()).await, body.as_bytes(), "{path}");
        if path == "/200/5/3" {
            assert_eq!(client.rest().await, "");
        }
    }
    assert_eq!(server.count(|counters| &counters.cut_responses), 1);
    let mut client = http2(&server).await;
    for path in ["http://a/200/5/3", "http://a/200/2/3"] {
        ask(&mut client, "GET", path, &[]).await.unwrap_err();
    }
    let (status, _, text) = ask(&mut client, "GET", "http://a/200/3/3", &[])
        .await
        .unwrap();
    assert_eq!((status, &*text), (200, "xxx"));
    assert_eq!(server.count(|counters| &counters.cut_responses), 3);
}

#[tokio::test]
async fn every_answer_has_a_date() {
    let server = all();
    for path in ["/", "/fixed", "/.well-known/spin/health"] {
        assert!(server.get(path).await.header("date").is_some(), "{path}");
    }
}

#[tokio::test]
async fn an_empty_line_before_a_request_is_passed_over() {
    let server = all();
    let mut client = server.connect().await;
    client
        .send("\r\nGET /fixed HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.text(), "fixed");
}

#[tokio::test]
async fn what_is_expected_of_http_1_0_is_ignored() {
    let server = all();
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nab")
        .await;
    let reply = client.rest().await;
    assert!(reply.starts_with("HTTP/1.0 200 OK\r\n"), "{reply}");
}

/// Every test that the page names exists, and every test of this file is on the page.
#[test]
fn the_page_names_tests_that_exist() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(folder.join("../../../docs/http.md")).unwrap();
    let mut sources = String::new();
    for place in [
        "tests",
        "src",
        "src/route",
        "../../tests",
        "../../host/src/call",
        "../../host/src/call/p3",
    ] {
        for entry in std::fs::read_dir(folder.join(place)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    let rows = page.lines().filter(|line| line.starts_with("| 9"));
    let mut named = Vec::new();
    for row in rows {
        let last = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let tests: Vec<_> = last.split('`').skip(1).step_by(2).collect();
        assert!(
            !tests.is_empty() || last.contains("library"),
            "no test: {row}"
        );
        named.extend(tests);
    }
    assert!(named.len() > 30, "{}", named.len());
    for test in &named {
        assert!(sources.contains(&format!("fn {test}(")), "no test `{test}`");
    }
    let own = std::fs::read_to_string(folder.join("tests/rfc.rs")).unwrap();
    for test in own.split("#[tokio::test]\nasync fn ").skip(1) {
        let test = test.split('(').next().unwrap();
        assert!(named.contains(&test), "`{test}` is not on the page");
    }
}
