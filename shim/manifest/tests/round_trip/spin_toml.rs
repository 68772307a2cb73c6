//! Writes version 2 manifests, which only tests do.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use skiff_manifest::Template;
use skiff_manifest::model::*;
use toml::{Table, Value};

/// Writes an application that was read from a manifest.
pub(crate) fn write(application: &Application) -> String {
    let mut root = Table::new();
    root.insert("spin_manifest_version".into(), Value::Integer(2));
    root.insert("application".into(), Value::Table(details(application)));
    root.insert("variables".into(), map(&application.variables, variable));
    let mut triggers: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for written in &application.triggers {
        triggers
            .entry(written.trigger_type())
            .or_default()
            .push(trigger(written, application));
    }
    root.insert(
        "trigger".into(),
        map(&triggers, |list| Value::Array(list.clone())),
    );
    let components = application
        .components
        .iter()
        .map(|written| (&written.id, written))
        .collect();
    root.insert(
        "component".into(),
        map::<&String, _>(&components, |written| component(written)),
    );
    toml::to_string(&root).expect("a table")
}

fn map<K: AsRef<str>, V>(map: &BTreeMap<K, V>, write: impl Fn(&V) -> Value) -> Value {
    Value::Table(
        map.iter()
            .map(|(key, value)| (key.as_ref().to_owned(), write(value)))
            .collect(),
    )
}

fn texts(list: &[String]) -> Value {
    Value::Array(list.iter().map(|text| text.clone().into()).collect())
}

fn json(value: &Json) -> Value {
    Value::try_from(value).expect("no null")
}

fn details(application: &Application) -> Table {
    let mut table = Table::new();
    table.insert("name".into(), application.name.clone().into());
    table.insert("version".into(), application.version.clone().into());
    table.insert("description".into(), application.description.clone().into());
    table.insert("authors".into(), texts(&application.authors));
    let settings = map(&application.trigger_settings, |settings| {
        json(&Json::from(settings.clone()))
    });
    table.insert("trigger".into(), settings);
    table
}

fn variable(variable: &Variable) -> Value {
    let mut table = Table::new();
    if let Some(description) = &variable.description {
        table.insert("description".into(), description.clone().into());
    }
    match &variable.default {
        Some(default) => table.insert("default".into(), default.clone().into()),
        None => table.insert("required".into(), true.into()),
    };
    table.insert("secret".into(), variable.secret.into());
    Value::Table(table)
}

fn trigger(trigger: &Trigger, application: &Application) -> Value {
    let mut table = match &trigger.kind {
        TriggerKind::Http(http) => http_trigger(http),
        other => other_trigger(other),
    };
    table.insert("id".into(), trigger.id.clone().into());
    if let Some(component) = trigger.component() {
        table.insert("component".into(), component.into());
    }
    let component = trigger.component().and_then(|id| application.component(id));
    if let Some(component) = component.filter(|c| !c.trigger_dependencies.is_empty()) {
        let roles = map(&component.trigger_dependencies, |list| {
            Value::Array(list.iter().map(dependency).collect())
        });
        table.insert("dependencies".into(), roles);
    }
    Value::Table(table)
}

fn other_trigger(kind: &TriggerKind) -> Table {
    let texts = |list: &[String]| (!list.is_empty()).then(|| texts(list));
    let text = |template: &Template| Some(template.to_string().into());
    let (members, unknown) = match kind {
        TriggerKind::Http(_) => unreachable!("it is written elsewhere"),
        TriggerKind::Redis(redis) => {
            let address = redis.address.as_ref().and_then(text);
            let members = vec![("channel", text(&redis.channel)), ("address", address)];
            (members, &redis.unknown)
        }
        TriggerKind::Mqtt(mqtt) => {
            let members = vec![("topic", text(&mqtt.topic)), ("qos", text(&mqtt.qos))];
            (members, &mqtt.unknown)
        }
        TriggerKind::Sqs(sqs) => {
            let idle = sqs
                .idle_wait_seconds
                .map(|n| i64::try_from(n).expect("small"));
            let members = vec![
                ("queue_url", Some(sqs.queue_url.clone().into())),
                (
                    "max_messages",
                    sqs.max_messages.map(|n| i64::from(n).into()),
                ),
                ("idle_wait_seconds", idle.map(Value::from)),
                ("system_attributes", texts(&sqs.system_attributes)),
                ("message_attributes", texts(&sqs.message_attributes)),
            ];
            (members, &sqs.unknown)
        }
        TriggerKind::Cron(cron) => {
            let expression = Some(cron.cron_expression.clone().into());
            (vec![("cron_expression", expression)], &cron.unknown)
        }
        TriggerKind::Command(command) => (Vec::new(), &command.unknown),
        TriggerKind::Other { config, .. } => (Vec::new(), config),
    };
    let members = members.into_iter();
    let members = members.filter_map(|(name, value): (&str, _)| Some((name.to_owned(), value?)));
    let unknown = unknown
        .iter()
        .map(|(name, value)| (name.clone(), json(value)));
    members.chain(unknown).collect()
}

fn http_trigger(http: &HttpTrigger) -> Table {
    let mut table = Table::new();
    match &http.target {
        HttpTarget::Component(_) => {}
        HttpTarget::Static(response) => {
            let mut members = Table::new();
            members.insert("status_code".into(), i64::from(response.status_code).into());
            members.insert(
                "headers".into(),
                map(&response.headers, |value| value.clone().into()),
            );
            if let Some(body) = &response.body {
                members.insert("body".into(), body.clone().into());
            }
            table.insert("static_response".into(), members.into());
        }
    }
    let route = match &http.route {
        HttpRoute::Path(route) => route.clone().into(),
        HttpRoute::Private => Table::from_iter([("private".into(), Value::Boolean(true))]).into(),
    };
    table.insert("route".into(), route);
    if let HttpExecutor::Wagi { argv } = &http.executor {
        let members = [
            ("type".into(), "wagi".into()),
            ("argv".into(), argv.clone().into()),
        ];
        table.insert("executor".into(), Table::from_iter(members).into());
    }
    table
}

fn component(component: &Component) -> Value {
    let mut table = Table::new();
    let source = match &component.source {
        ContentRef {
            source: Some(path),
            digest: None,
            ..
        } => path.clone().into(),
        content => content_members(content).into(),
    };
    table.insert("source".into(), source);
    table.insert("description".into(), component.description.clone().into());
    table.insert(
        "environment".into(),
        map(&component.environment, |value| value.clone().into()),
    );
    table.insert(
        "files".into(),
        component.files.iter().map(file).collect::<Vec<_>>().into(),
    );
    table.insert("exclude_files".into(), texts(&component.exclude_files));
    table.insert(
        "variables".into(),
        map(&component.variables, |text| text.to_string().into()),
    );
    let hosts: Vec<_> = component
        .allowed_outbound_hosts
        .iter()
        .map(Template::to_string)
        .collect();
    table.insert("allowed_outbound_hosts".into(), texts(&hosts));
    table.insert(
        "key_value_stores".into(),
        texts(&component.key_value_stores),
    );
    table.insert("sqlite_databases".into(), texts(&component.databases));
    table.insert("ai_models".into(), texts(&component.ai_models));
    table.insert(
        "dependencies".into(),
        map(&component.dependencies, dependency),
    );
    Value::Table(table)
}

/// The members that say where content is; `path` is for dependencies.
fn content_members(content: &ContentRef) -> Table {
    let mut table = Table::new();
    let mut add = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            table.insert(name.into(), value.clone().into());
        }
    };
    add(
        if content.digest.is_some() {
            "url"
        } else {
            "path"
        },
        &content.source,
    );
    add("digest", &content.digest);
    if let Some(package) = &content.package {
        add("registry", &package.registry);
        add("package", &Some(package.package.clone()));
        add("version", &Some(package.version.clone()));
    }
    table
}

fn file(mount: &FileMount) -> Value {
    match mount {
        FileMount::Pattern(pattern) => pattern.clone().into(),
        FileMount::Placed {
            source,
            destination,
        } => {
            let members = [("source", source), ("destination", destination)];
            let members = members.map(|(name, value)| (name.to_owned(), value.clone().into()));
            Table::from_iter(members).into()
        }
        FileMount::Content { .. } => unreachable!("manifests list no content"),
    }
}

fn dependency(dependency: &Dependency) -> Value {
    let DependencySource::Content(content) = &dependency.source else {
        unreachable!("generated dependencies have content");
    };
    let mut table = content_members(content);
    if let Some(export) = &dependency.export {
        table.insert("export".into(), export.clone().into());
    }
    let inherit = match &dependency.inherit {
        Inherit::All => true.into(),
        Inherit::Some(keys) => texts(keys),
    };
    table.insert("inherit_configuration".into(), inherit);
    Value::Table(table)
}
