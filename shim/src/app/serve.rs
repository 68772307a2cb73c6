//! Serving an application until it is asked to stop.

use std::time::Duration;

use skiff_engine::{Place, Tier};
use skiff_trigger::{DrainOutcome, Triggers};
use skiff_trigger_http::{Http, Router, RouterHandle, Server};

use super::handler::GuestHandler;
use super::load::App;
use super::stop::Stop;

/// How often to check whether optimised code has arrived. Compiling takes seconds, and a
/// check is one failed open.
const LOOK_FOR_CODE: Duration = Duration::from_millis(500);

/// An application that accepts requests as soon as it is given a listener.
pub struct Loaded {
    pub(super) tier: Tier,
    pub(super) router: Router<GuestHandler>,
    /// Room for its optimised code, once it exists.
    pub(super) later: Option<Place>,
}

impl Loaded {
    /// The triggers' routes and their handlers.
    pub fn routes(&self) -> Vec<(String, String)> {
        let routes = self.router.routes();
        routes
            .map(|(route, by)| (route.to_owned(), by.to_owned()))
            .collect()
    }
}

impl App {
    /// Accepts requests on a listener until it is asked to stop. Returns when all its
    /// work is done, or at the time limit; earlier only if it cannot serve, which it
    /// logs. `triggers` is its worker's set, to which it adds its own.
    pub async fn serve(&self, loaded: Loaded, server: Server, triggers: Triggers, stop: Stop) {
        let Loaded {
            tier,
            router,
            later,
        } = loaded;
        let routes = RouterHandle::new(router);
        self.inside.serves(&routes, server.local_addr());
        let swapping = async {
            if tier == Tier::Baseline {
                self.swap_when_optimized(&routes, later).await;
            }
            std::future::pending::<()>().await;
        };
        let mut asked = stop.clone();
        let shutdown = async move { asked.asked().await };
        let triggers = triggers.with(Http::new(server, routes.clone()));
        let outcome = tokio::select! {
            outcome = triggers.serve(stop.limit(), shutdown) => outcome,
            () = swapping => return,
        };
        match outcome {
            Ok(DrainOutcome::Finished) => {}
            Ok(DrainOutcome::Cut { left }) => {
                tracing::warn!(connections = left, limit = ?stop.limit(), "The drain limit has passed; connections were closed with requests on them");
                return;
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!(error = %format!("{error:#}"), "The application cannot continue");
                return;
            }
        }
        // One limit for both: for the connections, and for guests that work on after
        // them.
        let idle = tokio::time::timeout(stop.left(), self.guests.idle());
        if idle.await.is_err() {
            tracing::warn!(
                guests = self.guests.running(),
                limit = ?stop.limit(),
                "The drain limit has passed; running guests were ended"
            );
        }
    }

    /// Replaces baseline code with optimised code once that exists. Running requests
    /// finish on the code they started with.
    async fn swap_when_optimized(
        &self,
        routes: &RouterHandle<GuestHandler>,
        mut later: Option<Place>,
    ) {
        loop {
            tokio::time::sleep(LOOK_FOR_CODE).await;
            match self.optimized(&mut later) {
                Ok(None) => {}
                Ok(Some(router)) => {
                    routes.swap(router);
                    tracing::info!(
                        application = self.name(),
                        "Serving optimised code from now on"
                    );
                    return;
                }
                Err(error) => {
                    tracing::warn!(error = %format!("{error:#}"), "Optimised code cannot be used; baseline code stays in use");
                    return;
                }
            }
        }
    }
}
