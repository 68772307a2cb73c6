//! An application that uses state and sends requests, with the SDK's simple requests, which
//! are the same from release 2 to 5: see README.md.

use std::error::Error;

use spin_sdk::http::{Method, Request, Response};
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::{Connection, Value};
use spin_sdk::{http_component, variables};

#[http_component]
async fn answer(request: Request) -> Response {
    let told = |done: Result<String, Box<dyn Error>>| match done {
        Ok(text) => Response::new(200, text),
        Err(error) => Response::new(500, format!("{error:?}\n")),
    };
    match request.path_and_query().unwrap_or_default() {
        "/key-value" => told(key_value()),
        "/sqlite" => told(sqlite()),
        "/variables" => told(read_variables()),
        path if path.starts_with("/fetch?") => {
            let url = path["/fetch?".len()..].to_owned();
            fetch(url, request.into_body()).await
        }
        _ => Response::new(404, "no such path\n"),
    }
}

fn key_value() -> Result<String, Box<dyn Error>> {
    let store = Store::open_default()?;
    let mut text = format!("before: {}\n", store.get("a")?.is_some());
    store.set("a", "one\0grüße".as_bytes())?;
    store.set("b", b"")?;
    let got = store.get("a")?.unwrap_or_default();
    text += &format!("get: {}\n", String::from_utf8(got)?);
    let mut keys = store.get_keys()?;
    keys.sort();
    text += &format!("keys: {}\nexists: {}", keys.join(","), store.exists("b")?);
    for key in ["a", "b", "b"] {
        store.delete(key)?;
    }
    text += &format!(" {}\n", store.exists("b")?);
    text += &format!("unlisted: {}\n", Store::open("other").is_err());
    Ok(text)
}

fn sqlite() -> Result<String, Box<dyn Error>> {
    let database = Connection::open_default()?;
    database.execute("DROP TABLE IF EXISTS t", &[])?;
    database.execute("CREATE TABLE t (i, r, t, b, n)", &[])?;
    let values = [
        Value::Integer(i64::MIN),
        Value::Real(1.5),
        Value::Text("grüße".into()),
        Value::Blob(vec![0, 255]),
        Value::Null,
    ];
    database.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", &values)?;
    let result = database.execute("SELECT * FROM t WHERE r > ?", &[Value::Integer(1)])?;
    let mut text = format!("{}\n", result.columns.join(","));
    for row in &result.rows {
        let shown = row.values.iter().map(|value| match value {
            Value::Integer(number) => format!("integer {number}"),
            Value::Real(number) => format!("real {number}"),
            Value::Text(text) => format!("text {text}"),
            Value::Blob(bytes) => format!("blob {bytes:?}"),
            Value::Null => "null".to_owned(),
        });
        text += &format!("{}\n", shown.collect::<Vec<_>>().join("; "));
    }
    let wrong = database.execute("SELECT * FROM nothing", &[]);
    text += &format!("wrong: {}\n", wrong.is_err());
    text += &format!("unlisted: {}\n", Connection::open("other").is_err());
    Ok(text)
}

fn read_variables() -> Result<String, Box<dyn Error>> {
    let (greeting, token) = (variables::get("greeting")?, variables::get("token")?);
    let unlisted = variables::get("who").is_err();
    Ok(format!("{greeting}\n{token}\nunlisted: {unlisted}\n"))
}

async fn fetch(url: String, body: Vec<u8>) -> Response {
    let request = Request::builder()
        .method(Method::Post)
        .uri(url)
        .header("x-own", "toolchain")
        .body(body)
        .build();
    match spin_sdk::http::send::<_, Response>(request).await {
        Ok(answer) => {
            let of = answer.header("x-of").and_then(|value| value.as_str());
            Response::builder()
                .status(*answer.status())
                .header("x-of", of.unwrap_or_default().to_owned())
                .body(answer.into_body())
                .build()
        }
        Err(error) => Response::new(502, format!("{error:?}\n")),
    }
}
