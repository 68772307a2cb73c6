//! Servers that are down, slow or lying.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use skiff_host::{Database as _, MOST_RESULT, StoreError};

use crate::server::{Does, Server, TOKEN};
use crate::{PATIENCE, database, run};

/// The error of a statement at a URL, which names the server and has no token.
async fn failure(url: &str, token: &str, wait: Duration) -> String {
    let database = database(url, token, wait);
    let connection = database.connect();
    let failed = run(&*connection, "SELECT 1", &[]).await;
    let Err(StoreError::Failed(why)) = failed else {
        panic!("{failed:?}");
    };
    assert!(
        why.starts_with(&format!("database `orders` at `{url}`: ")),
        "{why}"
    );
    for shown in [&why, &format!("{database:?}")] {
        assert!(!shown.contains(token), "{shown}");
    }
    why
}

#[tokio::test]
async fn each_lie_is_an_error_that_says_which() {
    let server = Server::start().await;
    let ok = |result: &str, autocommit: &str| {
        format!(
            r#"{{"baton":"b","base_url":null,"results":[{{"type":"ok","response":{{"type":"execute","result":{result}}}}},{{"type":"ok","response":{{"type":"get_autocommit","is_autocommit":{autocommit}}}}}]}}"#
        )
    };
    let empty = r#"{"cols":[],"rows":[],"affected_row_count":0,"last_insert_rowid":null}"#;
    for (status, body, expected) in [
        (
            200,
            "<html>s3cret".to_owned(),
            "not what the protocol says, at line 1",
        ),
        (
            200,
            r#"{"baton":5,"results":[]}"#.to_owned(),
            "not what the protocol says",
        ),
        (
            200,
            ok(r#"{"cols":[],"rows":"s3cret"}"#, "true"),
            "not what the protocol says",
        ),
        (
            200,
            ok(
                r#"{"cols":[],"rows":[[{"type":"text","value":5}]]}"#,
                "true",
            ),
            "not what the protocol says",
        ),
        (
            200,
            r#"{"baton":null,"base_url":null,"results":[]}"#.to_owned(),
            "as many results",
        ),
        (200, ok("null", "true"), "no result of the statement"),
        (200, ok(empty, "null"), "whether a transaction is open"),
        (
            200,
            ok(empty, "true").replace(r#""base_url":null"#, r#""base_url":"ftp://x""#),
            "`base_url` must be a URL",
        ),
        (401, String::new(), "access is denied (status 401)"),
        (302, String::new(), "it answered with status 302"),
        (404, String::new(), "it answered with status 404"),
        (500, "s3cret".to_owned(), "it answered with status 500"),
    ] {
        server.does(Does::Answers(status, Bytes::from(body.clone())));
        let why = failure(&server.url(), TOKEN, PATIENCE).await;
        assert!(why.contains(expected), "{body}: {why}");
    }
    assert!(!server.paths().contains(&"/elsewhere".to_owned()));
    server.does(Does::Works);
    let why = failure(&server.url(), "another", PATIENCE).await;
    assert!(why.contains("access is denied (status 401)"), "{why}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    let server = Server::start().await;
    let body = Bytes::from(vec![b' '; MOST_RESULT + 1]);
    server.does(Does::Answers(200, body));
    let why = failure(&server.url(), TOKEN, PATIENCE).await;
    assert!(why.contains("more than 134217728 bytes"), "{why}");
}

#[tokio::test]
async fn a_server_that_is_down_or_slow_fails_the_call_in_time() {
    let server = Server::start().await;
    server.does(Does::Nothing);
    let (url, began) = (server.url(), Instant::now());
    let wait = Duration::from_millis(300);
    for why in join_all((0..10).map(|_| failure(&url, TOKEN, wait))).await {
        assert!(why.contains("has not answered in 300ms"), "{why}");
    }
    assert!(began.elapsed() < PATIENCE / 3);
    let nobody = "http://127.0.0.1:1";
    let why = failure(nobody, TOKEN, PATIENCE).await;
    assert!(why.contains("refused"), "{why}");
    // TLS with a server that has none.
    let secure = url.replace("http:", "https:");
    let why = failure(&secure, TOKEN, PATIENCE).await;
    assert!(why.contains("no TLS"), "{why}");
}
