//! HTTP as a trigger of an application.

use skiff_trigger::{BoxError, DrainOutcome, Run, Runs, Trigger};

use crate::route::{RouteError, RoutePath, RouterHandle, check_route};
use crate::{Handler, Server};

/// A bound listener and the routes it serves.
///
/// When it is asked to stop, it continues accepting for the shutdown delay and finishes
/// running requests. What it leaves unfinished at the end are connections that are closed
/// with a request on them.
///
/// It runs on the runtime that polls it, which should be a current-thread one with I/O and
/// time drivers; to use more cores, create several listeners on one port
/// ([`Server::another`]), one for each worker. It fails if the runtime cannot watch the
/// listener, and panics outside a tokio runtime, or in one without I/O or time.
#[derive(Debug)]
pub struct Http<H> {
    server: Server,
    routes: RouterHandle<H>,
}

impl<H> Http<H> {
    /// Serves `routes` on the listener of `server`.
    pub fn new(server: Server, routes: impl Into<RouterHandle<H>>) -> Self {
        Http {
            server,
            routes: routes.into(),
        }
    }
}

impl<H: Handler> Trigger for Http<H> {
    const TYPE: &'static str = "http";
    const RUNS: Runs = Runs::OncePerWorker;
    type Declared = RoutePath;
    type Mistake = RouteError;

    /// Checks a route, as [`Router::new`](crate::Router::new) does.
    fn prepare(id: &str, route: &RoutePath) -> Result<(), RouteError> {
        match route {
            RoutePath::Public(route) => check_route(id, route),
            RoutePath::Private => Ok(()),
        }
    }

    async fn serve(self, run: Run) -> Result<DrainOutcome, BoxError> {
        Ok(self.server.serve(self.routes, run).await?)
    }
}
