//! The HTTP trigger: takes requests from a socket and hands them to a [`Handler`].
//!
//! This crate knows listeners, routes, limits, status codes and drain. It cannot tell
//! what a handler does with a request, nor where an application came from.
//!
//! Start reading at [`Server`]; a connection's life is in `connection.rs`, a request's
//! way to its handler in `service.rs`.
//!
//! ```no_run
//! # use std::sync::Arc;
//! use skiff_trigger_http::*;
//!
//! struct Hello;
//!
//! impl Handler for Hello {
//!     async fn handle(&self, _: http::Request<RequestBody>) -> Result<http::Response<ResponseBody>, Failure> {
//!         Ok(http::Response::new("hello".into()))
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let route = Route {
//!     trigger: "http-trigger1".to_owned(),
//!     path: RoutePath::Public("/...".to_owned()),
//!     target: Target::Handler { component: "hello".to_owned(), handler: Arc::new(Hello) },
//! };
//! let info = AppInfo { name: "hello".to_owned(), version: None, oci_image_digest: None };
//! let router = Router::new(&info, vec![route])?;
//! let server = Server::bind("127.0.0.1:3000".parse()?, &Settings::default())?;
//! server.serve(router, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

mod access;
mod authority;
mod body;
mod chain;
mod clock;
mod connection;
mod counters;
mod failure;
mod handler;
mod headers;
mod io;
mod response;
mod route;
mod server;
mod service;
pub mod settings;
mod streams;
mod ticker;
mod watch;

pub use body::{BodyError, RequestBody};
pub use chain::ChainError;
pub use counters::Counters;
pub use failure::Failure;
pub use handler::Handler;
pub use response::ResponseBody;
pub use route::{
    AppInfo, PatternError, Route, RouteError, RouteErrors, RoutePath, Router, RouterHandle,
    StaticAnswer, StaticAnswerError, Target, check_route,
};
pub use server::{BindError, DrainOutcome, SPARE_CONNECTIONS, Server};
pub use settings::Settings;

/// Any error of a body or behind a failure.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
