//! Servers, with the same requests of the same client.

use std::sync::{Arc, OnceLock};

use libtest_mimic::{Failed, Trial};

use super::{compare, inputs};
use crate::serve::{Answer, Request, Server};
use crate::toolchains::{Guest, SERVERS};
use crate::workshop::Workshop;

/// Guests that only Spin and Skiff serve unchanged: `wasmtime serve` requires a
/// component, and supports neither release candidates nor Spin's interfaces.
const WITHOUT_REFERENCE: [&str; 8] = [
    "spin-go-2",
    "spin-2",
    "spin-3",
    "python-2023-10-18",
    "python-2023-11-10",
    "python-spin-3",
    "python-spin-4",
    "python-spin-5",
];

/// A request, and the expected answer.
struct Case {
    name: &'static str,
    request: Request,
    right: Option<Right>,
}

/// A complete answer.
struct Right {
    status: u16,
    /// None if an SDK adds its own headers.
    headers: Option<Vec<(String, String)>>,
    body: Vec<u8>,
}

/// Both servers of one guest, started for the first case that needs them and ended after
/// the last.
type Pair = Arc<OnceLock<Result<(Server, Option<Server>), String>>>;

pub(super) fn trials(workshop: &Arc<Workshop>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for guest in SERVERS {
        let pair = Pair::default();
        for case in cases(guest) {
            let (workshop, pair) = (workshop.clone(), pair.clone());
            trials.push(Trial::test(
                format!("{}::{}", guest.name, case.name),
                move || ask(&workshop, guest, &pair, &case),
            ));
        }
    }
    trials
}

fn ask(workshop: &Workshop, guest: Guest, pair: &Pair, case: &Case) -> Result<(), Failed> {
    let started = pair.get_or_init(|| start(workshop, guest));
    let (skiff, wasmtime) = started.as_ref().map_err(Failed::from)?;
    let wasmtime = wasmtime.as_ref().map(|server| server.ask(&case.request));
    let wasmtime = wasmtime.transpose()?;
    let skiff = skiff.ask(&case.request)?;
    let right = case.right.as_ref().map(|right| Answer {
        status: right.status,
        headers: right.headers.as_ref().unwrap_or(&skiff.headers).clone(),
        body: right.body.clone(),
        whole: true,
    });
    compare(&skiff, wasmtime.as_ref(), right.as_ref(), "")
}

fn start(workshop: &Workshop, guest: Guest) -> Result<(Server, Option<Server>), String> {
    let file = workshop.guest(guest)?;
    let wasmtime = if WITHOUT_REFERENCE.contains(&guest.name) {
        None
    } else {
        Some(Server::wasmtime(workshop, &file)?)
    };
    Ok((Server::skiff(workshop, &file)?, wasmtime))
}

fn cases(guest: Guest) -> Vec<Case> {
    let bytes = inputs::bytes();
    let mut cases = vec![
        case("hello", Request::get("/hello")).answers(
            200,
            &[("content-type", "text/plain"), ("x-made-by", "toolchain")],
            b"Hello from a toolchain\n",
        ),
        case(
            "echo",
            Request {
                body: Some(bytes.clone()),
                ..Request::get("/echo")
            },
        )
        .answers(200, &[("content-type", "application/octet-stream")], &bytes),
        case(
            "headers",
            Request {
                headers: vec![("X-B", "two words"), ("x-a", "1"), ("accept", "*/*")],
                ..Request::get("/headers")
            },
        )
        .has(b"x-a: 1\nx-b: two words\n"),
        case("large", Request::get("/large")).has(&inputs::large()),
        case("empty", Request::get("/empty")).answers(204, &[], b""),
        case("no_such_path", Request::get("/nowhere")),
    ];
    match guest.name {
        "javascript-http" => cases.extend([
            // Frozen when the component was built, so both programs return the same time.
            case("time_of_the_build", Request::get("/made-at")),
            // Ends as if it were complete: the host does not learn that the guest's
            // stream failed.
            case("broken_stream_looks_whole", Request::get("/broken-stream"))
                .has(b"the first half\n"),
        ]),
        "spin-go-2" => cases.push(case("no_such_variable", Request::get("/variable")).answers(
            500,
            &[],
            b"no variable for \"colour\"",
        )),
        name if name.starts_with("python") => cases.extend([
            case("hash_seed_of_the_build", Request::get("/hash-seed")),
            case("own_generator_of_the_build", Request::get("/own-generator")),
            case("late_import_fails", Request::get("/late-import")),
        ]),
        _ => (),
    }
    cases
}

fn case(name: &'static str, request: Request) -> Case {
    Case {
        name,
        request,
        right: None,
    }
}

impl Case {
    fn answers(mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) -> Case {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        self.right = Some(Right {
            status,
            headers: Some(headers.iter().map(owned).collect()),
            body: body.to_vec(),
        });
        self
    }

    fn has(mut self, body: &[u8]) -> Case {
        self.right = Some(Right {
            status: 200,
            headers: None,
            body: body.to_vec(),
        });
        self
    }
}
