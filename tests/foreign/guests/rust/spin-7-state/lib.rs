//! An application that uses state and sends requests, with spin-sdk 7 on WASI 0.3: see
//! README.md.

use std::error::Error;

use bytes::Bytes;
use http::response::Builder;
use http_body_util::BodyExt as _;
use spin_sdk::http::{FullBody, IntoResponse, Request};
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::{Connection, Value};
use spin_sdk::{http_service, variables};

#[http_service]
async fn answer(request: Request) -> impl IntoResponse {
    let path = request.uri().path().to_owned();
    let builder = http::Response::builder();
    let (builder, body) = match path.as_str() {
        "/key-value" => told(builder, key_value().await),
        "/sqlite" => told(builder, sqlite().await),
        "/variables" => told(builder, read_variables().await),
        "/fetch" => match fetch(request).await {
            Ok(answer) => answer,
            Err(error) => (builder.status(502), format!("{error:?}\n").into()),
        },
        _ => (builder.status(404), Bytes::from("no such path\n")),
    };
    builder.body(FullBody::new(body)).expect("a valid answer")
}

fn told(builder: Builder, done: Result<String, Box<dyn Error>>) -> (Builder, Bytes) {
    match done {
        Ok(text) => (builder, text.into()),
        Err(error) => (builder.status(500), format!("{error:?}\n").into()),
    }
}

async fn key_value() -> Result<String, Box<dyn Error>> {
    let store = Store::open_default().await?;
    let mut text = format!("before: {}\n", store.get("a").await?.is_some());
    store.set("a", "one\0grüße").await?;
    store.set("b", b"").await?;
    let got = store.get("a").await?.unwrap_or_default();
    text += &format!("get: {}\n", String::from_utf8(got)?);
    let mut keys = store.get_keys().await.collect().await?;
    keys.sort();
    let exists = store.exists("b").await?;
    text += &format!("keys: {}\nexists: {exists}", keys.join(","));
    for key in ["a", "b", "b"] {
        store.delete(key).await?;
    }
    text += &format!(" {}\n", store.exists("b").await?);
    text += &format!("unlisted: {}\n", Store::open("other").await.is_err());
    Ok(text)
}

async fn sqlite() -> Result<String, Box<dyn Error>> {
    let database = Connection::open_default().await?;
    let values = [
        Value::Integer(i64::MIN),
        Value::Real(1.5),
        Value::Text("grüße".into()),
        Value::Blob(vec![0, 255]),
        Value::Null,
    ];
    for (statement, values) in [
        ("DROP TABLE IF EXISTS t", Vec::new()),
        ("CREATE TABLE t (i, r, t, b, n)", Vec::new()),
        ("INSERT INTO t VALUES (?, ?, ?, ?, ?)", values.into()),
    ] {
        database.execute(statement, values).await?.result().await?;
    }
    let query = "SELECT * FROM t WHERE r > ?";
    let result = database.execute(query, [Value::Integer(1)]).await?;
    let mut text = format!("{}\n", result.columns().join(","));
    for row in result.collect().await? {
        let shown = row.values.iter().map(|value| match value {
            Value::Integer(number) => format!("integer {number}"),
            Value::Real(number) => format!("real {number}"),
            Value::Text(text) => format!("text {text}"),
            Value::Blob(bytes) => format!("blob {bytes:?}"),
            Value::Null => "null".to_owned(),
        });
        text += &format!("{}\n", shown.collect::<Vec<_>>().join("; "));
    }
    let wrong = match database.execute("SELECT * FROM nothing", []).await {
        Ok(result) => result.result().await.is_err(),
        Err(_) => true,
    };
    let unlisted = Connection::open("other").await.is_err();
    Ok(format!("{text}wrong: {wrong}\nunlisted: {unlisted}\n"))
}

async fn read_variables() -> Result<String, Box<dyn Error>> {
    let greeting = variables::get("greeting").await?;
    let token = variables::get("token").await?;
    let unlisted = variables::get("who").await.is_err();
    Ok(format!("{greeting}\n{token}\nunlisted: {unlisted}\n"))
}

async fn fetch(request: Request) -> Result<(Builder, Bytes), Box<dyn Error>> {
    let url = request.uri().query().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let request = http::Request::post(url)
        .header("x-own", "toolchain")
        .body(FullBody::new(body))?;
    let answer = spin_sdk::http::send(request).await?;
    let mut builder = http::Response::builder().status(answer.status());
    if let Some(of) = answer.headers().get("x-of") {
        builder = builder.header("x-of", of);
    }
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((builder, body))
}
