//! Commands: components that run to their end and give an exit code.

use std::sync::Arc;

use skiff_engine::Ticks;
use wasmtime::component::InstancePre;
use wasmtime_wasi::I32Exit;

use crate::imports::ComponentKind;
use crate::state::State;
use crate::{Grants, http::one_line};

/// A component of `wasi:cli/command`, ready to run.
pub struct Command {
    pre: Pre,
    grants: Arc<Grants>,
    ticks: Ticks,
}

enum Pre {
    P2(wasmtime_wasi::p2::bindings::CommandPre<State>),
    P3(wasmtime_wasi::p3::bindings::CommandPre<State>),
}

/// A command that did not come to its own end.
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
        /// Why.
        reason: String,
    },
}

impl Command {
    pub(crate) fn new(
        pre: InstancePre<State>,
        kind: ComponentKind,
        grants: Grants,
        ticks: Ticks,
    ) -> wasmtime::Result<Self> {
        let pre = match kind {
            ComponentKind::CommandP3 => Pre::P3(wasmtime_wasi::p3::bindings::CommandPre::new(pre)?),
            ComponentKind::CommandP2 | ComponentKind::HttpP2 | ComponentKind::HttpP3 => {
                Pre::P2(wasmtime_wasi::p2::bindings::CommandPre::new(pre)?)
            }
        };
        Ok(Command {
            pre,
            grants: Arc::new(grants),
            ticks,
        })
    }

    fn engine(&self) -> &wasmtime::Engine {
        match &self.pre {
            Pre::P2(pre) => pre.engine(),
            Pre::P3(pre) => pre.engine(),
        }
    }

    /// Runs it to its end. The answer is its exit code: what it gave to
    /// `wasi:cli/exit`, else 0 where `run` returned ok and 1 where it did not.
    ///
    /// # Errors
    /// Where it traps or cannot be instantiated.
    pub async fn run(&self) -> Result<i32, CommandError> {
        let mut store = State::store(self.engine(), &self.grants, &self.ticks);
        let component = self.grants.component.to_string();
        let instantiate = |error: wasmtime::Error| CommandError::Instantiate {
            component: component.clone(),
            reason: one_line(&error),
        };
        let result = match &self.pre {
            Pre::P2(pre) => {
                let command = pre
                    .instantiate_async(&mut store)
                    .await
                    .map_err(instantiate)?;
                command.wasi_cli_run().call_run(&mut store).await
            }
            Pre::P3(pre) => {
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
