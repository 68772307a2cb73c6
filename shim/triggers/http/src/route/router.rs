//! The routes of one application, and the cell in which they can be replaced.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use serde::Serialize;

use super::pattern::{Pattern, normalise};
use super::table::Table;
use super::target::{
    Callee, Destination, Matched, Route, RouteError, RouteErrors, RouteHeaders, RoutePath, Target,
};
use crate::chain::{self, ChainError};
use crate::well_known::WELL_KNOWN;
use crate::{Handler, RequestBody, ResponseBody};

/// The content of `/.well-known/spin/info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppInfo {
    /// The application's name.
    pub name: String,
    /// Its version, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The digest of its image, if it came from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oci_image_digest: Option<String>,
}

/// The routes of one application. Everything a request needs of them is prepared here.
#[derive(Debug)]
pub struct Router<H> {
    table: Table<Matched<H>>,
    components: BTreeMap<Arc<str>, Arc<Callee<H>>>,
    chained: Arc<RouteHeaders>,
    info: Bytes,
    listing: Vec<(String, String)>,
}

impl<H> Router<H> {
    /// Creates a router from an application's triggers, in the order of declaration.
    ///
    /// If a route is declared twice (with the same characters), the later trigger gets it,
    /// at the position of the earlier one; routes under `/.well-known/spin/` are never
    /// reached. Both are logged as errors and do not stop the application.
    ///
    /// # Errors
    /// All routes that do not parse, not only the first.
    pub fn new(info: &AppInfo, routes: Vec<Route<H>>) -> Result<Self, RouteErrors> {
        let mut components = BTreeMap::new();
        let mut declared: Vec<(String, String, Destination<H>)> = Vec::new();
        for Route {
            trigger,
            path,
            target,
        } in routes
        {
            let destination = match target {
                Target::Static(answer) => Destination::Static(answer),
                Target::Handler { component, handler } => {
                    let component: Arc<str> = component.into();
                    let callee = Arc::new(Callee {
                        component: component.clone(),
                        handler,
                    });
                    components
                        .entry(component)
                        .or_insert_with(|| callee.clone());
                    Destination::Handler(callee)
                }
            };
            let RoutePath::Public(raw) = path else {
                continue;
            };
            if normalise(&raw).starts_with(WELL_KNOWN) {
                tracing::error!(
                    trigger,
                    route = raw,
                    "this route is the server's own and never reaches the trigger"
                );
                continue;
            }
            match declared.iter_mut().find(|(_, other, _)| *other == raw) {
                Some(earlier) => {
                    tracing::error!(
                        route = raw,
                        replaced = earlier.0,
                        by = trigger,
                        "two triggers have the same route"
                    );
                    *earlier = (trigger, raw, destination);
                }
                None => declared.push((trigger, raw, destination)),
            }
        }
        let (mut entries, mut listing, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        // Chained requests get the route that matches everything.
        let (_, chained) =
            headers(String::new(), "/...").map_err(|error| RouteErrors(vec![error]))?;
        for (trigger, raw, destination) in declared {
            let target = match &destination {
                Destination::Handler(callee) => callee.component.to_string(),
                Destination::Static(_) => trigger.clone(),
            };
            match headers(trigger, &raw) {
                Ok((pattern, headers)) => entries.push((
                    pattern,
                    Matched {
                        destination,
                        headers,
                    },
                )),
                Err(error) => errors.push(error),
            }
            listing.push((raw, target));
        }
        if !errors.is_empty() {
            return Err(RouteErrors(errors));
        }
        // A struct of strings can always be serialised.
        let info = serde_json::to_vec_pretty(info).unwrap_or_default().into();
        Ok(Router {
            table: Table::new(entries),
            components,
            chained,
            info,
            listing,
        })
    }

    /// Public routes as declared, each with the id of its component (for fixed answers, of
    /// its trigger).
    pub fn routes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.listing
            .iter()
            .map(|(route, target)| (&**route, &**target))
    }

    pub(crate) fn find(&self, path: &str) -> Option<&Matched<H>> {
        self.table.find(path)
    }

    /// The content of `/.well-known/spin/info`.
    pub(crate) fn info(&self) -> &Bytes {
        &self.info
    }
}

impl<H: Handler> Router<H> {
    /// Whether an HTTP trigger runs this component.
    pub fn runs(&self, component: &str) -> bool {
        self.components.contains_key(component)
    }

    /// Calls a component of the application from within, as service chaining does. Private
    /// components can be called like public ones.
    ///
    /// The handler gets the request as if it had matched `/...`, with the peer `0.0.0.0:0`;
    /// its URI has to be absolute.
    ///
    /// # Errors
    /// [`ChainError::Unknown`] if no trigger runs the component, else the handler's error.
    pub async fn chain(
        &self,
        component: &str,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, ChainError> {
        let callee = self
            .components
            .get(component)
            .ok_or_else(|| ChainError::Unknown {
                component: component.to_owned(),
            })?;
        let request = chain::prepare(request, &self.chained, H::ADDS_SPIN_HEADERS)?;
        Ok(callee.handler.handle(request).await?)
    }
}

/// Checks a route, without its handler.
///
/// # Errors
/// What is wrong with it, as [`Router::new`] would report it.
pub(crate) fn check_route(trigger: &str, route: &str) -> Result<(), RouteError> {
    headers(trigger.to_owned(), route).map(drop)
}

fn headers(trigger: String, raw: &str) -> Result<(Pattern, Arc<RouteHeaders>), RouteError> {
    let route = raw.to_owned();
    let pattern = match Pattern::parse(raw) {
        Ok(pattern) => pattern,
        Err(source) => {
            return Err(RouteError::Pattern {
                trigger,
                route,
                source,
            });
        }
    };
    match RouteHeaders::new(raw, &pattern) {
        Some(headers) => Ok((pattern, Arc::new(headers))),
        None => Err(RouteError::Characters { trigger, route }),
    }
}

/// Where a server finds its routes. Clones share one cell, so that an owner can replace the
/// routes of a running server: running requests keep the old routes, later ones get the new
/// ones, and none waits.
#[derive(Debug)]
pub struct RouterHandle<H> {
    cell: Arc<ArcSwap<Router<H>>>,
}

impl<H> RouterHandle<H> {
    /// A cell with its initial routes.
    pub fn new(router: Router<H>) -> Self {
        RouterHandle {
            cell: Arc::new(ArcSwap::from_pointee(router)),
        }
    }

    /// Replaces the routes. The old ones are dropped when the last request that uses them
    /// has ended.
    pub fn swap(&self, router: Router<H>) {
        self.cell.store(Arc::new(router));
    }

    /// The current routes.
    pub fn current(&self) -> Arc<Router<H>> {
        self.cell.load_full()
    }

    /// A reference that keeps no routes: for what is reached by the routes itself.
    pub fn downgrade(&self) -> WeakRouterHandle<H> {
        WeakRouterHandle {
            cell: Arc::downgrade(&self.cell),
        }
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Router<H>>> {
        self.cell.load()
    }
}

/// Refers to a [`RouterHandle`] as long as there is one.
#[derive(Debug)]
pub struct WeakRouterHandle<H> {
    cell: Weak<ArcSwap<Router<H>>>,
}

impl<H> WeakRouterHandle<H> {
    /// The current routes; `None` if nothing serves them any more.
    pub fn current(&self) -> Option<Arc<Router<H>>> {
        Some(self.cell.upgrade()?.load_full())
    }
}

impl<H> Clone for RouterHandle<H> {
    fn clone(&self) -> Self {
        RouterHandle {
            cell: self.cell.clone(),
        }
    }
}

impl<H> From<Router<H>> for RouterHandle<H> {
    fn from(router: Router<H>) -> Self {
        RouterHandle::new(router)
    }
}
