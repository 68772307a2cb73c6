//! `skiff inspect`: what an artifact or application holds, without running it.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use skiff_artifact::Prepared;
use skiff_manifest::{HttpRoute, HttpTarget, TriggerKind};

use crate::app::capability;
use crate::exit::in_lines;

#[derive(Args)]
pub(super) struct Inspect {
    /// An OCI layout (folder or tar), a folder with a spin.toml, a manifest, or a .wasm file
    #[arg(default_value = ".")]
    application: PathBuf,
    #[command(flatten)]
    which: super::which::Which,
}

impl Inspect {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let scratch = super::run::scratch()?;
        let prepared = super::run::open(&self.application, &self.which, &scratch.path())?.prepared;
        super::warn(&prepared.warnings);
        super::print(&in_lines(&describe(&prepared)?))
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
