//! Commands: components and modules that run to their end and return an exit code.

use std::sync::Arc;

use skiff_engine::Ticks;
use wasmtime::Store;
use wasmtime::component::InstancePre;
use wasmtime_wasi::I32Exit;

use super::kind::ComponentKind;
use super::one_line;
use super::preview1::Preview1;
use crate::Grants;
use crate::state::State;

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
        let component = self.grants.component.to_string();
        let instantiate = |error: wasmtime::Error| CommandError::Instantiate {
            component: component.clone(),
            reason: one_line(&error),
        };
        let store = |engine| State::store(engine, &self.grants, &self.ticks);
        let result = match &self.pre {
            Pre::P1(pre) => {
                let mut store = Store::new(pre.module().engine(), Preview1::new(&self.grants));
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
                let mut store = store(pre.engine());
                let command = pre
                    .instantiate_async(&mut store)
                    .await
                    .map_err(instantiate)?;
                command.wasi_cli_run().call_run(&mut store).await
            }
            Pre::P3(pre) => {
                let mut store = store(pre.engine());
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
            Ok(Ok(())) => Ok(0),
            Ok(Err(())) => Ok(1),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(exit) => Ok(exit.0),
                None => Err(CommandError::Trap {
                    component,
                    reason: one_line(&error),
                }),
            },
        }
    }
}
