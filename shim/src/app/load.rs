//! From code in the cache to components that can be called.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use skiff_artifact::Prepared;
use skiff_engine::{
    Budget, Cache, Code, Compiler, Limits, MemoryLimit, Native, Pool, Resources, Runner, Shares,
    Tier,
};
use skiff_host::{
    Command, FileLimits, Grants, Guest, Loader, Mount, Output, Reuse, Sockets, Variables,
};
use skiff_manifest::{Application, HttpTarget, TriggerKind};
use skiff_trigger_http::{AppInfo, Route, Router, StaticAnswer, Target};

use super::check::{self, AppError, Life, Values};
use super::code::{Facts, concurrency};
use super::granted;
use super::handler::{self, GuestHandler};
use super::{pod, workers};
use crate::settings::Settings;

/// A checked application whose code is compiled and not yet loaded.
pub struct App {
    application: Application,
    facts: BTreeMap<String, Facts>,
    grants: BTreeMap<String, Grants>,
    cache: Cache,
    limits: Limits,
    reuse: Reuse,
    /// Memory that guests of all workers share.
    pub(super) budget: Option<Budget>,
    /// How many connections there are descriptors for.
    pub(super) connections: usize,
    /// Guests that run without a connection that waits for them.
    pub(super) guests: Guest,
}

/// What else an application is given.
#[derive(Default)]
pub struct Extras {
    /// Values of application variables.
    pub values: Values,
    /// Environment of every guest, besides the manifest's.
    pub environment: Vec<(String, String)>,
    /// Folders of every guest, besides the manifest's.
    pub volumes: Vec<Mount>,
    /// Arguments of a component that is run to its end.
    pub arguments: Vec<String>,
    /// Whether guests print nothing.
    pub quiet: bool,
}

/// An application in memory: an engine and its components.
pub(super) struct Loaded {
    pub(super) tier: Tier,
    runner: Runner,
    components: BTreeMap<String, Code>,
}

impl App {
    /// Takes a prepared application; `codes` are what [`prepare`](super::prepare)
    /// answered.
    ///
    /// # Errors
    /// What is wrong with the application, all of it.
    pub fn new(
        prepared: &Prepared,
        codes: &BTreeMap<String, String>,
        cache: &Path,
        settings: &Settings,
        extras: Extras,
    ) -> anyhow::Result<Self> {
        let cache = Cache::open(cache)?;
        let application = check::application(prepared, settings, &extras.values)?;
        let mut facts = BTreeMap::new();
        for (id, digest) in codes {
            let found = Facts::find(&cache, digest)?;
            let found = found.with_context(|| format!("component `{id}`: nothing is known of its code {digest}; it has to be prepared again"))?;
            facts.insert(id.clone(), found);
        }
        check::facts(&application, settings, &extras.values, &facts)?;
        let budget = budget(settings)?;
        let descriptors = pod::descriptors(settings.max_connections.get() as usize);
        let shares = Shared {
            budget: budget.clone(),
            files: FileLimits {
                each: settings.max_instance_files.get() as usize,
                below: descriptors.guests,
            },
        };
        let grants = grants(&application, prepared, &facts, settings, extras, &shares)?;
        first_memories(&facts, &grants)?;
        Ok(App {
            budget,
            connections: descriptors.connections,
            application,
            facts,
            grants,
            cache,
            limits: limits(settings),
            reuse: reuse(settings),
            guests: Guest::new(settings.client_gone_timeout),
        })
    }

    /// How it runs.
    pub(super) fn life(&self) -> Life {
        check::life(&self.application, &self.facts)
    }

    /// The application's name.
    pub fn name(&self) -> &str {
        &self.application.name
    }

    /// Code of every component in one tier, where all of it is there.
    fn codes(&self, tier: Tier) -> anyhow::Result<Option<BTreeMap<&String, Native>>> {
        let compiler = Compiler::new(tier, concurrency(self.facts.values()), self.limits.stack)?;
        let mut codes = BTreeMap::new();
        for (id, facts) in &self.facts {
            match self.cache.find(&compiler.key(&facts.digest))? {
                Some(native) => codes.insert(id, native),
                None => return Ok(None),
            };
        }
        Ok(Some(codes))
    }

    /// Loads the best code there is.
    pub(super) fn load(&self) -> anyhow::Result<Loaded> {
        let tiers = [Tier::Optimized, Tier::Baseline];
        for tier in tiers.into_iter().filter(|tier| tier.is_available()) {
            if let Some(loaded) = self.load_tier(tier)? {
                return Ok(loaded);
            }
        }
        bail!(
            "the compiled code of application `{}` is not in `{}`",
            self.application.name,
            self.cache.folder().display()
        )
    }

    /// Loads code of one tier where it is there.
    pub(super) fn load_tier(&self, tier: Tier) -> anyhow::Result<Option<Loaded>> {
        let Some(codes) = self.codes(tier)? else {
            return Ok(None);
        };
        let largest = |of: fn(Resources) -> u64| {
            let largest = codes.values().map(|native| of(native.resources())).max();
            largest.unwrap_or_default()
        };
        let pool = Pool {
            instances: Shares::instances(&self.limits, self.facts.len()),
            resources: Resources {
                memories: largest(|r| r.memories.into()) as u32,
                tables: largest(|r| r.tables.into()) as u32,
                table_elements: largest(|r| r.table_elements),
            },
        };
        let runner = Runner::new(
            tier,
            concurrency(self.facts.values()),
            self.limits.stack,
            &pool,
        )?;
        let mut components = BTreeMap::new();
        for (id, native) in codes {
            components.insert(id.clone(), runner.load(&native)?);
        }
        Ok(Some(Loaded {
            tier,
            runner,
            components,
        }))
    }

    fn loader<'a>(&self, loaded: &'a Loaded) -> anyhow::Result<Loader<'a>> {
        let (limits, reuse, guests) = (self.limits.clone(), self.reuse, self.guests.clone());
        let components = self.facts.len();
        Ok(Loader::new(
            &loaded.runner,
            limits,
            components,
            reuse,
            guests,
        )?)
    }

    /// A router over components of their own instances.
    pub(super) fn router(&self, loaded: &Loaded) -> anyhow::Result<Router<GuestHandler>> {
        let loader = self.loader(loaded)?;
        let mut handlers = BTreeMap::new();
        let mut routes = Vec::new();
        for trigger in &self.application.triggers {
            let TriggerKind::Http(http) = &trigger.kind else {
                bail!(
                    "trigger `{}`: an application with HTTP triggers cannot have others in this version of Skiff",
                    trigger.id
                );
            };
            let target = match &http.target {
                HttpTarget::Component(id) => {
                    let handler = match handlers.get(id) {
                        Some(handler) => Arc::clone(handler),
                        None => {
                            let guest = loader.http(&loaded.components[id], self.grants(id)?)?;
                            let handler = GuestHandler::new(guest, self.guests.clone());
                            let handler = Arc::new(handler);
                            handlers.insert(id.clone(), Arc::clone(&handler));
                            handler
                        }
                    };
                    Target::Handler {
                        component: id.clone(),
                        handler,
                    }
                }
                HttpTarget::Static(answer) => {
                    let headers = answer.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
                    let body = answer.body.clone().unwrap_or_default();
                    let answer = StaticAnswer::new(answer.status_code, headers, body);
                    let answer = answer
                        .with_context(|| format!("trigger `{}`: static_response", trigger.id))?;
                    Target::Static(answer)
                }
            };
            routes.push(Route {
                trigger: trigger.id.clone(),
                path: handler::route(&http.route),
                target,
            });
        }
        let version = Some(self.application.version.clone()).filter(|v| !v.is_empty());
        let info = AppInfo {
            name: self.application.name.clone(),
            version,
            oci_image_digest: None,
        };
        Ok(Router::new(&info, routes)?)
    }

    /// The component that is run to its end.
    pub(super) fn command(&self, loaded: &Loaded, id: &str) -> anyhow::Result<Command> {
        let loader = self.loader(loaded)?;
        Ok(loader.command(&loaded.components[id], self.grants(id)?)?)
    }

    fn grants(&self, id: &str) -> anyhow::Result<Grants> {
        let grants = self.grants.get(id).cloned();
        grants.with_context(|| format!("component `{id}` was not prepared"))
    }
}

/// What each component may touch: its manifest's grants and what the pod adds.
fn grants(
    application: &Application,
    prepared: &Prepared,
    facts: &BTreeMap<String, Facts>,
    settings: &Settings,
    extras: Extras,
    shares: &Shared,
) -> anyhow::Result<BTreeMap<String, Grants>> {
    let waits = !extras.volumes.is_empty();
    let values = Arc::new(granted::values(application, extras.values));
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
        let (stdout, stderr) = if extras.quiet {
            (Output::nowhere(), Output::nowhere())
        } else if runs {
            (Output::stdout(), Output::stderr())
        } else {
            // Many print at once.
            (Output::stdout().in_lines(), Output::stderr().in_lines())
        };
        let grants = Grants {
            component: component.id.as_str().into(),
            arguments: if runs {
                extras.arguments.clone()
            } else {
                Vec::new()
            },
            // What a person sets wins over what an image or a manifest sets.
            environment: Vec::from_iter(BTreeMap::from_iter(
                environment.chain(extras.environment.clone()),
            )),
            mounts: own.chain(extras.volumes.clone()).collect(),
            sockets: Sockets::new(granted::hosts(application, component, &values)?),
            variables: Variables::new(
                &component.id,
                component.variables.clone(),
                Arc::clone(&values),
            )?,
            stdout,
            stderr,
            stdin: runs,
            waits,
            files: shares.files,
            memory: MemoryLimit {
                each: settings
                    .max_instance_memory
                    .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
                budget: shares.budget.clone(),
                alone: runs,
            },
        };
        all.insert(component.id.clone(), grants);
    }
    Ok(all)
}

/// Every request of a component whose memory the pod has no room for would fail.
fn first_memories(
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

/// What guests share.
struct Shared {
    budget: Option<Budget>,
    files: FileLimits,
}

fn budget(settings: &Settings) -> anyhow::Result<Option<Budget>> {
    let Some(bytes) = pod::memory() else {
        tracing::warn!(
            "It cannot be told how much memory the pod may have; its guests are not limited by it"
        );
        return Ok(None);
    };
    let (workers, guests) = (workers::count(settings.workers), settings.max_instances);
    let budget = Budget::new(bytes, pod::memory_now, workers, guests.get() as usize);
    Ok(Some(budget.context("cannot share memory between workers")?))
}

fn limits(settings: &Settings) -> Limits {
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Limits {
        deadline: settings.request_timeout,
        instances: settings.max_instances.get(),
        queue: settings.queue_timeout,
        stack: bytes(settings.max_stack),
    }
}

fn reuse(settings: &Settings) -> Reuse {
    Reuse {
        wasi_0_2: settings.instance_reuse,
        requests: settings.max_instance_reuse_count.get() as usize,
        concurrent: settings.max_instance_concurrent_reuse_count.get() as usize,
        idle: settings.idle_instance_timeout,
    }
}
