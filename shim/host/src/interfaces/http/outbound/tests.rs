use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex};

use http_body_util::{BodyExt as _, Empty};

use super::super::Mark;
use super::*;

/// Remembers what it was asked to send.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn note(&self, what: String) -> HttpAnswer {
        self.0.lock().unwrap().push(what);
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Box::pin(std::future::ready(Ok(http::Response::new(body))))
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl HttpClient for Recorder {
    fn send(&self, call: HttpCall) -> HttpAnswer {
        let HttpCall {
            host,
            port,
            request,
            timeouts,
            ..
        } = &call;
        assert!(!request.headers().contains_key(HOST));
        let times = (
            timeouts.connect,
            timeouts.first_byte,
            timeouts.between_bytes,
        );
        assert!(times.0 <= PATIENCE && times.1 <= PATIENCE && times.2 <= PATIENCE);
        self.note(format!("{host} {port} {}", request.uri()))
    }
}

impl Neighbours for Recorder {
    fn has(&self, component: &str) -> bool {
        component == "cart"
    }

    fn call(&self, component: &str, request: http::Request<HttpBody>) -> HttpAnswer {
        let depth: &Depth = request.extensions().get().unwrap();
        self.note(format!("{component} {depth:?}"))
    }

    fn own_address(&self) -> Option<SocketAddr> {
        Some("[::]:3000".parse().unwrap())
    }

    fn mark(&self) -> &Mark {
        static MARK: LazyLock<Mark> = LazyLock::new(|| Mark::new().unwrap());
        &MARK
    }
}

const PATIENCE: Duration = Duration::from_secs(600);

fn granted(entries: &[&str]) -> (Outbound, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let hosts = entries
        .iter()
        .map(|entry| AllowedHost::parse(entry).unwrap());
    let ways = Ways {
        client: recorder.clone(),
        neighbours: Some(recorder.clone()),
        patience: PATIENCE,
    };
    (Outbound::new(&"front".into(), hosts, ways), recorder)
}

fn send(outbound: &Outbound, depth: u32, uri: &str) -> Result<(), HttpError> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = http::Request::builder()
        .uri(uri)
        .header(HOST, "x")
        .body(body);
    let mut origin = Origin::default();
    origin.depth = Depth(depth);
    let options = RequestOptions {
        connect_timeout: Some(Duration::MAX),
        ..RequestOptions::default()
    };
    outbound
        .send(&origin, request.unwrap(), Some(options))
        .map(drop)
}

#[test]
fn a_request_goes_where_an_entry_allows_it() {
    let (outbound, sent) = granted(&[
        "https://*.example.com",
        "http://127.0.0.0/8:80..82",
        "http://orders:8080",
    ]);
    for (uri, expected) in [
        (
            "https://a.example.com/x?y",
            "a.example.com 443 https://a.example.com/x?y",
        ),
        (
            "https://A.EXAMPLE.com/",
            "a.example.com 443 https://A.EXAMPLE.com/",
        ),
        ("http://127.0.0.1/", "127.0.0.1 80 http://127.0.0.1/"),
        ("http://127.1:81/", "127.0.0.1 81 http://127.1:81/"),
        ("http://orders:8080/", "orders 8080 http://orders:8080/"),
    ] {
        send(&outbound, 0, uri).unwrap();
        assert_eq!(sent.taken(), [expected], "{uri}");
    }
    for uri in [
        "http://a.example.com/",
        "https://example.com/",
        "https://a.example.com:8443/",
        "http://127.0.0.1:82/",
        "http://orders/",
        "https://self.alt/",
    ] {
        let denied = send(&outbound, 0, uri);
        assert!(matches!(denied, Err(HttpError::HttpRequestDenied)), "{uri}");
        assert!(sent.taken().is_empty());
    }
}

/// Only what is connected to counts, however it is written.
#[test]
fn the_host_of_a_url_is_found_behind_what_looks_like_one() {
    let (outbound, sent) = granted(&[
        "http://good.test",
        "http://10.0.0.0/8",
        "HTTP://evil.test:80",
    ]);
    send(&outbound, 0, "http://evil.test:1@good.test/").unwrap();
    assert_eq!(sent.taken().len(), 1);
    send(&outbound, 0, "HTTP://GOOD.test/").unwrap();
    assert_eq!(sent.taken().len(), 1);
    send(&outbound, 0, "http://0x0a000001/").unwrap();
    assert_eq!(sent.taken().len(), 1);
    for uri in [
        "http://good.test@evil.test/",
        "http://good.test:80@evil.test/",
        "http://evil.test/@good.test",
        "http://evil.test/?http://good.test",
        "http://good.test.evil.test/",
        "http://evilgood.test/",
        "http://0x7f000001/",
        // No network of IPv4 has it.
        "http://[::ffff:10.0.0.1]/",
        // An entry whose scheme is not in lower case allows nothing.
        "http://evil.test/",
    ] {
        let denied = send(&outbound, 0, uri);
        assert!(matches!(denied, Err(HttpError::HttpRequestDenied)), "{uri}");
    }
    assert!(sent.taken().is_empty());
}

#[test]
fn what_is_no_url_of_http_is_told_so() {
    let (outbound, sent) = granted(&["*://*:*"]);
    for uri in ["/", "ftp://a/", "http://a:99999/", "http://a:/"] {
        let Ok(_) = uri.parse::<Uri>() else { continue };
        let wrong = send(&outbound, 0, uri);
        assert!(
            matches!(wrong, Err(HttpError::HttpRequestUriInvalid)),
            "{uri}"
        );
    }
    assert!(sent.taken().is_empty());
}

#[test]
fn a_neighbour_is_called_in_the_process_and_a_loop_ends() {
    let (outbound, sent) = granted(&["http://*.spin.internal"]);
    send(&outbound, 0, "http://cart.spin.internal/a").unwrap();
    assert_eq!(sent.taken(), ["cart Depth(1)"]);
    send(&outbound, DEEPEST - 1, "http://cart.spin.internal/a").unwrap();
    assert_eq!(sent.taken(), ["cart Depth(16)"]);
    let looped = send(&outbound, DEEPEST, "http://cart.spin.internal/a");
    assert!(matches!(looped, Err(HttpError::LoopDetected)));
    let missing = |scheme, authority| outbound.missing_neighbour(&scheme, authority);
    assert_eq!(
        missing(Scheme::HTTP, "nobody.spin.internal"),
        Some("nobody")
    );
    assert_eq!(missing(Scheme::HTTP, "cart.spin.internal"), None);
    // Not allowed, so that it is denied and does not trap.
    assert_eq!(missing(Scheme::HTTPS, "nobody.spin.internal"), None);
    assert_eq!(missing(Scheme::HTTP, "nobody.spin.internal:81"), None);
}

#[test]
fn oneself_is_reached_where_one_listens() {
    let (outbound, sent) = granted(&["http://self"]);
    send(&outbound, 0, "https://self.alt/a?b").unwrap();
    assert_eq!(sent.taken(), ["[::1] 3000 http://[::1]:3000/a?b"]);
    send(&outbound, 0, "http://:80/a").unwrap();
    assert_eq!(sent.taken(), ["[::1] 3000 http://[::1]:3000/a"]);
    let looped = send(&outbound, DEEPEST, "http://self.alt/a");
    assert!(matches!(looped, Err(HttpError::LoopDetected)));
    assert!(sent.taken().is_empty());
    // Any host includes oneself.
    let (outbound, sent) = granted(&["https://*"]);
    send(&outbound, 0, "http://self.alt/").unwrap();
    assert_eq!(sent.taken().len(), 1);
}

#[test]
fn the_entry_that_is_missing_is_short() {
    let shown = |tls, host: &str, port| {
        let host = Host::parse(host).unwrap();
        Shown { tls, host, port }.to_string()
    };
    assert_eq!(shown(true, "example.com", 443), "https://example.com");
    assert_eq!(shown(false, "[::1]", 8080), "http://[::1]:8080");
}
