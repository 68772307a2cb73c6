//! Commands: components and modules that run to their end and return an exit code.

use std::sync::Arc;

use skiff_engine::Ticks;
use wasmtime::Store;
use wasmtime::component::InstancePre;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

use super::kind::ComponentKind;
use super::one_line;
use super::preview1::Preview1;
use crate::interfaces::http::Origin;
use crate::interfaces::sockets::Found;
use crate::interfaces::wasi;
use crate::state::State;
use crate::{Grants, Output};

/// A component of `wasi:cli/command`, or a preview 1 module, ready to run.
pub struct Command {
    pre: Pre,
    grants: Arc<Grants>,
    ticks: Ticks,
}

enum Pre {
    P1(wasmtime::InstancePre<Preview1>),
    P2(wasmtime_wasi::p2::bindings::CommandPre<State>),
    P3(wasmtime_wasi::p3::bindings::CommandPre<State>),
}

/// How a command ended.
pub(super) enum Ended {
    /// It returned.
    Returned(Result<(), ()>),
    /// It called `wasi:cli/exit` or `proc_exit`.
    Exited(i32),
}

/// A command that did not end normally.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It trapped.
    #[error("component `{component}` failed: {reason}")]
    Trap {
        /// The component's id.
        component: String,
        /// The trap.
        reason: String,
    },
    /// It could not be instantiated.
    #[error("component `{component}` cannot be instantiated: {reason}")]
    Instantiate {
        /// The component's id.
        component: String,
        /// The cause.
        reason: String,
    },
}

/// What a program finds at its start.
pub(super) struct Context {
    pub(super) wasi: WasiCtxBuilder,
    /// Addresses of names that it looks up, for its sockets.
    found: Found,
    /// The request that it answers, if it may send others.
    pub(super) origin: Option<Origin>,
}

impl Command {
    pub(crate) fn module(
        pre: wasmtime::InstancePre<Preview1>,
        grants: Grants,
        ticks: Ticks,
    ) -> Self {
        Command {
            pre: Pre::P1(pre),
            grants: Arc::new(grants),
            ticks,
        }
    }

    pub(crate) fn component(
        pre: InstancePre<State>,
        kind: ComponentKind,
        grants: Grants,
        ticks: Ticks,
    ) -> wasmtime::Result<Self> {
        let pre = match kind {
            ComponentKind::CommandP3 => Pre::P3(wasmtime_wasi::p3::bindings::CommandPre::new(pre)?),
            _ => Pre::P2(wasmtime_wasi::p2::bindings::CommandPre::new(pre)?),
        };
        Ok(Command {
            pre,
            grants: Arc::new(grants),
            ticks,
        })
    }

    /// Runs it to its end. The result is its exit code: the one passed to `wasi:cli/exit`
    /// or `proc_exit`, else 0 if it returned success and 1 if not.
    ///
    /// # Errors
    /// If it traps or cannot be instantiated.
    pub async fn run(&self) -> Result<i32, CommandError> {
        Ok(match self.run_in(self.context(), None).await? {
            Ended::Returned(Ok(())) => 0,
            Ended::Returned(Err(())) => 1,
            Ended::Exited(code) => code,
        })
    }

    pub(super) fn grants(&self) -> &Arc<Grants> {
        &self.grants
    }

    /// Its arguments, environment, streams and folders.
    pub(super) fn context(&self) -> Context {
        let found = Found::default();
        Context {
            wasi: wasi::context(&self.grants, &found),
            found,
            origin: None,
        }
    }

    /// Runs it to its end in this context. `printed` is memory that it prints to, and that
    /// counts as its own.
    pub(super) async fn run_in(
        &self,
        mut context: Context,
        printed: Option<Output>,
    ) -> Result<Ended, CommandError> {
        let component = self.grants.component.to_string();
        let instantiate = |error: wasmtime::Error| CommandError::Instantiate {
            component: component.clone(),
            reason: one_line(&error),
        };
        let store = |engine, mut context: Context, printed| {
            let mut store = State::store(engine, &self.grants, &self.ticks);
            let state = store.data_mut();
            state.http.answers(context.origin.take());
            let context = wasi::Context::of(context.wasi.build(), context.found);
            state.begins_in(context, printed);
            store
        };
        let result = match &self.pre {
            Pre::P1(pre) => {
                let state = Preview1::new(&self.grants, context.wasi.build_p1(), printed);
                let mut store = Store::new(pre.module().engine(), state);
                store.limiter(Preview1::meter);
                self.ticks.interrupt(&mut store);
                // A start function may write output, and may end the program.
                match pre.instantiate_async(&mut store).await {
                    Ok(instance) => {
                        let start = instance.get_typed_func::<(), ()>(&mut store, "_start");
                        let start = start.map_err(instantiate)?;
                        start.call_async(&mut store, ()).await.map(Ok)
                    }
                    Err(error) if error.is::<I32Exit>() => Err(error),
                    Err(error) => return Err(instantiate(error)),
                }
            }
            Pre::P2(pre) => {
                let mut store = store(pre.engine(), context, printed);
                let command = pre
                    .instantiate_async(&mut store)
                    .await
                    .map_err(instantiate)?;
                command.wasi_cli_run().call_run(&mut store).await
            }
            Pre::P3(pre) => {
                let mut store = store(pre.engine(), context, printed);
                let command = pre
                    .instantiate_async(&mut store)
                    .await
                    .map_err(instantiate)?;
                store
                    .run_concurrent(async |accessor| {
                        command.wasi_cli_run().call_run(accessor).await
                    })
                    .await
                    .flatten()
            }
        };
        match result {
            Ok(returned) => Ok(Ended::Returned(returned)),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(exit) => Ok(Ended::Exited(exit.0)),
                None => Err(CommandError::Trap {
                    component,
                    reason: one_line(&error),
                }),
            },
        }
    }
}
