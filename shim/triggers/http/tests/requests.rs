//! What handlers get and what clients get.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use skiff_trigger::Triggers;
use skiff_trigger_http::{
    AppInfo, ChainError, Failure, Http, RequestBody, ResponseBody, Route, RoutePath, Router,
    Settings, StaticAnswer, Target,
};
use support::*;

#[tokio::test]
async fn a_guest_gets_the_request_and_what_is_known_of_it() {
    let server = serve_with(
        &Settings::default(),
        vec![route("/api/:User_Id/...", "main", mirror())],
    );
    let mut client = server.connect().await;
    let peer = client.stream.local_addr().unwrap();
    client.send("GET /api/7/a/b/?q=1 HTTP/1.1\r\nhost: example.com:80\r\nconnection: keep-alive\r\nx: y\r\n\r\n").await;
    let expected = format!(
        "GET http://example.com:80/api/7/a/b/?q=1\n\
         host: example.com:80\n\
         spin-base-path: /\n\
         spin-client-addr: {peer}\n\
         spin-component-route: /api/:User_Id\n\
         spin-full-url: http://example.com:80/api/7/a/b/?q=1\n\
         spin-matched-route: /api/:User_Id/...\n\
         spin-path-info: /a/b/\n\
         spin-path-match-user-id: 7\n\
         spin-raw-component-route: /api/:User_Id/...\n\
         x: y\n\n"
    );
    assert_eq!(client.reply().await.text(), expected);
}

#[tokio::test]
async fn many_headers_get_the_same_added_as_few() {
    let server = serve(mirror());
    let mut client = server.connect().await;
    let mut added = Vec::new();
    for count in [1, 40] {
        let own: String = (0..count).map(|n| format!("own-{n}: {n}\r\n")).collect();
        client
            .send(format!(
                "GET /p HTTP/1.1\r\nhost: a\r\n{own}cookie: 1\r\ncookie: 2\r\n\r\n"
            ))
            .await;
        let reply = client.reply().await;
        assert_eq!(
            reply
                .text()
                .lines()
                .filter(|line| line.starts_with("own-"))
                .count(),
            count
        );
        assert!(reply.text().contains("cookie: 1\ncookie: 2\n"));
        added.push(
            reply
                .text()
                .lines()
                .filter(|line| line.starts_with("spin-"))
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(added[0].len(), 7);
    assert_eq!(added[0], added[1]);
}

#[tokio::test]
async fn path_info_is_what_the_wildcard_took() {
    let server = serve_with(
        &Settings::default(),
        vec![
            route("/exact/", "exact", mirror()),
            route("deep/...", "deep", mirror()),
            route("/", "root", mirror()),
        ],
    );
    let cases = [
        ("/exact", "", "/exact", "/exact/"),
        ("/deep", "", "/deep/...", "deep/..."),
        ("/deep/", "/", "/deep/...", "deep/..."),
        ("/deep/a%20b", "/a%20b", "/deep/...", "deep/..."),
        ("/deep/a//b//", "/a//b/", "/deep/...", "deep/..."),
        ("/", "", "", "/"),
    ];
    for (path, info, matched, raw) in cases {
        let reply = server.get(path).await;
        let value = |name: &str| {
            let line = reply
                .text()
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap();
            line[name.len()..].trim_start_matches([':', ' ']).to_owned()
        };
        assert_eq!(value("spin-path-info"), info, "{path}");
        assert_eq!(value("spin-matched-route"), matched, "{path}");
        assert_eq!(value("spin-raw-component-route"), raw, "{path}");
    }
}

#[tokio::test]
async fn what_a_client_pretends_is_removed() {
    let server = serve(mirror());
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\nspin-client-addr: 1.2.3.4:5\r\nSpin-Path-Match-x: y\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!(reply.text().matches("spin-client-addr").count(), 1);
    assert!(
        !reply.text().contains("1.2.3.4") && !reply.text().contains("path-match"),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn the_servers_own_paths_need_no_route() {
    let server = serve(says("guest"));
    let mut client = server.connect().await;
    let health = client.get("/.well-known/spin/health").await;
    assert_eq!((health.status, health.text()), (200, "OK"));
    client
        .send("POST /.well-known/spin/health HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.text(), "OK");
    let info = client.get("/.well-known/spin/info").await;
    assert_eq!(
        info.text(),
        "{\n  \"name\": \"app\",\n  \"version\": \"1.2.3\"\n}"
    );
    assert_eq!(info.header("content-type"), Some("application/json"));
    let other = client.get("/.well-known/spin/other").await;
    assert_eq!((other.status, other.text()), (404, ""));
    assert_eq!(client.get("/.well-known/spin").await.text(), "guest");
}

#[tokio::test]
async fn no_route_is_404() {
    let server = serve_with(&Settings::default(), vec![route("/a", "a", says("a"))]);
    let reply = server.get("/b").await;
    assert_eq!((reply.status, reply.text()), (404, ""));
}

#[tokio::test]
async fn a_fixed_answer_is_given_as_configured() {
    let answer = StaticAnswer::new(
        418,
        [("X-Kind", "tea"), ("content-length", "99")],
        "short and stout",
    )
    .unwrap();
    let fixed = Route {
        trigger: "pot".to_owned(),
        path: RoutePath::Public("/tea".to_owned()),
        target: Target::Static(answer),
    };
    let server = serve_with(&Settings::default(), vec![fixed]);
    let mut client = server.connect().await;
    for _ in 0..2 {
        let reply = client.get("/tea").await;
        assert_eq!(
            (reply.status, reply.text(), reply.header("x-kind")),
            (418, "short and stout", Some("tea"))
        );
    }
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let server = serve(says("hello"));
    let mut client = server.connect().await;
    client
        .send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert_eq!(client.head().await.header("content-length"), Some("5"));
    assert_eq!(client.reply().await.text(), "hello");
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_order() {
    let server = serve(mirror());
    let mut client = server.connect().await;
    let requests: String = (0..20)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .collect();
    client.send(requests).await;
    for n in 0..20 {
        assert!(
            client
                .reply()
                .await
                .text()
                .starts_with(&format!("GET http://a/{n}\n"))
        );
    }
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let server = serve(fun(|_| async {
        let frames =
            futures::stream::iter(["a", "b"].map(|text| Ok(Frame::data(Bytes::from(text)))));
        Ok(Response::new(ResponseBody::new(StreamBody::new(frames))))
    }));
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    let reply = client.rest().await;
    assert!(
        reply.starts_with("HTTP/1.0 200 OK\r\n") && reply.ends_with("\r\n\r\nab"),
        "{reply}"
    );
}

#[tokio::test]
async fn an_upgrade_is_an_ordinary_request() {
    let server = serve(says("hello"));
    let mut client = server.connect().await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.text(), "hello");
    assert_eq!(client.get("/").await.text(), "hello");
}

#[tokio::test]
async fn a_failure_is_a_status_and_the_connection_lives() {
    let server = serve(fun(|request| async move {
        Err(match request.uri().path() {
            "/trap" => Failure::Trap("unreachable".into()),
            "/none" => Failure::NoResponse,
            "/late" => Failure::Deadline(Duration::from_secs(1)),
            _ => Failure::Busy {
                retry_after: Duration::from_secs(2),
            },
        })
    }));
    let mut client = server.connect().await;
    for (path, status, retry) in [
        ("/trap", 500, None),
        ("/none", 500, None),
        ("/late", 504, None),
        ("/busy", 503, Some("2")),
    ] {
        let reply = client.get(path).await;
        assert_eq!(
            (reply.status, reply.text(), reply.header("retry-after")),
            (status, "", retry),
            "{path}"
        );
    }
    assert_eq!(server.count(|counters| &counters.traps), 1);
}

#[tokio::test]
async fn a_response_that_cannot_be_sent_is_a_500() {
    let server = serve(fun(|request| async move {
        let mut response = Response::new(ResponseBody::from("four"));
        let path = request.uri().path().to_owned();
        match path.strip_prefix("/status/") {
            Some(status) => {
                *response.status_mut() = status.parse::<u16>().unwrap().try_into().unwrap()
            }
            None => {
                for length in path[1..].split('+') {
                    response
                        .headers_mut()
                        .append("content-length", length.parse().unwrap());
                }
            }
        }
        Ok(response)
    }));
    let mut client = server.connect().await;
    for path in ["/status/101", "/status/100", "/5", "/4+5", "/x", "/-4"] {
        let reply = client.get(path).await;
        assert_eq!((reply.status, reply.text()), (500, ""), "{path}");
    }
    for path in ["/4", "/4+4"] {
        assert_eq!(client.get(path).await.text(), "four", "{path}");
    }
}

#[tokio::test]
async fn components_reach_each_other_and_private_ones() {
    let hidden = Route {
        path: RoutePath::Private,
        ..route("", "hidden", mirror())
    };
    let router = router(vec![route("/front", "front", says("front")), hidden]);
    let request = |uri: &str| {
        http::Request::builder()
            .uri(uri)
            .header("host", "hidden.spin.internal")
            .header("spin-client-addr", "1.2.3.4:5")
            .body(RequestBody::empty())
            .unwrap()
    };
    let response = router
        .chain("hidden", request("http://hidden.spin.internal/a/b?c"))
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let expected = "GET http://hidden.spin.internal/a/b?c\n\
        spin-base-path: /\n\
        spin-client-addr: 0.0.0.0:0\n\
        spin-component-route: \n\
        spin-full-url: http://localhost/a/b?c\n\
        spin-matched-route: /...\n\
        spin-path-info: /a/b\n\
        spin-raw-component-route: /...\n\n";
    assert_eq!(std::str::from_utf8(&body).unwrap(), expected);

    let unknown = router
        .chain("nobody", request("http://nobody.spin.internal/"))
        .await
        .unwrap_err();
    assert!(matches!(unknown, ChainError::Unknown { component } if component == "nobody"));
    let relative = router.chain("front", request("/a")).await.unwrap_err();
    assert_eq!(relative.to_string(), "`/a` is not an absolute URI");
}

#[tokio::test]
async fn a_later_trigger_takes_over_a_route() {
    let routes = vec![
        route("/a", "old", says("old")),
        route("/:x", "other", says("other")),
        route("/a", "new", says("new")),
    ];
    let router = router(routes);
    assert_eq!(
        router.routes().collect::<Vec<_>>(),
        [("/a", "new"), ("/:x", "other")]
    );
}

#[test]
fn all_routes_that_are_wrong_are_told_at_once() {
    let info = AppInfo {
        name: "app".to_owned(),
        version: None,
        oci_image_digest: None,
    };
    let routes = vec![
        route("/*a", "a", says("")),
        route("/ok", "b", says("")),
        route("/x/:", "c", says("")),
    ];
    let errors = Router::new(&info, routes).err().unwrap();
    assert_eq!(
        errors.to_string(),
        "trigger `trigger-a`: route `/*a`: `*a`: a wildcard has no name; write `...` or `*`\n\
         trigger `trigger-c`: route `/x/:`: a `:` must be followed by a name"
    );
}

#[test]
fn an_answer_that_is_none_is_refused() {
    let error = |status, name, value| {
        StaticAnswer::new(status, [(name, value)], "")
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(100, "a", "b"),
        "100 is not a status that ends a request; use 200 to 599"
    );
    assert_eq!(
        error(200, "a b", "b"),
        "`a b` cannot be the name of a header"
    );
    assert_eq!(
        error(200, "a", "b\n"),
        "the value of the header `a` has bytes that are not allowed in a header"
    );
}

/// A handler that adds the `spin-*` headers itself.
struct Lazy;

impl skiff_trigger_http::Handler for Lazy {
    const ADDS_SPIN_HEADERS: bool = true;

    async fn handle(&self, mut request: http::Request<RequestBody>) -> Answer {
        let before = request.headers().len();
        RequestBody::add_spin_headers(&mut request)?;
        RequestBody::add_spin_headers(&mut request)?;
        let info = request.headers()["spin-path-info"].to_str().unwrap();
        let text = format!(
            "{before} {} {info} {}",
            request.headers().len(),
            request.body().peer()
        );
        Ok(Response::new(text.into()))
    }
}

#[tokio::test]
async fn a_handler_may_add_the_headers_itself() {
    let route = Route {
        trigger: "t".to_owned(),
        path: RoutePath::Public("/...".to_owned()),
        target: Target::Handler {
            component: "lazy".to_owned(),
            handler: Arc::new(Lazy),
        },
    };
    let info = AppInfo {
        name: "app".to_owned(),
        version: None,
        oci_image_digest: None,
    };
    let router = Router::new(&info, vec![route]).unwrap();
    let server = bind(&Settings::default());
    let address = server.local_addr();
    let triggers = Triggers::of_worker(0).with(Http::new(server, router));
    let server = tokio::spawn(triggers.serve(SOON, std::future::pending()));
    let mut client = Raw::connect(address).await;
    let peer = client.stream.local_addr().unwrap();
    assert_eq!(client.get("/x").await.text(), format!("1 8 /x {peer}"));
    server.abort();
}
