//! Compares what a component was granted with what it can use. A grant of something not
//! offered yet is reported before the start; everything else that the component may not
//! do is denied when it is called.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_host::{KnownValues, Need, ValueSource, need};
use skiff_manifest::hosts::{AllowedHost, AllowedScheme, is_blank};
use skiff_manifest::{Application, Capability, Component, Template};

use super::check::Values;

/// The capability behind an interface from which a dependency may be isolated, for the
/// composer.
pub(crate) fn capability(interface: &str) -> Option<skiff_compose::Capability> {
    let capability = skiff_host::capability(interface)?;
    Some(skiff_compose::Capability {
        key: capability.key(),
        is_called_at_start: matches!(capability, Capability::Environment | Capability::Files),
    })
}

/// Values of the application's variables: what was set, else the defaults.
pub(super) fn values(application: &Application, set: Values) -> Values {
    let mut values = set;
    for (name, variable) in &application.variables {
        if let Some(default) = &variable.default {
            let value = values.entry(name.to_string());
            value.or_insert_with(|| default.clone());
        }
    }
    values
}

/// The values of an application's variables for its guests: what the sources have, else the
/// defaults.
pub(super) fn variables(
    application: &Application,
    mut sources: Vec<ValueSource>,
) -> Arc<skiff_host::Values> {
    let defaults = values(application, Values::default());
    sources.push(ValueSource::Known(KnownValues(defaults)));
    let names = application.variables.keys().cloned();
    Arc::new(skiff_host::Values::new(names, sources))
}

/// Whether all variables in a component's `allowed_outbound_hosts` have values.
pub(super) fn are_known(component: &Component, values: &Values) -> bool {
    let mut hosts = component.allowed_outbound_hosts.iter();
    hosts.all(|host| {
        host.variables()
            .all(|name| values.contains_key(name.as_ref()))
    })
}

/// An entry of `allowed_outbound_hosts` that is invalid once its variables have values.
#[derive(Debug, thiserror::Error)]
#[error("component `{component}`: allowed_outbound_hosts: `{entry}`: {reason}")]
pub(super) struct HostError {
    component: String,
    /// As written: its value may be secret.
    entry: String,
    reason: String,
}

/// The hosts that a component was granted, with the application's `values`. Blank entries
/// are left out; if an entry cannot be resolved, everything is denied.
pub(super) fn hosts(
    application: &Application,
    component: &Component,
    values: &Values,
) -> Result<Vec<AllowedHost>, HostError> {
    let mut hosts = Vec::new();
    for template in &component.allowed_outbound_hosts {
        let entry = match template.resolve(|name| values.get(name).cloned()) {
            Ok(entry) => entry,
            Err(error) => {
                tracing::error!(application = %application.name, component_id = %component.id, entry = template.text(), %error, "allowed_outbound_hosts cannot be resolved, so every host is denied");
                return Ok(Vec::new());
            }
        };
        if is_blank(entry.trim()) {
            continue;
        }
        hosts.push(AllowedHost::parse(&entry).map_err(|error| HostError {
            component: component.id.clone(),
            entry: template.text().to_owned(),
            reason: match is_secret(application, template) {
                true => "the value of a secret variable makes it no host".to_owned(),
                false => error.to_string(),
            },
        })?);
    }
    Ok(hosts)
}

/// Whether a template has a variable that is kept out of messages.
fn is_secret(application: &Application, template: &Template) -> bool {
    let mut names = template.variables();
    names.any(|name| {
        application
            .variables
            .get(name)
            .is_some_and(|variable| variable.secret)
    })
}

/// Grants of imported features that are not offered yet: one mistake for each grant.
pub(super) fn not_offered(
    component: &Component,
    hosts: &[AllowedHost],
    imports: &[String],
) -> Vec<String> {
    let mut uses: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for import in imports {
        let Some(need) = need(import) else { continue };
        for grant in grants(component, hosts, need) {
            uses.entry(grant).or_default().push(import);
        }
    }
    let mistake = |(grant, imports): (String, Vec<&str>)| {
        let quoted: Vec<String> = imports.iter().map(|name| format!("`{name}`")).collect();
        format!(
            "component `{}`: {grant} for {}, which this version of Skiff does not offer yet",
            component.id,
            quoted.join(", ")
        )
    };
    uses.into_iter().map(mistake).collect()
}

/// The component's grants that concern `need`.
fn grants(component: &Component, hosts: &[AllowedHost], need: Need) -> Vec<String> {
    let list = |key: &str, names: &[String]| {
        let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let grant = format!("{key} grants {}", quoted.join(", "));
        (!names.is_empty()).then_some(grant).into_iter().collect()
    };
    match need {
        Need::Models => list("ai_models", &component.ai_models),
        Need::Hosts(schemes) => hosts
            .iter()
            .filter(|host| match &host.scheme {
                AllowedScheme::Any => true,
                AllowedScheme::Named(named) => schemes.contains(&named.as_str()),
            })
            .map(|host| format!("allowed_outbound_hosts grants `{host}`"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hosts of a component with these entries, where `host` and `port` have values.
    fn granted(entries: &str, values: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let manifest = format!(
            r#"spin_manifest_version = 2
[application]
name = "a"
[variables]
host = {{ required = true }}
port = {{ default = "80" }}
[[trigger.http]]
route = "/..."
component = "web"
[component.web]
source = "web.wasm"
allowed_outbound_hosts = [{entries}]
"#
        );
        let application = skiff_manifest::toml::read(&manifest, "spin.toml").unwrap();
        let set = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let values = super::values(&application, set.collect());
        let hosts = hosts(&application, &application.components[0], &values);
        let hosts = hosts.map_err(|error| error.to_string())?;
        Ok(hosts.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_entry_is_what_its_variables_say() {
        let entries = r#""http://{{ host }}:{{ port }}", "https://other""#;
        assert_eq!(
            granted(entries, &[("host", "db")]).unwrap(),
            ["http://db:80", "https://other:443"]
        );
        let error = granted(entries, &[("host", "a b")]).unwrap_err();
        assert!(
            error.contains("`web`") && error.contains("http://{{ host }}:{{ port }}"),
            "{error}"
        );
    }

    #[test]
    fn a_variable_without_a_value_denies_every_host() {
        let none: [&str; 0] = [];
        for entries in [
            r#""http://{{ host }}""#,
            r#""*://*:*", "http://{{ host }}""#,
        ] {
            assert_eq!(granted(entries, &[]).unwrap(), none, "{entries}");
        }
    }

    #[test]
    fn an_entry_that_becomes_blank_is_left_out() {
        for value in ["", " "] {
            let host = [("host", value)];
            let blank = r#""{{ host }}", "http://{{ host }}", "https://{{ host }}", "http://db""#;
            assert_eq!(granted(blank, &host).unwrap(), ["http://db:80"]);
        }
    }

    #[test]
    fn what_language_runtimes_call_at_their_start_is_empty_and_all_else_traps() {
        let is_called_at_start =
            |interface: &str| capability(interface).unwrap().is_called_at_start;
        assert!(is_called_at_start("wasi:cli/environment"));
        assert!(is_called_at_start("wasi:filesystem/preopens"));
        assert!(!is_called_at_start("wasi:http/outgoing-handler"));
        assert!(!is_called_at_start("spin:variables/variables"));
        assert_eq!(capability("wasi:io/streams"), None);
    }
}
