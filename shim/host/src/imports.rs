//! What components import and export: what is offered, what is only known by
//! name, and what a component is by its exports.

use std::sync::Arc;

use skiff_engine::{Limits, Runner, Shares};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::http::{P2, P3, Terms};
use crate::state::State;
use crate::{Command, Grants, Guest, HttpGuest, Reuse, files, variables};

/// Interfaces of the contract that this version does not offer yet. Components
/// that import them are told so, instead of that nobody knows the name.
const NOT_YET: &[&str] = &[
    "fermyon:spin/http",
    "fermyon:spin/http-types",
    "fermyon:spin/key-value",
    "fermyon:spin/llm",
    "fermyon:spin/mqtt",
    "fermyon:spin/mysql",
    "fermyon:spin/postgres",
    "fermyon:spin/rdbms-types",
    "fermyon:spin/redis",
    "fermyon:spin/redis-types",
    "fermyon:spin/sqlite",
    "spin:key-value/key-value",
    "spin:mqtt/mqtt",
    "spin:mysql/mysql",
    "spin:postgres/postgres",
    "spin:redis/redis",
    "spin:sqlite/sqlite",
    "wasi:keyvalue/atomics",
    "wasi:keyvalue/batch",
    "wasi:keyvalue/store",
    "wasi:otel/logs",
    "wasi:otel/metrics",
    "wasi:otel/tracing",
    "wasi:otel/types",
];

/// What a component is, by its exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComponentKind {
    /// `wasi:http/incoming-handler@0.2.x`.
    HttpP2,
    /// `wasi:http/handler@0.3.x`.
    HttpP3,
    /// `wasi:cli/run@0.2.x`.
    CommandP2,
    /// `wasi:cli/run@0.3.x`.
    CommandP3,
}

/// Exports that do not tell how to call a component.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImportError {
    /// None of the handlers that the contract knows.
    #[error(
        "it exports no handler: wasi:http/incoming-handler@0.2, wasi:http/handler@0.3 or wasi:cli/run is expected, it exports {}",
        list(.exports)
    )]
    NoHandler {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// More than one.
    #[error("it exports several handlers ({}); exactly one is expected", list(.handlers))]
    SeveralHandlers {
        /// Which.
        handlers: Vec<String>,
    },
    /// A handler of the contract that this version cannot call.
    #[error("it exports `{export}`, which this version of Skiff does not offer yet")]
    NotYet {
        /// Which.
        export: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Tells how to call a component with these exports.
///
/// # Errors
/// Where none, or more than one way fits.
pub fn kind<'a>(exports: impl Iterator<Item = &'a str>) -> Result<ComponentKind, ImportError> {
    let exports: Vec<&str> = exports.collect();
    let mut found = Vec::new();
    let mut not_yet = None;
    for &export in &exports {
        let kind = match split(export) {
            // Release candidates match only themselves, and are not offered.
            (_, version) if version.contains("-rc") || version.contains("-draft") => {
                not_yet = Some(export);
                continue;
            }
            ("wasi:http/incoming-handler", version) if version.starts_with("0.2.") => {
                ComponentKind::HttpP2
            }
            ("wasi:http/handler", version) if version.starts_with("0.3.") => ComponentKind::HttpP3,
            ("wasi:cli/run", version) if version.starts_with("0.2.") => ComponentKind::CommandP2,
            ("wasi:cli/run", version) if version.starts_with("0.3.") => ComponentKind::CommandP3,
            (
                "fermyon:spin/inbound-http"
                | "fermyon:spin/inbound-redis"
                | "spin:redis/inbound-redis",
                _,
            ) => {
                not_yet = Some(export);
                continue;
            }
            _ => continue,
        };
        found.push((kind, export));
    }
    match (found.as_slice(), not_yet) {
        ([(kind, _)], _) => Ok(*kind),
        ([], Some(export)) => Err(ImportError::NotYet {
            export: export.to_owned(),
        }),
        ([], None) => Err(ImportError::NoHandler {
            exports: exports.iter().map(ToString::to_string).collect(),
        }),
        (several, _) => Err(ImportError::SeveralHandlers {
            handlers: several.iter().map(|(_, e)| e.to_string()).collect(),
        }),
    }
}

/// `name@version` apart; the version is empty where there is none.
fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// Whether a component with these imports and exports needs an engine that can
/// call concurrently, that is, whether it speaks WASI 0.3.
pub fn needs_concurrency<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    names.any(|name| {
        let (name, version) = split(name);
        let asynchronous = matches!(
            name,
            "spin:key-value/key-value"
                | "spin:mqtt/mqtt"
                | "spin:mysql/mysql"
                | "spin:redis/inbound-redis"
                | "spin:redis/redis"
                | "spin:variables/variables"
        );
        version.starts_with("0.3.") && name.starts_with("wasi:") || asynchronous
    })
}

/// Why a component cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Imports that nothing satisfies, all of them.
    #[error("component `{component}` imports {}", describe(.missing))]
    Imports {
        /// The component's id.
        component: String,
        /// The imports, and whether Skiff knows them by name.
        missing: Vec<(String, bool)>,
    },
    /// An import of a known interface whose type or function does not fit.
    #[error("component `{component}` cannot be linked: {reason}")]
    Link {
        /// The component's id.
        component: String,
        /// What wasmtime said.
        reason: String,
    },
    /// Exports that do not tell how to call it.
    #[error("component `{component}` cannot be called: {source}")]
    Exports {
        /// The component's id.
        component: String,
        /// Why.
        source: ImportError,
    },
    /// A component of the wrong kind for its trigger.
    #[error("component `{component}` exports {actual:?}, its trigger needs {expected}")]
    Kind {
        /// The component's id.
        component: String,
        /// What it is.
        actual: ComponentKind,
        /// What was needed.
        expected: &'static str,
    },
    /// The host's own interfaces clash, which is a mistake of ours.
    #[error("the host's interfaces cannot be set up: {0}")]
    Host(String),
}

fn describe(missing: &[(String, bool)]) -> String {
    let name = |(name, known): &(String, bool)| {
        if *known {
            format!("`{name}`, which this version of Skiff does not offer yet")
        } else {
            format!("`{name}`, which no host offers")
        }
    };
    missing.iter().map(name).collect::<Vec<_>>().join("; ")
}

/// Links components of one application against the host's interfaces.
pub struct Loader<'a> {
    runner: &'a Runner,
    linker: Linker<State>,
    limits: Limits,
    shares: Shares,
    reuse: Reuse,
    guests: Guest,
}

impl<'a> Loader<'a> {
    /// Sets up the interfaces once for all `components` of the application, which share
    /// its instances.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn new(
        runner: &'a Runner,
        limits: Limits,
        components: usize,
        reuse: Reuse,
        guests: Guest,
    ) -> Result<Self, LoadError> {
        let mut linker = Linker::new(runner.engine());
        add_interfaces(&mut linker, runner.concurrency())
            .map_err(|error| LoadError::Host(format!("{error:#}")))?;
        Ok(Loader {
            runner,
            linker,
            shares: Shares::new(&limits, components),
            limits,
            reuse,
            guests,
        })
    }

    /// A component for an HTTP trigger.
    ///
    /// # Errors
    /// Where it imports what is not offered or exports no HTTP handler.
    pub fn http(&self, component: &Component, grants: Grants) -> Result<HttpGuest, LoadError> {
        let id = Arc::clone(&grants.component);
        let kind = self.kind(component, &id)?;
        let pre = self.link(component, &id)?;
        let link = |error: wasmtime::Error| LoadError::Link {
            component: id.to_string(),
            reason: format!("{error:#}"),
        };
        let (grants, guests) = (Arc::new(grants), self.guests.clone());
        let permits = self.shares.component();
        let terms = Terms {
            limits: self.limits.clone(),
            reuse: self.reuse,
            ticks: self.runner.ticks(),
        };
        match kind {
            ComponentKind::HttpP2 => {
                let pre = ProxyPre::new(pre).map_err(link)?;
                Ok(HttpGuest::P2(Arc::new(P2::new(
                    pre, grants, terms, permits, guests,
                ))))
            }
            ComponentKind::HttpP3 => {
                let pre = ServicePre::new(pre).map_err(link)?;
                Ok(HttpGuest::P3(P3::new(pre, grants, terms, permits, guests)))
            }
            actual @ (ComponentKind::CommandP2 | ComponentKind::CommandP3) => {
                Err(LoadError::Kind {
                    component: id.to_string(),
                    actual,
                    expected: "an HTTP handler",
                })
            }
        }
    }

    /// A component that is run to its end.
    ///
    /// # Errors
    /// Where it imports what is not offered or exports no `wasi:cli/run`.
    pub fn command(&self, component: &Component, grants: Grants) -> Result<Command, LoadError> {
        let id = Arc::clone(&grants.component);
        let kind = self.kind(component, &id)?;
        let pre = self.link(component, &id)?;
        match kind {
            ComponentKind::CommandP2 | ComponentKind::CommandP3 => {
                Command::new(pre, kind, grants, self.runner.ticks()).map_err(|error| {
                    LoadError::Link {
                        component: id.to_string(),
                        reason: format!("{error:#}"),
                    }
                })
            }
            actual @ (ComponentKind::HttpP2 | ComponentKind::HttpP3) => Err(LoadError::Kind {
                component: id.to_string(),
                actual,
                expected: "a command (`wasi:cli/run`)",
            }),
        }
    }

    /// What a component is.
    ///
    /// # Errors
    /// Where its exports do not tell.
    pub fn kind(&self, component: &Component, id: &str) -> Result<ComponentKind, LoadError> {
        let exports = component.component_type();
        let names = exports.exports(self.runner.engine()).map(|(name, _)| name);
        kind(names).map_err(|source| LoadError::Exports {
            component: id.to_owned(),
            source,
        })
    }

    fn link(&self, component: &Component, id: &str) -> Result<InstancePre<State>, LoadError> {
        let missing: Vec<_> = component
            .component_type()
            .imports(self.runner.engine())
            .map(|(name, _)| name)
            .filter(|name| !offered(name))
            .map(|name| {
                (
                    name.to_owned(),
                    NOT_YET.contains(&split(name).0) || candidate(name),
                )
            })
            .collect();
        if !missing.is_empty() {
            return Err(LoadError::Imports {
                component: id.to_owned(),
                missing,
            });
        }
        self.linker
            .instantiate_pre(component)
            .map_err(|error| LoadError::Link {
                component: id.to_owned(),
                reason: format!("{error:#}"),
            })
    }
}

/// A release candidate of WASI that the contract lists.
fn candidate(name: &str) -> bool {
    let (name, version) = split(name);
    name.starts_with("wasi:")
        && matches!(
            version,
            "0.2.0-rc-2023-10-18" | "0.2.0-rc-2023-11-10" | "0.3.0-rc-2026-03-15"
        )
}

/// Whether an import is of an interface we have. Functions within it are
/// checked by the linker.
fn offered(import: &str) -> bool {
    if variables::INTERFACES.contains(&import) {
        return true;
    }
    let (name, version) = split(import);
    let Some((package, _)) = name.split_once('/') else {
        return false;
    };
    let wasi = matches!(
        package,
        "wasi:cli"
            | "wasi:clocks"
            | "wasi:filesystem"
            | "wasi:http"
            | "wasi:io"
            | "wasi:random"
            | "wasi:sockets"
    );
    wasi && !version.contains('-')
        && (version.starts_with("0.2.") || version.starts_with("0.3."))
        && name != "wasi:clocks/timezone"
}

fn add_interfaces(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    // Streams again, by way of the table alone: what is in place now would make a
    // WASI context for every guest that writes an answer.
    linker.allow_shadowing(true);
    wasmtime_wasi_io::add_to_linker_async(linker)?;
    linker.allow_shadowing(false);
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    if concurrency {
        wasmtime_wasi::p3::add_to_linker(linker)?;
        wasmtime_wasi_http::p3::add_to_linker(linker)?;
    }
    files::add_to_linker(linker, concurrency)?;
    variables::add_to_linker(linker, concurrency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_tell_how_to_call_a_component() {
        let of = |exports: &[&'static str]| kind(exports.iter().copied());
        assert_eq!(
            of(&["wasi:http/incoming-handler@0.2.10"]),
            Ok(ComponentKind::HttpP2)
        );
        assert_eq!(of(&["wasi:http/handler@0.3.0"]), Ok(ComponentKind::HttpP3));
        assert_eq!(
            of(&["x", "wasi:cli/run@0.2.0"]),
            Ok(ComponentKind::CommandP2)
        );
        assert_eq!(
            of(&["wasi:http/handler@0.3.0-rc-2026-03-15"]).unwrap_err(),
            ImportError::NotYet {
                export: "wasi:http/handler@0.3.0-rc-2026-03-15".into()
            }
        );
        assert_eq!(
            of(&[]).unwrap_err().to_string(),
            "it exports no handler: wasi:http/incoming-handler@0.2, wasi:http/handler@0.3 or wasi:cli/run is expected, it exports nothing"
        );
        assert!(matches!(
            of(&["wasi:cli/run@0.2.0", "wasi:http/handler@0.3.0"]),
            Err(ImportError::SeveralHandlers { .. })
        ));
    }

    #[test]
    fn only_wasi_0_3_needs_a_concurrent_engine() {
        assert!(!needs_concurrency(["wasi:http/types@0.2.6"].into_iter()));
        assert!(needs_concurrency(["wasi:http/types@0.3.0"].into_iter()));
        assert!(needs_concurrency(
            ["spin:variables/variables@3.0.0"].into_iter()
        ));
        assert!(!needs_concurrency(
            ["spin:postgres/postgres@3.0.0"].into_iter()
        ));
    }

    #[test]
    fn release_candidates_are_known_and_not_offered() {
        assert!(!offered("wasi:http/types@0.2.0-rc-2023-10-18"));
        assert!(candidate("wasi:http/types@0.2.0-rc-2023-10-18"));
        assert!(offered("wasi:http/types@0.2.17"));
        assert!(!offered("wasi:nn/graph@0.2.0"));
    }
}
