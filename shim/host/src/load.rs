//! Links an application's components with the host's interfaces.

use std::sync::Arc;

use skiff_engine::{Code, Limits, Module, Runner, Shares};
use wasmtime::ExternType;
use wasmtime::component::types::{ComponentExtern, ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::call::{P2, P3, Preview1, Terms};
use crate::interfaces::{Missing, add_to_linker, ask_variables, candidates, deny, is_denied};
use crate::state::State;
use crate::{
    Command, ComponentKind, Grants, Guest, HttpGuest, ImportError, Reuse, SpinHttp, Wagi, Wanted,
    kind,
};

/// Why a component cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Imports that nothing satisfies, all of them.
    #[error("component `{component}` imports {missing}")]
    Imports {
        /// The component's id.
        component: String,
        /// The imports.
        missing: Missing,
    },
    /// An import of a known interface whose type or function does not fit.
    #[error("component `{component}` cannot be linked: {reason}")]
    Link {
        /// The component's id.
        component: String,
        /// Wasmtime's error.
        reason: String,
    },
    /// Exports that do not say how to call it.
    #[error("component `{component}` cannot be called: {source}")]
    Exports {
        /// The component's id.
        component: String,
        /// The cause.
        source: ImportError,
    },
    /// A component of the wrong kind for its trigger.
    #[error("component `{component}` is {}, and its trigger needs {expected}", actual.in_words())]
    Kind {
        /// The component's id.
        component: String,
        /// Its kind.
        actual: ComponentKind,
        /// The kind that is needed.
        expected: &'static str,
    },
    /// The host's own interfaces conflict, which is a bug in Skiff.
    #[error("the host's interfaces cannot be set up: {0}")]
    Host(String),
}

/// Links components of one application with the host's interfaces.
pub struct Loader<'a> {
    runner: &'a Runner,
    limits: Limits,
    shares: Shares,
    reuse: Reuse,
    guests: Guest,
}

impl<'a> Loader<'a> {
    /// `components` is how many the application has, which share its instances.
    pub fn new(
        runner: &'a Runner,
        limits: Limits,
        components: usize,
        reuse: Reuse,
        guests: Guest,
    ) -> Self {
        Loader {
            runner,
            shares: Shares::new(&limits, components),
            limits,
            reuse,
            guests,
        }
    }

    /// Loads a component for an HTTP trigger.
    ///
    /// # Errors
    /// If it imports what is not offered or exports no HTTP handler.
    pub fn http(&self, code: &Code, grants: Grants) -> Result<HttpGuest, LoadError> {
        let id = Arc::clone(&grants.component);
        let not_http = |actual| LoadError::Kind {
            component: id.to_string(),
            actual,
            expected: "an HTTP handler",
        };
        let Code::Component(component) = code else {
            return Err(not_http(ComponentKind::CommandP1));
        };
        let kind = self.kind(component, &id, Wanted::Http)?;
        if kind.is_command() {
            return Err(not_http(kind));
        }
        let pre = self.link(component, &grants)?;
        let link = |error: wasmtime::Error| LoadError::Link {
            component: id.to_string(),
            reason: format!("{error:#}"),
        };
        if let Some(export) = other_handler(component, kind) {
            return Err(link(wasmtime::format_err!(
                "the function of its export `{export}` has another type than the interface's"
            )));
        }
        let (grants, guests) = (Arc::new(grants), self.guests.clone());
        let permits = self.shares.component();
        let terms = Terms {
            limits: self.limits.clone(),
            reuse: self.reuse,
            ticks: self.runner.ticks(),
        };
        match kind {
            ComponentKind::HttpP2 => {
                let guest = P2::new(pre, grants, terms, permits, guests);
                Ok(HttpGuest::P2(Arc::new(guest.map_err(link)?)))
            }
            ComponentKind::HttpP3 => {
                let pre = ServicePre::new(pre).map_err(link)?;
                Ok(HttpGuest::P3(P3::new(pre, grants, terms, permits, guests)))
            }
            ComponentKind::HttpSpin => {
                let guest = SpinHttp::new(pre, grants, terms, permits, guests);
                Ok(HttpGuest::Spin(guest.map_err(link)?))
            }
            actual => Err(not_http(actual)),
        }
    }

    /// Loads a command for an HTTP trigger with the executor `wagi`, which makes its
    /// arguments of `argv`.
    ///
    /// # Errors
    /// If it imports what is not offered or exports no `wasi:cli/run`.
    pub fn wagi(&self, code: &Code, grants: Grants, argv: &str) -> Result<HttpGuest, LoadError> {
        let terms = Terms {
            limits: self.limits.clone(),
            reuse: self.reuse,
            ticks: self.runner.ticks(),
        };
        let command = self.command(code, grants)?;
        let (permits, guests) = (self.shares.component(), self.guests.clone());
        Ok(HttpGuest::Wagi(Wagi::new(
            command, argv, terms, permits, guests,
        )))
    }

    /// Loads a component that runs to its end.
    ///
    /// # Errors
    /// If it imports what is not offered or exports no `wasi:cli/run`.
    pub fn command(&self, code: &Code, grants: Grants) -> Result<Command, LoadError> {
        let id = Arc::clone(&grants.component);
        let ticks = self.runner.ticks();
        let command = match code {
            Code::Module(module) => self.module(module, grants),
            Code::Component(component) => {
                let kind = self.kind(component, &id, Wanted::Command)?;
                let pre = self.link(component, &grants)?;
                Command::component(pre, kind, grants, ticks)
            }
        };
        command.map_err(|error| LoadError::Link {
            component: id.to_string(),
            reason: format!("{error:#}"),
        })
    }

    /// A preview 1 command, with every import that wasmtime offers such a module.
    fn module(&self, module: &Module, grants: Grants) -> wasmtime::Result<Command> {
        let mut linker = wasmtime::Linker::new(self.runner.engine());
        Preview1::add_to_linker(&mut linker)?;
        let start = module.get_export("_start");
        let start = start.as_ref().and_then(ExternType::func);
        if start.is_none_or(|start| start.params().len() + start.results().len() > 0) {
            return Err(wasmtime::format_err!(
                "its `_start` is not a function without parameters and results"
            ));
        }
        let pre = linker.instantiate_pre(module)?;
        Ok(Command::module(pre, grants, self.runner.ticks()))
    }

    /// A component's kind for its trigger.
    fn kind(
        &self,
        component: &Component,
        id: &str,
        wanted: Wanted,
    ) -> Result<ComponentKind, LoadError> {
        let exports = component.component_type();
        let names = exports.exports(self.runner.engine()).map(|(name, _)| name);
        kind(names, wanted).map_err(|source| LoadError::Exports {
            component: id.to_owned(),
            source,
        })
    }

    fn link(
        &self,
        component: &Component,
        grants: &Grants,
    ) -> Result<InstancePre<State>, LoadError> {
        let id = &*grants.component;
        let engine = self.runner.engine();
        let ty = component.component_type();
        let imports = || ty.imports(engine);
        if let Some(missing) = Missing::among(imports().map(|(name, _)| name)) {
            return Err(LoadError::Imports {
                component: id.to_owned(),
                missing,
            });
        }
        let mut linker = Linker::new(engine);
        self.add_to_linker(&mut linker, imports())
            .map_err(|error| LoadError::Host(format!("{error:#}")))?;
        let mut link = || {
            if grants.variables.are_asked() {
                ask_variables(&mut linker)?;
            }
            for (name, import) in imports().filter(|(name, _)| is_denied(name)) {
                deny(&mut linker, engine, name, &import.ty)?;
            }
            linker.instantiate_pre(component)
        };
        link().map_err(|error| LoadError::Link {
            component: id.to_owned(),
            reason: format!("{error:#}"),
        })
    }

    /// Adds what the host offers of these imports, and nothing else: every function costs
    /// memory and time.
    fn add_to_linker<'b>(
        &self,
        linker: &mut Linker<State>,
        imports: impl Iterator<Item = (&'b str, ComponentExtern<'b>)>,
    ) -> wasmtime::Result<()> {
        let engine = self.runner.engine();
        let imports: Vec<_> = imports.collect();
        let names: Vec<_> = imports.iter().map(|(name, _)| *name).collect();
        add_to_linker(linker, &names, self.runner.concurrency())?;
        match imports
            .iter()
            .any(|(_, import)| candidates::are_in(&import.ty, engine))
        {
            true => candidates::add_to_linker(linker),
            false => Ok(()),
        }
    }
}

/// An export of that kind whose function has another type, so that every call would fail.
fn other_handler(component: &Component, kind: ComponentKind) -> Option<String> {
    let function = match kind {
        ComponentKind::HttpSpin => "handle-request",
        _ => "handle",
    };
    let (interface, fits): (_, fn(&ComponentFunc) -> bool) = match kind {
        ComponentKind::HttpP2 => ("wasi:http/incoming-handler@0.2.", |handle| {
            handle.params().len() == 2
                && handle.params().all(|(_, ty)| matches!(ty, Type::Own(_)))
                && handle.results().len() == 0
        }),
        ComponentKind::HttpSpin => ("fermyon:spin/inbound-http", |handle| {
            handle.params().len() == 1
                && handle.params().all(|(_, ty)| matches!(ty, Type::Record(_)))
                && handle.results().len() == 1
                && handle.results().all(|ty| matches!(ty, Type::Record(_)))
        }),
        ComponentKind::HttpP3 => ("wasi:http/handler@0.3.", |handle| {
            handle.params().len() == 1
                && handle.params().all(|(_, ty)| matches!(ty, Type::Own(_)))
                && handle.results().len() == 1
                && handle.results().all(|ty| matches!(ty, Type::Result(_)))
        }),
        _ => return None,
    };
    let engine = component.engine();
    let ty = component.component_type();
    let other = ty.exports(engine).find(|(name, export)| {
        let ComponentItem::ComponentInstance(instance) = &export.ty else {
            return false;
        };
        let handle = instance.get_export(engine, function);
        name.starts_with(interface)
            && !matches!(handle.map(|handle| handle.ty), Some(ComponentItem::ComponentFunc(handle)) if fits(&handle))
    });
    other.map(|(name, _)| name.to_owned())
}
