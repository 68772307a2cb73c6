//! What each component of an application is granted, and whether the memory suffices for
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_artifact::Prepared;
use skiff_engine::MemoryLimit;
use skiff_host::{Cli, FileLimits, Filesystem, Grants, Mount, Outbound, Sockets, Variables};
use skiff_manifest::Application;

use super::check::{self, AppError, Life};
use super::code::Facts;
use super::granted;
use super::load::Given;
use super::network::Network;
use super::stores::{Sources, Stores};
use crate::settings::Settings;

/// What each component may access: its manifest's grants, and what the caller gave.
pub(super) fn all(
    application: &Application,
    prepared: &Prepared,
    facts: &BTreeMap<String, Facts>,
    settings: &Settings,
    given: Given,
    network: &Network,
) -> anyhow::Result<BTreeMap<String, Grants>> {
    let waits = !given.volumes.is_empty();
    let values = granted::values(application, given.setup.values.0);
    let variables = granted::variables(application, given.setup.sources);
    let configuration = &given.setup.configuration;
    let sources = Sources {
        settings: &settings.stores,
        config: configuration.config(),
        beside: &|path| configuration.beside(path),
        folder: given.stores.as_deref(),
        authorities: &network.authorities,
        http: &|| network.for_store(),
    };
    let stores = Stores::new(application, &sources)?;
    let runs = matches!(check::life(application, facts), Life::Run(_));
    let mut all = BTreeMap::new();
    for component in &application.components {
        if !facts.contains_key(&component.id) {
            continue;
        }
        let parts = prepared.components.iter().find(|c| c.id == component.id);
        let own = parts.into_iter().flat_map(|parts| &parts.mounts);
        let own = own.map(|mount| Mount {
            host: mount.host.clone(),
            guest: mount.guest.clone(),
            writable: false,
        });
        let environment = component.environment.clone().into_iter();
        let (stdout, stderr) = (given.stdout.clone(), given.stderr.clone());
        let (stdout, stderr) = if runs {
            (stdout, stderr)
        } else {
            // Several instances print at once.
            (stdout.in_lines(), stderr.in_lines())
        };
        let hosts = granted::hosts(application, component, &values)?;
        let id: Arc<str> = component.id.as_str().into();
        let grants = Grants {
            outbound: Outbound::new(&id, hosts.clone(), network.ways.clone()),
            sockets: Sockets::new(hosts, network.blocked.clone(), Arc::clone(&network.names))
                .limited(&id, network.socket_limits.clone()),
            component: id,
            memory: MemoryLimit {
                each: settings.guests.memory,
                budget: given.budget.clone(),
                alone: runs,
            },
            cli: Cli {
                arguments: if runs {
                    given.arguments.clone()
                } else {
                    Vec::new()
                },
                // What a person sets overrides what an image or a manifest sets.
                environment: Vec::from_iter(BTreeMap::from_iter(
                    environment.chain(given.environment.clone()),
                )),
                stdin: runs,
                stdout,
                stderr,
            },
            filesystem: Filesystem {
                mounts: own.chain(given.volumes.clone()).collect(),
                waits,
                limits: FileLimits {
                    each: settings.guests.files,
                    below: given.files_below,
                },
            },
            key_value: stores.key_value(component),
            databases: stores.databases(component),
            variables: Variables::new(
                &component.id,
                component.variables.clone(),
                Arc::clone(&variables),
            )?,
        };
        all.insert(component.id.clone(), grants);
    }
    Ok(all)
}

/// Without room for its first memory, every request of a component would fail.
pub(super) fn first_memories(
    facts: &BTreeMap<String, Facts>,
    grants: &BTreeMap<String, Grants>,
) -> Result<(), AppError> {
    let wrong: Vec<_> = grants
        .iter()
        .filter_map(|(id, grants)| Some((id, grants, facts.get(id)?.memory)))
        .filter(|(_, grants, memory)| !grants.memory.allows_start(*memory))
        .map(|(id, _, memory)| {
            format!("component `{id}` begins with a memory of {memory} bytes, for which the memory of the pod or machine has no room")
        })
        .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(AppError::Wrong(wrong)),
    }
}
