//! `skiff inspect`: what an artifact or application holds, without running it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use skiff_artifact::Prepared;
use skiff_manifest::{HttpRoute, HttpTarget, TriggerKind};

use crate::app::capability;
use crate::exit::in_lines;
use crate::pod::describe_applied;

#[derive(Args)]
pub(super) struct Inspect {
    /// An OCI layout (folder or tar), a folder with a spin.toml, a manifest, or a .wasm file
    #[arg(default_value = ".")]
    application: PathBuf,
    /// Show instead what applies to a pod that runs on this node, and where it comes from;
    /// for root
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "application")]
    pod: Option<PodName>,
    /// containerd's folder of bundles, if it is none of the usual ones
    #[arg(long, value_name = "FOLDER", requires = "pod")]
    bundles: Option<PathBuf>,
    #[command(flatten)]
    which: super::which::Which,
}

impl Inspect {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if let Some(PodName { namespace, name }) = &self.pod {
            let applied = describe_applied(self.bundles.as_deref(), namespace, name)?;
            return super::print(&in_lines(&applied));
        }
        let scratch = super::run::scratch()?;
        let prepared = super::run::open(&self.application, &self.which, &scratch.path())?.prepared;
        super::warn(&prepared.warnings);
        super::print(&in_lines(&describe(&prepared)?))
    }
}

/// A pod, as `kubectl` names it; without a namespace it is in `default`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PodName {
    namespace: String,
    name: String,
}

impl FromStr for PodName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        if namespace.is_empty() || name.is_empty() || name.contains('/') {
            return Err("expected NAMESPACE/NAME");
        }
        Ok(PodName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

fn describe(prepared: &Prepared) -> anyhow::Result<String> {
    let mut out = String::new();
    let application = &prepared.application;
    writeln!(out, "{} {}", application.name, application.version)?;
    for (name, variable) in &application.variables {
        let value = match &variable.default {
            Some(_) if variable.secret => "has a default".to_owned(),
            Some(default) => format!("default {default:?}"),
            None => "required".to_owned(),
        };
        writeln!(out, "variable {name}: {value}")?;
    }
    for trigger in &application.triggers {
        match &trigger.kind {
            TriggerKind::Http(http) => {
                let route = match &http.route {
                    HttpRoute::Path(path) => path.as_str(),
                    HttpRoute::Private => "(private)",
                };
                let target = match &http.target {
                    HttpTarget::Component(id) => id.as_str(),
                    HttpTarget::Static(_) => "a static response",
                };
                writeln!(out, "trigger {}: http {route} -> {target}", trigger.id)?;
            }
            _ => {
                let (id, kind) = (&trigger.id, trigger.trigger_type());
                let component = trigger.component().unwrap_or("nothing");
                writeln!(out, "trigger {id}: {kind} -> {component}")?;
            }
        }
    }
    for component in &prepared.components {
        writeln!(out, "component {}: {}", component.id, component.digest)?;
        let bytes = component.build(capability)?;
        let boundary = skiff_compose::boundary(&bytes)
            .with_context(|| format!("component `{}`", component.id))?;
        for import in boundary.imports {
            writeln!(out, "  imports {import}")?;
        }
        for export in boundary.exports {
            writeln!(out, "  exports {export}")?;
        }
        for mount in &component.mounts {
            writeln!(out, "  sees {}", mount.guest)?;
        }
    }
    Ok(out)
}
