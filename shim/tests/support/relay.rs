//! Applications that send requests on, and a server that tells what it was asked.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::{Running, Skiff};

/// Guests that relay, of WASI 0.2 and 0.3.
pub(crate) const BOTH: [&str; 2] = ["relay", "p3-relay"];

/// A server that answers every request with its head and body, and remembers how many
/// connections it had.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Mutex<usize>>::default();
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *count.lock().unwrap() += 1;
                std::thread::spawn(move || answer(stream));
            }
        });
        Server {
            address,
            connections,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

fn answer(mut stream: TcpStream) -> Option<()> {
    loop {
        let mut asked = Vec::new();
        let mut piece = [0; 4096];
        // A request without a body ends with its head, one with a body in its last chunk.
        let is_whole = |asked: &[u8]| {
            let text = String::from_utf8_lossy(asked).into_owned();
            let (head, body) = text.split_once("\r\n\r\n")?;
            (!head.contains("chunked") || body.ends_with("0\r\n\r\n")).then_some(text)
        };
        let text = loop {
            if let Some(text) = is_whole(&asked) {
                break text;
            }
            match stream.read(&mut piece).ok()? {
                0 => return None,
                length => asked.extend(&piece[..length]),
            }
        };
        // It never answers a request for this path.
        if text.contains(" /never ") {
            std::thread::sleep(std::time::Duration::from_secs(600));
        }
        let length = text.len();
        let head = format!("HTTP/1.1 203 Fine\r\nx-of: server\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{text}").as_bytes()).ok()?;
    }
}

/// An application with a component `web` at `/`, another at `/headers`, and a private one.
pub(crate) fn app(guest: &str, hosts: &str) -> Skiff {
    Skiff::manifest(&format!(
        r#"spin_manifest_version = 2
[application]
name = "a"
[variables]
host = {{ default = "127.0.0.1" }}
[[trigger.http]]
route = "/..."
component = "web"
[[trigger.http]]
route = "/headers"
component = "headers"
[[trigger.http]]
route = {{ private = true }}
component = "hidden"
[component.web]
source = "{{guest:{guest}}}"
allowed_outbound_hosts = [{hosts}]
[component.headers]
source = "{{guest:headers}}"
[component.hidden]
source = "{{guest:relay}}"
allowed_outbound_hosts = ["http://headers.spin.internal", "http://web.spin.internal"]
"#
    ))
    .env("SKIFF_WORKERS", "1")
}

pub(crate) fn start(guest: &str, hosts: &str) -> Running {
    app(guest, hosts).start()
}
