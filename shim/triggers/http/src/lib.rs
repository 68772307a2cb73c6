//! The HTTP trigger: takes requests from a socket and hands them to a [`Handler`].
//!
//! This crate knows listeners, routes, limits, status codes and drain, but neither what a
//! handler does with a request nor where an application came from.
//!
//! Start reading at [`Http`] and [`Server`]; a connection's life is in `connection.rs`, a request's
//! way to its handler in `service.rs`.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use std::time::Duration;
//! use skiff_trigger::Triggers;
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
//! let triggers = Triggers::of_worker(0).with(Http::new(server, router));
//! let outcome = triggers.serve(Duration::from_secs(25), std::future::pending()).await?;
//! # let _ = outcome;
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
mod trigger;
mod watch;
mod well_known;

pub use body::{BodyError, RequestBody};
pub use chain::ChainError;
pub use counters::Counters;
pub use failure::Failure;
pub use handler::Handler;
pub use response::ResponseBody;
pub use route::{
    AppInfo, PatternError, Route, RouteError, RouteErrors, RoutePath, Router, RouterHandle,
    StaticAnswer, StaticAnswerError, Target, WeakRouterHandle,
};
pub use server::{BindError, SPARE_CONNECTIONS, Server};
pub use settings::Settings;
pub use trigger::Http;

/// Any error of a body, or the cause of a failure.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
