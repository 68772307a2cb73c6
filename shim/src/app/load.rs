//! From code in the cache to components that can be called.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use skiff_artifact::Prepared;
use skiff_engine::{
    Budget, Cache, Code, Compiler, EngineKind, Engines, Limits, Native, Place, Pool, Resources,
    Runner, Shares, Tier,
};
use skiff_host::{Command, FileLimits, Grants, Guest, Loader, Mount, Output, Reuse};
use skiff_manifest::{Application, HttpExecutor, HttpTarget, HttpTrigger, TriggerKind};
use skiff_trigger_http::{AppInfo, Route, Router, StaticAnswer, Target};

use super::check::{self, Checked, Life};
use super::code::{Facts, concurrency};
use super::grants;
use super::handler::{self, GuestHandler};
use super::network::{self, Inside};
use super::serve::Loaded;
use super::variables::Setup;
use crate::settings::Settings;

/// A checked application whose code is compiled but not loaded yet. It knows only what it
/// is given about the process that it runs in.
pub struct App {
    application: Application,
    facts: BTreeMap<String, Facts>,
    grants: BTreeMap<String, Grants>,
    cache: Cache,
    limits: Limits,
    reuse: Reuse,
    engines: Engines,
    /// Guests that run without a connection waiting for them.
    pub(super) guests: Guest,
    /// How its components reach each other.
    pub(super) inside: Arc<Inside>,
}

/// What the caller gives to an application.
pub struct Given {
    /// Variables and the runtime configuration.
    pub setup: Setup,
    /// Environment of every guest, besides the manifest's.
    pub environment: Vec<(String, String)>,
    /// Folders of every guest, besides the manifest's.
    pub volumes: Vec<Mount>,
    /// The folder of the stores that exist without configuration, if there is one.
    pub stores: Option<PathBuf>,
    /// Arguments of a component that is run to its end.
    pub arguments: Vec<String>,
    /// Where guests' standard output goes.
    pub stdout: Output,
    /// Where guests' standard error goes.
    pub stderr: Output,
    /// Memory that its guests share with others; `None` if they are not limited.
    pub budget: Option<Budget>,
    /// Guests' files use descriptors below this number.
    pub files_below: RawFd,
    /// The engines that its code runs on, shared with other applications.
    pub engines: Engines,
}

impl Default for Given {
    /// No shared limits, and output is discarded.
    fn default() -> Self {
        Given {
            setup: Setup::default(),
            environment: Vec::new(),
            volumes: Vec::new(),
            stores: None,
            arguments: Vec::new(),
            stdout: Output::nowhere(),
            stderr: Output::nowhere(),
            budget: None,
            files_below: FileLimits::default().below,
            engines: Engines::default(),
        }
    }
}

/// Compiled code of an application, and room for it in the engines.
pub struct Reserved {
    tier: Tier,
    codes: BTreeMap<String, Native>,
    pub(super) place: Place,
    later: Option<Place>,
}

/// An application's code in memory.
struct InMemory {
    runner: Arc<Runner>,
    components: BTreeMap<String, Code>,
}

impl App {
    /// Takes a prepared and checked application whose code is in the cache.
    ///
    /// # Errors
    /// Everything that is wrong with the application.
    pub fn new(
        checked: Checked,
        prepared: &Prepared,
        cache: Cache,
        settings: &Settings,
        given: Given,
    ) -> anyhow::Result<Self> {
        let Checked { application, facts } = checked;
        let engines = given.engines.clone();
        let inside = Arc::new(Inside::new().context("cannot get random numbers")?);
        let neighbours = match check::life(&application, &facts) {
            Life::Serve => Some(Arc::clone(&inside)),
            Life::Run(_) => None,
        };
        network::warn_of_unknown(&prepared.application, &settings.network.client_tls);
        let network = network::network(&settings.network, given.files_below, neighbours);
        let grants = grants::all(&application, prepared, &facts, settings, given, &network)?;
        grants::first_memories(&facts, &grants)?;
        Ok(App {
            engines,
            application,
            facts,
            grants,
            cache,
            limits: settings.engine.clone(),
            reuse: settings.guests.reuse,
            guests: Guest::new(settings.guests.abandoned),
            inside,
        })
    }

    /// Whether it serves or runs to its end.
    pub fn life(&self) -> Life {
        check::life(&self.application, &self.facts)
    }

    /// How long an instance without requests may be kept.
    pub fn longest_idle(&self) -> Duration {
        // It is looked at once in its time.
        self.reuse.idle * 2
    }

    /// The application's name.
    pub fn name(&self) -> &str {
        &self.application.name
    }

    /// The code of every component in one tier, if all of it exists.
    fn codes(&self, tier: Tier) -> anyhow::Result<Option<BTreeMap<String, Native>>> {
        let compiler = Compiler::new(tier, concurrency(self.facts.values()), self.limits.stack)?;
        let mut codes = BTreeMap::new();
        for (id, facts) in &self.facts {
            match self.cache.find(&compiler.key(&facts.digest))? {
                Some(native) => codes.insert(id.clone(), native),
                None => return Ok(None),
            };
        }
        Ok(Some(codes))
    }

    /// The kind of engine that code of this tier runs on.
    fn kind(&self, tier: Tier) -> EngineKind {
        EngineKind {
            tier,
            concurrency: concurrency(self.facts.values()),
            stack: self.limits.stack,
        }
    }

    /// How many guests with instances of their own are made of the components: one that is
    /// called in several ways is as many.
    fn guests_at_most(&self) -> usize {
        let triggers = self.application.triggers.iter();
        let ways: BTreeSet<_> = triggers
            .filter_map(|trigger| match &trigger.kind {
                TriggerKind::Http(http) => Some((trigger.component()?, argv(http))),
                _ => None,
            })
            .collect();
        ways.len().max(self.facts.len())
    }

    /// The size of the pool that the engine needs.
    fn pool(&self, codes: &BTreeMap<String, Native>) -> Pool {
        let largest = |of: fn(Resources) -> u64| {
            let largest = codes.values().map(|native| of(native.resources())).max();
            largest.unwrap_or_default()
        };
        Pool {
            instances: Shares::instances(&self.limits, self.guests_at_most()),
            resources: Resources {
                memories: largest(|r| r.memories.into()) as u32,
                tables: largest(|r| r.tables.into()) as u32,
                table_elements: largest(|r| r.table_elements),
            },
        }
    }

    /// Finds the best available code and reserves room for it in the engines. Call this
    /// for all applications that share the engines before loading the first one.
    ///
    /// # Errors
    /// If there is no code, or the cache cannot be used.
    pub fn reserve(&self) -> anyhow::Result<Reserved> {
        let tiers = [Tier::Optimized, Tier::Baseline];
        for tier in tiers.into_iter().filter(|tier| tier.is_available()) {
            if let Some(codes) = self.codes(tier)? {
                let pool = self.pool(&codes);
                let reserve = |tier| self.engines.reserve(self.kind(tier), pool);
                return Ok(Reserved {
                    tier,
                    codes,
                    place: reserve(tier),
                    later: (tier == Tier::Baseline).then(|| reserve(Tier::Optimized)),
                });
            }
        }
        bail!(
            "the compiled code of application `{}` is not in `{}`",
            self.application.name,
            self.cache.folder().display()
        )
    }

    /// Loads an application that serves.
    ///
    /// # Errors
    /// If its code does not load, or does not fit its triggers.
    pub fn load(&self, reserved: Reserved) -> anyhow::Result<Loaded> {
        let Reserved {
            tier,
            codes,
            place,
            later,
        } = reserved;
        let router = self.router(&in_memory(&codes, &place)?)?;
        Ok(Loaded {
            tier,
            router,
            later,
        })
    }

    /// Loads optimised code, if it exists and fits into the reserved room.
    pub(super) fn optimized(
        &self,
        reserved: &mut Option<Place>,
    ) -> anyhow::Result<Option<Router<GuestHandler>>> {
        let Some(codes) = self.codes(Tier::Optimized)? else {
            return Ok(None);
        };
        let pool = self.pool(&codes);
        let fits = reserved.take().filter(|place| place.has_room_for(&pool));
        let place = fits.unwrap_or_else(|| {
            let kind = self.kind(Tier::Optimized);
            self.engines.reserve(kind, pool)
        });
        self.router(&in_memory(&codes, &place)?).map(Some)
    }

    fn loader<'a>(&self, loaded: &'a InMemory) -> Loader<'a> {
        let (limits, reuse, guests) = (self.limits.clone(), self.reuse, self.guests.clone());
        let components = self.guests_at_most();
        Loader::new(&loaded.runner, limits, components, reuse, guests)
    }

    /// A router over components, each with its own instances.
    fn router(&self, loaded: &InMemory) -> anyhow::Result<Router<GuestHandler>> {
        let loader = self.loader(loaded);
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
                    let argv = argv(http);
                    let handler = match handlers.get(&(id, argv)) {
                        Some(handler) => Arc::clone(handler),
                        None => {
                            let (code, grants) = (&loaded.components[id], self.grants(id)?);
                            let guest = match argv {
                                Some(argv) => loader.wagi(code, grants, argv)?,
                                None => loader.http(code, grants)?,
                            };
                            let runner = Arc::clone(&loaded.runner);
                            let (guests, inside) = (self.guests.clone(), self.inside.clone());
                            let handler = GuestHandler::new(guest, guests, inside, runner);
                            let handler = Arc::new(handler);
                            handlers.insert((id, argv), Arc::clone(&handler));
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

    /// Loads the component that is run to its end, by its id.
    ///
    /// # Errors
    /// If its code does not load, or is not a command.
    pub fn command(&self, reserved: Reserved, id: &str) -> anyhow::Result<Command> {
        let loaded = in_memory(&reserved.codes, &reserved.place)?;
        let loader = self.loader(&loaded);
        Ok(loader.command(&loaded.components[id], self.grants(id)?)?)
    }

    fn grants(&self, id: &str) -> anyhow::Result<Grants> {
        let grants = self.grants.get(id).cloned();
        grants.with_context(|| format!("component `{id}` was not prepared"))
    }
}

/// The template of a command's arguments, if it is run for each request.
fn argv(trigger: &HttpTrigger) -> Option<&str> {
    match &trigger.executor {
        HttpExecutor::Wagi { argv } => Some(argv),
        HttpExecutor::Http => None,
    }
}

/// Maps code into the engine in which it has a place.
fn in_memory(codes: &BTreeMap<String, Native>, place: &Place) -> anyhow::Result<InMemory> {
    let runner = place.runner()?;
    let mut components = BTreeMap::new();
    for (id, native) in codes {
        components.insert(id.clone(), runner.load(native)?);
    }
    Ok(InMemory { runner, components })
}
