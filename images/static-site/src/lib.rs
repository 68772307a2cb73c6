//! Serves the files below `/public`, which the manifest mounts, under any route.

mod path;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{OutputStream, StreamError};

/// Where the manifest mounts the site.
const ROOT: &str = "/public";

/// The size of one read: large enough to make calls rare, small enough for many requests
/// at once.
const PIECE: usize = 64 * 1024;

/// The head of an answer, and the file that follows it.
struct Page {
    status: u16,
    headers: Vec<(&'static str, String)>,
    file: Option<File>,
}

struct Site;
wasip2::http::proxy::export!(Site with_types_in wasip2);

impl Guest for Site {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let page = match request.method() {
            Method::Get | Method::Head => find(&requested(&request)),
            _ => Page::bare(405, vec![("allow", "GET, HEAD".to_owned())]),
        };
        send(page, matches!(request.method(), Method::Head), out);
    }
}

impl Page {
    fn bare(status: u16, headers: Vec<(&'static str, String)>) -> Page {
        Page {
            status,
            headers,
            file: None,
        }
    }

    /// `None` if there is no file of that name; a folder is not a file.
    fn open(path: &Path, status: u16) -> Option<Page> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(absent) if absent.kind() == ErrorKind::NotFound => return None,
            Err(failed) => {
                eprintln!("cannot open {}: {failed}", path.display());
                return Some(Page::bare(500, Vec::new()));
            }
        };
        let metadata = file.metadata().ok().filter(|found| found.is_file())?;
        let headers = vec![
            ("content-type", path::content_type(path).to_owned()),
            ("content-length", metadata.len().to_string()),
            // Browsers may cache a page but have to revalidate it.
            ("cache-control", "no-cache".to_owned()),
        ];
        Some(Page {
            status,
            headers,
            file: Some(file),
        })
    }
}

/// The part of the path after the route, so that a site can be below a prefix.
fn requested(request: &IncomingRequest) -> String {
    let matched = request.headers().get("spin-path-info").into_iter().next();
    match matched.map(String::from_utf8) {
        Some(Ok(path)) => path,
        // Hosts other than Spin's may not add this header.
        _ => request.path_with_query().unwrap_or_default(),
    }
}

/// The page for a path: the file, the folder's index, or the 404 page.
fn find(sent: &str) -> Page {
    let Some(inside) = path::decode(sent) else {
        return Page::bare(400, Vec::new());
    };
    let wanted = Path::new(ROOT).join(inside);
    Page::open(&wanted, 200)
        .or_else(|| Page::open(&wanted.join("index.html"), 200))
        .or_else(|| Page::open(&Path::new(ROOT).join("404.html"), 404))
        .unwrap_or_else(|| Page::bare(404, Vec::new()))
}

fn send(page: Page, head_only: bool, out: ResponseOutparam) {
    let headers = Fields::new();
    // A length without a matching body would be an error, so an answer to HEAD has none.
    let said = |name: &str| !(head_only && name == "content-length");
    for (name, value) in page.headers.iter().filter(|(name, _)| said(name)) {
        headers
            .append(name, value.as_bytes())
            .expect("only names and values of our own");
    }
    let response = OutgoingResponse::new(headers);
    response
        .set_status_code(page.status)
        .expect("only codes of our own");
    let body = response.body().expect("a new response has its body");
    ResponseOutparam::set(out, Ok(response));
    if let Some(file) = page.file.filter(|_| !head_only) {
        let stream = body.write().expect("a new body has its stream");
        if let Err(failed) = copy(file, &stream) {
            // The length was already sent: an unfinished body shows the client the
            // failure.
            eprintln!("the answer was cut: {failed}");
            return;
        }
    }
    OutgoingBody::finish(body, None).expect("the promised length was written");
}

/// Writes as much at a time as the host accepts, so that a slow client costs one piece of
/// memory.
fn copy(mut file: File, stream: &OutputStream) -> Result<(), String> {
    let mut piece = vec![0; PIECE];
    let ready = stream.subscribe();
    let told = |failed: StreamError| failed.to_string();
    loop {
        let read = file.read(&mut piece).map_err(|failed| failed.to_string())?;
        if read == 0 {
            return stream.blocking_flush().map_err(told);
        }
        let mut rest = &piece[..read];
        while !rest.is_empty() {
            ready.block();
            let room = stream.check_write().map_err(told)?;
            let (now, later) = rest.split_at(rest.len().min(room as usize));
            stream.write(now).map_err(told)?;
            rest = later;
        }
    }
}
