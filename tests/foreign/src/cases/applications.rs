//! Applications with variables, state and requests to others, run by `skiff run` alone:
//! whatever the SDK, the same is asked and the same is answered.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use libtest_mimic::{Failed, Trial};

use super::compare;
use crate::build::empty;
use crate::serve::{Answer, Request, Server};
use crate::toolchains::{APPLICATIONS, Guest};
use crate::workshop::{FileError, Workshop};

/// The store holds nothing at first, two keys in between, and nothing in the end.
const KEY_VALUE: &str =
    "before: false\nget: one\0grüße\nkeys: a,b\nexists: true false\nunlisted: true\n";

/// A row with a value of each type, and two mistakes.
const SQLITE: &str = "i,r,t,b,n\n\
     integer -9223372036854775808; real 1.5; text grüße; blob [0, 255]; null\n\
     wrong: true\nunlisted: true\n";

/// A variable that is made of another one, a secret, and one that is not the component's.
const VARIABLES: &str = "hello world\nhush\nunlisted: true\n";

/// An application that runs, and two servers beside it.
struct Running {
    skiff: Server,
    granted: Target,
    denied: Target,
}

type Shared = Arc<OnceLock<Result<Running, String>>>;

pub(super) fn trials(workshop: &Arc<Workshop>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (guest, cases) in APPLICATIONS {
        let running = Shared::default();
        for case in cases {
            let (workshop, running) = (workshop.clone(), running.clone());
            let name = format!("{}::app_{case}", guest.name);
            trials.push(Trial::test(name, move || {
                let running = running.get_or_init(|| start(&workshop, guest));
                ask(running.as_ref().map_err(Failed::from)?, case)
            }));
        }
    }
    trials
}

fn ask(running: &Running, case: &str) -> Result<(), Failed> {
    let text = match case {
        "key-value" => KEY_VALUE,
        "sqlite" => SQLITE,
        "variables" => VARIABLES,
        "fetch" => return fetch(running),
        _ => return denied(running),
    };
    let answer = running.skiff.ask(&Request::get(format!("/{case}")))?;
    compare(
        &(answer.status, told(&answer)),
        None,
        Some(&(200, text.to_owned())),
        "",
    )
}

/// A request with a header and a body gets there, and its answer back.
fn fetch(running: &Running) -> Result<(), Failed> {
    let path = format!("/fetch?http://{}/a?b", running.granted.address);
    let answer = running.skiff.ask(&post(path))?;
    let right = (203, "POST /a?b toolchain\nping".to_owned());
    compare(&(answer.status, told(&answer)), None, Some(&right), "")?;
    let of = ("x-of".to_owned(), "server".to_owned());
    if !answer.headers.contains(&of) {
        return Err(format!("no header of the server: {answer:?}").into());
    }
    Ok(())
}

/// A request to where the component may not send one does not even connect.
fn denied(running: &Running) -> Result<(), Failed> {
    let path = format!("/fetch?http://{}/a", running.denied.address);
    let answer = running.skiff.ask(&post(path))?;
    let connections = running.denied.connections.load(Ordering::SeqCst);
    compare(
        &(answer.status, connections),
        None,
        Some(&(502, 0)),
        &told(&answer),
    )
}

fn post(path: String) -> Request {
    Request {
        body: Some(b"ping".to_vec()),
        ..Request::get(path)
    }
}

fn told(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

fn start(workshop: &Workshop, guest: Guest) -> Result<Running, String> {
    let file = workshop.guest(guest)?;
    let (granted, denied) = (Target::start()?, Target::start()?);
    let folder = workshop.work(&format!("application-{}", guest.name));
    let manifest = format!(
        r#"spin_manifest_version = 2
[application]
name = "application"
[variables]
who = {{ default = "nobody" }}
token = {{ required = true, secret = true }}
[[trigger.http]]
route = "/..."
component = "app"
[component.app]
source = {file:?}
key_value_stores = ["default"]
sqlite_databases = ["default"]
allowed_outbound_hosts = ["http://{}"]
[component.app.variables]
greeting = "hello {{{{ who }}}}"
token = "{{{{ token }}}}"
"#,
        granted.address
    );
    let written = empty(&folder).and_then(|()| {
        let path = folder.join("spin.toml");
        fs::write(&path, manifest).map_err(FileError::at(&path))
    });
    written.map_err(|failed| crate::process::chain(&failed))?;
    let skiff = Server::application(workshop, &folder, &["who=world", "token=hush"])?;
    Ok(Running {
        skiff,
        granted,
        denied,
    })
}

/// A server that answers with the first line, a header and the body of each request.
struct Target {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Target {
    fn start() -> Result<Target, String> {
        let told = |failed: std::io::Error| format!("no server: {failed}");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(told)?;
        let address = listener.local_addr().map_err(told)?;
        let connections = Arc::<AtomicUsize>::default();
        let count = connections.clone();
        // It ends with this program.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || answer(stream));
            }
        });
        Ok(Target {
            address,
            connections,
        })
    }
}

/// Answers the requests of a connection, until the other side closes it.
fn answer(mut stream: TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let (head, body) = loop {
            if let Some(request) = whole(&bytes) {
                break request;
            }
            match stream.read(&mut piece).ok()? {
                0 => return None,
                length => bytes.extend(&piece[..length]),
            }
        };
        bytes.clear();
        let mut first = head.split(' ');
        let (method, path) = (first.next()?, first.next()?);
        let own = header(&head, "x-own").unwrap_or_default();
        let text = format!("{method} {path} {own}\n{body}");
        let length = text.len();
        let answer =
            format!("HTTP/1.1 203 Fine\r\nx-of: server\r\ncontent-length: {length}\r\n\r\n{text}");
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

/// Head and body of a request, if all of it is there. Its body is text in one length, or in
/// one chunk.
fn whole(bytes: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let body = match header(head, "content-length") {
        Some(length) => rest.get(..length.parse().ok()?)?.to_owned(),
        None if header(head, "transfer-encoding").is_some() => {
            let chunks = rest.strip_suffix("0\r\n\r\n")?;
            let (_, body) = chunks.split_once("\r\n")?;
            body.trim_end_matches("\r\n").to_owned()
        }
        None => String::new(),
    };
    Some((head.to_owned(), body))
}

fn header(head: &str, wanted: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    found.map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_with_its_body() {
        let counted = "POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nping";
        let chunked =
            "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4\r\nping\r\n0\r\n\r\n";
        for text in [counted, chunked] {
            let (_, body) = whole(text.as_bytes()).expect("it is whole");
            assert_eq!(body, "ping");
            assert!(whole(&text.as_bytes()[..text.len() - 1]).is_none());
        }
    }
}
