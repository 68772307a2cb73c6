//! A stand-in: it speaks Hrana of version 3 over HTTP as documented, with SQLite behind it.
//! No registry has a real server.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rusqlite::types::{Value as Sql, ValueRef};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What it lets clients in with.
pub(crate) const TOKEN: &str = "s3cret";

/// What it does with a request.
#[derive(Clone)]
pub(crate) enum Does {
    /// What is documented.
    Works,
    /// The same, and sends the stream to another URL.
    Sends(String),
    /// Always answers with this status and body.
    Answers(u16, Bytes),
    /// Never answers.
    Nothing,
}

/// It ends with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
    _folder: Option<tempfile::TempDir>,
}

struct Shared {
    file: std::path::PathBuf,
    state: Mutex<State>,
}

struct State {
    does: Does,
    /// By their batons.
    streams: HashMap<String, rusqlite::Connection>,
    batons: usize,
    paths: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Server {
    /// With a database of its own.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self::of(&folder.path().join("db")).await;
        server._folder = Some(folder);
        server
    }

    /// With a database that others may have as well.
    pub(crate) async fn of(file: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            file: file.to_owned(),
            state: Mutex::new(State {
                does: Does::Works,
                streams: HashMap::new(),
                batons: 0,
                paths: Vec::new(),
            }),
        });
        let serves = Arc::clone(&shared);
        let listening = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serves = Arc::clone(&serves);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&serves), request));
                    let connection = http1::Builder::new();
                    // A client may leave.
                    let _ = connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Server {
            address,
            shared,
            listening,
            _folder: None,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn does(&self, does: Does) {
        self.shared.state.lock().unwrap().does = does;
    }

    /// How many streams are open.
    pub(crate) fn streams(&self) -> usize {
        self.shared.state.lock().unwrap().streams.len()
    }

    /// The paths of all requests so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().paths.clone()
    }

    /// Closes all streams, as it would do when it had not heard of them for a while.
    pub(crate) fn forget(&self) {
        self.shared.state.lock().unwrap().streams.clear();
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let does = {
        let mut state = shared.state.lock().unwrap();
        state.paths.push(head.uri.path().to_owned());
        state.does.clone()
    };
    let (status, body) = match does {
        Does::Nothing => std::future::pending().await,
        Does::Answers(status, body) => (status, body),
        Does::Works | Does::Sends(_) => {
            let body = body.collect().await.unwrap().to_bytes();
            let elsewhere = match does {
                Does::Sends(url) => Some(url),
                _ => None,
            };
            let token = head.headers.get("authorization");
            if token.is_none_or(|token| token != &format!("Bearer {TOKEN}")) {
                (401, Bytes::from_static(b"{\"message\":\"no\"}"))
            } else if head.method != "POST" || !head.uri.path().ends_with("/v3/pipeline") {
                (404, Bytes::new())
            } else {
                let asked: Value = serde_json::from_slice(&body).unwrap();
                let (status, answer) = shared.pipeline(&asked, elsewhere);
                (status, Bytes::from(answer.to_string()))
            }
        }
    };
    let response = Response::builder()
        .status(status)
        .header("location", "/elsewhere")
        .body(Full::new(body));
    Ok(response.unwrap())
}

impl Shared {
    fn pipeline(&self, asked: &Value, elsewhere: Option<String>) -> (u16, Value) {
        let mut state = self.state.lock().unwrap();
        let connection = match asked["baton"].as_str() {
            None => {
                let connection = rusqlite::Connection::open(&self.file).unwrap();
                // Whoever has a lock is served by the same thread.
                connection.busy_timeout(Duration::ZERO).unwrap();
                Some(connection)
            }
            Some(baton) => state.streams.remove(baton),
        };
        let Some(connection) = connection else {
            let error = json!({"message": "the stream has expired", "code": "STREAM_EXPIRED"});
            return (400, error);
        };
        let mut open = true;
        let requests = asked["requests"].as_array().unwrap().iter();
        let results = requests.map(|request| {
            let response = match request["type"].as_str().unwrap() {
                "execute" => match execute(&connection, &request["stmt"]) {
                    Ok(result) => json!({"type": "execute", "result": result}),
                    Err(error) => {
                        let error = json!({"message": error, "code": "SQLITE_ERROR"});
                        return json!({"type": "error", "error": error});
                    }
                },
                "get_autocommit" => {
                    json!({"type": "get_autocommit", "is_autocommit": connection.is_autocommit()})
                }
                "close" => {
                    open = false;
                    json!({"type": "close"})
                }
                other => panic!("{other} is not documented"),
            };
            json!({"type": "ok", "response": response})
        });
        let results: Vec<Value> = results.collect();
        let baton = open.then(|| {
            state.batons += 1;
            format!("baton {}", state.batons)
        });
        if let Some(baton) = &baton {
            state.streams.insert(baton.clone(), connection);
        }
        let answer = json!({"baton": baton, "base_url": elsewhere, "results": results});
        (200, answer)
    }
}

fn execute(connection: &rusqlite::Connection, asked: &Value) -> Result<Value, String> {
    let told = |error: rusqlite::Error| error.to_string();
    let sql = asked["sql"].as_str().unwrap();
    let mut statement = connection.prepare(sql).map_err(told)?;
    let columns = statement.column_names();
    let columns: Vec<Value> = columns
        .map(|name| json!({"name": name, "decltype": null}))
        .collect();
    let parameters = asked["args"].as_array().unwrap().iter().map(parameter);
    let reads = statement.readonly();
    let mut found = statement
        .query(rusqlite::params_from_iter(parameters))
        .map_err(told)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(told)? {
        let values = (0..columns.len()).map(|index| value(row.get_ref(index).unwrap()));
        rows.push(values.collect::<Value>());
    }
    let changes = if reads { 0 } else { connection.changes() };
    Ok(json!({
        "cols": columns,
        "rows": rows,
        "affected_row_count": changes,
        "last_insert_rowid": connection.last_insert_rowid().to_string(),
        "replication_index": null,
    }))
}

fn parameter(value: &Value) -> Sql {
    match value["type"].as_str().unwrap() {
        "null" => Sql::Null,
        "integer" => Sql::Integer(value["value"].as_str().unwrap().parse().unwrap()),
        "float" => Sql::Real(value["value"].as_f64().unwrap()),
        "text" => Sql::Text(value["value"].as_str().unwrap().to_owned()),
        "blob" => {
            let text = value["base64"].as_str().unwrap().trim_end_matches('=');
            Sql::Blob(STANDARD_NO_PAD.decode(text).unwrap())
        }
        other => panic!("{other} is not documented"),
    }
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => json!({"type": "null"}),
        ValueRef::Integer(number) => json!({"type": "integer", "value": number.to_string()}),
        ValueRef::Real(number) => json!({"type": "float", "value": number}),
        ValueRef::Text(text) => json!({"type": "text", "value": str::from_utf8(text).unwrap()}),
        ValueRef::Blob(bytes) => json!({"type": "blob", "base64": STANDARD_NO_PAD.encode(bytes)}),
    }
}
