//! Statements, their results, and transactions.

use std::time::Instant;

use skiff_host::{SqlValue, StoreError};

use crate::server::{Does, Server};
use crate::{PATIENCE, connect, number, run};

#[tokio::test]
async fn values_of_all_types_go_there_and_back() {
    let server = Server::start().await;
    let connection = connect(&server.url());
    let connection = &*connection;
    let values = [
        SqlValue::Null,
        SqlValue::Integer(i64::MIN),
        SqlValue::Integer(i64::MAX),
        SqlValue::Real(-0.1),
        SqlValue::Real(1e300),
        SqlValue::Text("naïve \"text\"\u{0}\u{1f980}".to_owned()),
        SqlValue::Text(String::new()),
        SqlValue::Blob(vec![]),
        SqlValue::Blob((0..=255).collect()),
    ];
    for value in values {
        let parameters = [value.clone()];
        let found = run(connection, "SELECT ?1 AS v, typeof(?1)", &parameters);
        let found = found.await.unwrap();
        assert_eq!(found.columns, ["v", "typeof(?1)"]);
        assert_eq!(found.rows[0].values[0], value);
    }
    let nan = run(connection, "SELECT ?", &[SqlValue::Real(f64::NAN)]).await;
    assert_eq!(nan.unwrap().rows[0].values, [SqlValue::Null]);
    let infinite = run(connection, "SELECT ?", &[SqlValue::Real(f64::INFINITY)]).await;
    assert!(
        matches!(&infinite, Err(StoreError::Refused(why)) if why.contains("infinite")),
        "{infinite:?}"
    );
}

#[tokio::test]
async fn a_connection_knows_what_its_last_statement_has_done() {
    let server = Server::start().await;
    let connection = connect(&server.url());
    let connection = &*connection;
    assert_eq!(connection.last_insert_rowid().await, Ok(0));
    let made = run(
        connection,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
        &[],
    )
    .await;
    assert_eq!(made.unwrap().rows, []);
    run(connection, "INSERT INTO t VALUES (41, 'a'), (42, 'b')", &[])
        .await
        .unwrap();
    assert_eq!(connection.last_insert_rowid().await, Ok(42));
    assert_eq!(connection.changes().await, Ok(2));
    run(connection, "UPDATE t SET v = 'c'", &[]).await.unwrap();
    assert_eq!(connection.changes().await, Ok(2));
    let other = connect(&server.url());
    assert_eq!(number(&*other, "SELECT count(*) FROM t").await, 2);
    assert_eq!(other.last_insert_rowid().await, Ok(0));
    let mistake = run(connection, "SELECT * FROM missing", &[]).await;
    assert_eq!(
        mistake,
        Err(StoreError::Refused("no such table: missing".to_owned()))
    );
    assert_eq!(number(connection, "SELECT 7").await, 7);
}

#[tokio::test]
async fn a_transaction_is_of_one_connection_and_ends_with_it() {
    let server = Server::start().await;
    let (one, other) = (connect(&server.url()), connect(&server.url()));
    run(&*one, "CREATE TABLE t (v)", &[]).await.unwrap();
    run(&*one, "BEGIN", &[]).await.unwrap();
    run(&*one, "INSERT INTO t VALUES (1)", &[]).await.unwrap();
    assert_eq!(number(&*one, "SELECT count(*) FROM t").await, 1);
    assert_eq!(number(&*other, "SELECT count(*) FROM t").await, 0);
    run(&*one, "COMMIT", &[]).await.unwrap();
    assert_eq!(number(&*other, "SELECT count(*) FROM t").await, 1);
    run(&*one, "BEGIN", &[]).await.unwrap();
    run(&*one, "DELETE FROM t", &[]).await.unwrap();
    assert_eq!(server.streams(), 2);
    drop(one);
    // A lock would be in the way of it.
    let until = Instant::now() + PATIENCE;
    while let Err(error) = run(&*other, "INSERT INTO t VALUES (2)", &[]).await {
        assert!(Instant::now() < until, "{error}");
    }
    assert_eq!(number(&*other, "SELECT count(*) FROM t").await, 2);
    drop(other);
    while server.streams() > 0 {
        assert!(Instant::now() < until, "streams stay open");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stream_that_the_server_has_closed_is_told_in_a_transaction_alone() {
    let server = Server::start().await;
    let connection = connect(&server.url());
    let connection = &*connection;
    run(connection, "CREATE TABLE t (v)", &[]).await.unwrap();
    server.forget();
    run(connection, "INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    run(connection, "BEGIN", &[]).await.unwrap();
    server.forget();
    let failed = run(connection, "INSERT INTO t VALUES (2)", &[]).await;
    assert!(
        matches!(&failed, Err(StoreError::Failed(why)) if why.contains("its transaction is undone")),
        "{failed:?}"
    );
    assert_eq!(number(connection, "SELECT count(*) FROM t").await, 1);
}

#[tokio::test]
async fn a_call_that_is_given_up_in_a_transaction_is_told_to_the_next() {
    let server = Server::start().await;
    let connection = connect(&server.url());
    let connection = &*connection;
    run(connection, "BEGIN", &[]).await.unwrap();
    server.does(Does::Nothing);
    let asked = server.paths().len();
    tokio::select! {
        _ = run(connection, "SELECT 1", &[]) => panic!("it has answered"),
        () = async {
            while server.paths().len() == asked {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    server.does(Does::Works);
    let failed = run(connection, "SELECT 1", &[]).await;
    assert!(
        matches!(&failed, Err(StoreError::Failed(why)) if why.contains("the connection was lost")),
        "{failed:?}"
    );
    assert_eq!(number(connection, "SELECT 1").await, 1);
}

#[tokio::test]
async fn a_stream_goes_where_the_server_sends_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db");
    let (first, second) = (Server::of(&file).await, Server::of(&file).await);
    let connection = connect(&format!("{}/tenant", first.url()));
    let connection = &*connection;
    first.does(Does::Sends(format!("{}/sticky/", second.url())));
    assert_eq!(number(connection, "SELECT 1").await, 1);
    // The second server knows nothing of the stream, so a new one begins at the first.
    assert_eq!(number(connection, "SELECT 2").await, 2);
    assert_eq!(first.paths(), ["/tenant/v3/pipeline"; 2]);
    assert_eq!(second.paths(), ["/sticky/v3/pipeline"]);
}
