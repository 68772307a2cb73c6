//! Finds everything that can be wrong with an application before it starts, and reports
//! all of it at once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use skiff_artifact::Prepared;
use skiff_engine::Cache;
use skiff_host::{ComponentKind, LoadError, Missing, Wanted};
use skiff_manifest::{Application, HttpExecutor, Trigger, TriggerKind};
use skiff_trigger::Trigger as _;
use skiff_trigger_http::Http;

use super::code::Facts;
use super::granted;
use super::handler::{self, GuestHandler};
use super::variables::Setup;
use crate::settings::Settings;

/// Values of application variables: what was set, and defaults.
pub type Values = BTreeMap<String, String>;

/// Why an application cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// One or more mistakes.
    #[error("{}", .0.join("\n"))]
    Wrong(Vec<String>),
    /// A component that cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// An application whose manifest was checked for the settings and values that it will run
/// with. Its components were not checked.
#[derive(Debug)]
pub struct Sound(Application);

/// An application that passed every check possible before it runs: here, or in the
/// process that prepared it.
#[derive(Debug)]
pub struct Checked {
    pub(super) application: Application,
    pub(super) facts: BTreeMap<String, Facts>,
}

impl Sound {
    /// What will run.
    pub(super) fn application(&self) -> &Application {
        &self.0
    }

    /// Checks the components as well; their code is in the cache under these keys.
    ///
    /// # Errors
    /// Everything that is wrong with the components.
    pub fn with_code(
        self,
        codes: &BTreeMap<String, String>,
        cache: &Cache,
        settings: &Settings,
        setup: &Setup,
    ) -> anyhow::Result<Checked> {
        let found = found(codes, cache)?;
        facts(&self.0, settings, setup, &found)?;
        Ok(Checked {
            application: self.0,
            facts: found,
        })
    }
}

impl Checked {
    /// An application that was checked by the process that prepared it: for the same
    /// settings and values, and with files that nobody could change since.
    ///
    /// # Errors
    /// If the cache does not know the code, or a component was not prepared.
    pub fn before(
        prepared: &Prepared,
        codes: &BTreeMap<String, String>,
        cache: &Cache,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let application = retained(prepared, settings)?;
        if let Some(id) = used(&application)
            .iter()
            .find(|id| !codes.contains_key(**id))
        {
            bail!("component `{id}` was not prepared");
        }
        Ok(Checked {
            application,
            facts: found(codes, cache)?,
        })
    }
}

/// The cached facts about the components whose code has these keys.
fn found(
    codes: &BTreeMap<String, String>,
    cache: &Cache,
) -> anyhow::Result<BTreeMap<String, Facts>> {
    let mut all = BTreeMap::new();
    for (id, digest) in codes {
        let found = Facts::find(cache, digest)?;
        let found = found.with_context(|| format!("component `{id}`: the cache does not know its code {digest}; prepare the application again"))?;
        all.insert(id.clone(), found);
    }
    Ok(all)
}

/// Checks an application as far as possible without its components. Removes what is not
/// retained, and makes sure that the rest can be served.
///
/// # Errors
/// Everything that is wrong with it.
pub fn application(
    prepared: &Prepared,
    settings: &Settings,
    setup: &Setup,
) -> Result<Sound, AppError> {
    let application = retained(prepared, settings)?;
    let mut wrong = Vec::from_iter(nothing_runs(&application));
    wrong.extend(mistakes(&application, setup));
    match wrong.is_empty() {
        true => Ok(Sound(application)),
        false => Err(AppError::Wrong(wrong)),
    }
}

/// The application without what is not retained.
pub(super) fn retained(prepared: &Prepared, settings: &Settings) -> Result<Application, AppError> {
    let mut application = prepared.application.clone();
    if let Some(retain) = &settings.retain {
        let ids: Vec<&str> = retain.iter().map(String::as_str).collect();
        if let Err(error) = application.retain(&ids) {
            return Err(AppError::Wrong(vec![format!(
                "SKIFF_COMPONENTS_TO_RETAIN or SPIN_COMPONENTS_TO_RETAIN: {error}"
            )]));
        }
    }
    Ok(application)
}

/// The mistake of an application without triggers.
pub(super) fn nothing_runs(application: &Application) -> Option<String> {
    let name = &application.name;
    application
        .triggers
        .is_empty()
        .then(|| format!("application `{name}` has no trigger, so nothing would ever run"))
}

/// Mistakes in the parts of an application that exist, as far as they can be found
/// without its components.
pub(super) fn mistakes(application: &Application, setup: &Setup) -> Vec<String> {
    let mut wrong = setup.configuration.not_offered();
    for trigger in &application.triggers {
        match &trigger.kind {
            TriggerKind::Http(http) => {
                let route = handler::route(&http.route);
                let checked = Http::<GuestHandler>::prepare(&trigger.id, &route);
                wrong.extend(checked.err().map(|error| error.to_string()));
            }
            TriggerKind::Command(_) => {}
            TriggerKind::Redis(_)
            | TriggerKind::Mqtt(_)
            | TriggerKind::Sqs(_)
            | TriggerKind::Cron(_) => wrong.push(not_served(
                trigger,
                "which this version of Skiff does not serve yet",
            )),
            TriggerKind::Other { .. } => wrong.push(not_served(
                trigger,
                "which is unknown; `http` and `command` are served",
            )),
        }
    }
    wrong.extend(together(application));
    for (name, variable) in &application.variables {
        let is_missing = variable.default.is_none() && !setup.values.0.contains_key(name.as_ref());
        if is_missing && !setup.is_partial {
            let upper = name.to_string().to_ascii_uppercase();
            wrong.push(format!(
                "variable `{name}` has no value: set SPIN_VARIABLE_{upper}, or give it a default in the manifest"
            ));
        }
    }
    let used = used(application);
    let config = setup.configuration.config();
    for component in &application.components {
        if !used.contains(component.id.as_str()) {
            continue;
        }
        if setup.is_partial {
            continue;
        }
        let unknown = component
            .key_value_stores
            .iter()
            .filter(|l| *l != "default" && !config.key_value_stores.contains_key(*l));
        for label in unknown {
            wrong.push(format!(
                "component `{}`: unknown key_value_stores label `{label}`",
                component.id
            ));
        }
        let unknown = component
            .databases
            .iter()
            .filter(|l| *l != "default" && !config.sqlite_databases.contains_key(*l));
        for label in unknown {
            wrong.push(format!(
                "component `{}`: unknown sqlite_databases label `{label}`",
                component.id
            ));
        }
    }
    wrong
}

/// The mistake of triggers that are served, but not in one application.
fn together(application: &Application) -> Option<String> {
    let ids = |is: fn(&TriggerKind) -> bool| -> Vec<String> {
        let triggers = application.triggers.iter();
        let those = triggers.filter(|trigger| is(&trigger.kind));
        those.map(|trigger| format!("`{}`", trigger.id)).collect()
    };
    let commands = ids(|kind| matches!(kind, TriggerKind::Command(_)));
    let http = ids(|kind| matches!(kind, TriggerKind::Http(_)));
    let those = commands.join(", ");
    if commands.len() > 1 {
        return Some(format!(
            "triggers {those} are of type `command`, and an application can have one of them in this version of Skiff; choose one by its component"
        ));
    }
    (!commands.is_empty() && !http.is_empty()).then(|| {
        format!("trigger {those} is of type `command`, and an application with HTTP triggers cannot have others in this version of Skiff")
    })
}

fn not_served(trigger: &Trigger, reason: &str) -> String {
    let (id, kind) = (&trigger.id, trigger.trigger_type());
    format!("trigger `{id}` is of type `{kind}`, {reason}")
}

/// Ids of the components that a trigger refers to; others are never loaded.
pub(super) fn used(application: &Application) -> BTreeSet<&str> {
    let triggers = application.triggers.iter();
    triggers.filter_map(Trigger::component).collect()
}

/// What the triggers of a component that are served need it to export.
fn wanted(application: &Application, id: &str) -> BTreeSet<Wanted> {
    let triggers = application.triggers.iter();
    let own = triggers.filter(|trigger| trigger.component() == Some(id));
    own.filter_map(|trigger| match &trigger.kind {
        TriggerKind::Http(http) => Some(match http.executor {
            HttpExecutor::Wagi { .. } => Wanted::Wagi,
            HttpExecutor::Http => Wanted::Http,
        }),
        TriggerKind::Command(_) => Some(Wanted::Command),
        _ => None,
    })
    .collect()
}

/// How an application runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// Until it is asked to stop.
    Serve,
    /// Runs this component to its end.
    Run(String),
}

/// Whether the application serves or runs to its end, from what its components export.
pub(super) fn life(application: &Application, facts: &BTreeMap<String, Facts>) -> Life {
    let commands: Vec<&String> = facts
        .iter()
        .filter(|(id, facts)| {
            let mut to_its_end = wanted(application, id).into_iter();
            to_its_end.any(|wanted| {
                let kind = facts.kind(wanted);
                wanted != Wanted::Wagi && kind.is_ok_and(ComponentKind::is_command)
            })
        })
        .map(|(id, _)| id)
        .collect();
    match (application.triggers.as_slice(), commands.as_slice()) {
        ([_], [id]) => Life::Run((*id).clone()),
        _ => Life::Serve,
    }
}

/// Checks the components' own imports, exports and memories.
pub(super) fn facts(
    application: &Application,
    settings: &Settings,
    setup: &Setup,
    facts: &BTreeMap<String, Facts>,
) -> Result<(), AppError> {
    let mut wrong = Vec::new();
    let values = granted::values(application, setup.values.0.clone());
    for (id, facts) in facts {
        for wanted in wanted(application, id) {
            if let Err(error) = facts.kind(wanted) {
                wrong.push(format!("component `{id}` cannot be called: {error}"));
            }
        }
        let imports = facts.imports.iter().map(String::as_str);
        if let Some(missing) = Missing::among(imports).filter(|_| !facts.module) {
            wrong.push(format!("component `{id}` imports {missing}"));
        }
        if let Some(limit) = settings.guests.memory
            && facts.memory > limit as u64
        {
            wrong.push(format!(
                "component `{id}` begins with a memory of {} bytes, over the limit of {limit} that SKIFF_MAX_INSTANCE_MEMORY or the runtime configuration sets",
                facts.memory
            ));
        }
        let Some(component) = application.component(id) else {
            continue;
        };
        if setup.is_partial && !granted::are_known(component, &values) {
            continue;
        }
        match granted::hosts(application, component, &values) {
            Ok(hosts) => wrong.extend(granted::not_offered(component, &hosts, &facts.imports)),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(AppError::Wrong(wrong))
    }
}
