//! The routes of an application, and what each of them leads to.

mod pattern;
mod router;
mod table;
mod target;

pub use pattern::PatternError;
pub use router::{AppInfo, Router, RouterHandle, WeakRouterHandle};
pub use target::{
    Route, RouteError, RouteErrors, RoutePath, StaticAnswer, StaticAnswerError, Target,
};

pub(crate) use router::check_route;
pub(crate) use target::{Callee, Destination, Matched, RouteHeaders};
