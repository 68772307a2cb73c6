//! A guestbook: its words come from variables, its entries are in a volume of the pod.

mod book;

use spin_sdk::http::body::IncomingBodyExt;
use spin_sdk::http::{Method, Request, StatusCode};
use spin_sdk::{http_service, variables};

/// The largest entry, in bytes.
const LARGEST_ENTRY: usize = 4096;

type Answer = (StatusCode, String);

#[http_service]
async fn guestbook(request: Request) -> Answer {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/") => page().await,
        (&Method::POST, "/") => sign(request).await,
        (&Method::DELETE, "/") => clear(&request).await,
        (&Method::GET, "/report") => match book::report() {
            Ok(report) => (StatusCode::OK, report),
            Err(failed) => missing(StatusCode::NOT_FOUND, &failed),
        },
        (_, "/" | "/report") => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        _ => (StatusCode::NOT_FOUND, String::new()),
    }
}

/// The greeting and the entries. Without entries the book is empty.
async fn page() -> Answer {
    match variables::get("greeting").await {
        Ok(greeting) => (
            StatusCode::OK,
            format!("{greeting}\n{}", book::entries().unwrap_or_default()),
        ),
        Err(failed) => missing(StatusCode::INTERNAL_SERVER_ERROR, &failed),
    }
}

async fn sign(request: Request) -> Answer {
    let Ok(body) = request.into_body().bytes().await else {
        return (StatusCode::BAD_REQUEST, String::new());
    };
    if body.len() > LARGEST_ENTRY {
        return (StatusCode::PAYLOAD_TOO_LARGE, String::new());
    }
    match book::add(&String::from_utf8_lossy(&body)) {
        Ok(()) => (StatusCode::CREATED, String::new()),
        Err(failed) => missing(StatusCode::SERVICE_UNAVAILABLE, &failed),
    }
}

/// Empties the book, if the secret is right.
async fn clear(request: &Request) -> Answer {
    let token = match variables::get("admin_token").await {
        Ok(token) => token,
        Err(failed) => return missing(StatusCode::INTERNAL_SERVER_ERROR, &failed),
    };
    let said = request.headers().get("authorization");
    if said.is_none_or(|said| said.as_bytes() != format!("Bearer {token}").as_bytes()) {
        return (StatusCode::UNAUTHORIZED, String::new());
    }
    match book::clear() {
        Ok(()) => (StatusCode::NO_CONTENT, String::new()),
        Err(failed) => missing(StatusCode::SERVICE_UNAVAILABLE, &failed),
    }
}

fn missing(status: StatusCode, failed: &impl std::fmt::Display) -> Answer {
    (status, format!("{failed}\n"))
}
