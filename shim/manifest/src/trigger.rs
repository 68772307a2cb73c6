//! Triggers of every kind: their configuration, which is the same in manifests and locked
//! applications, and queries on them.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::check::{self, Declared};
use crate::fields::{Ask, Fields, text};
use crate::http;
use crate::model::{
    CommandTrigger, CronTrigger, HttpTarget, MqttTrigger, RedisTrigger, SqsTrigger, Trigger,
    TriggerKind,
};
use crate::node::{Node, Spanned, Value, into_json_map};
use crate::template::Template;

/// What a trigger runs. Distinguishes a missing component from a wrong one.
pub(crate) enum Runs {
    Component(Spanned<String>),
    Nothing,
    /// It is wrong, which was reported.
    Unknown,
}

/// Reads a trigger's configuration, from which `component` has been taken. `kept` are
/// other members that were taken, and stay as written.
pub(crate) fn read(
    kind: String,
    runs: Runs,
    fields: Fields<'_>,
    kept: Map<String, Json>,
    declared: &Declared,
) -> Option<TriggerKind> {
    let mut config = Config {
        fields,
        kept,
        declared,
    };
    Some(match kind.as_str() {
        "http" => TriggerKind::Http(http::read(runs, config.fields)?),
        "redis" => {
            let component = config.component(runs);
            let channel = config.template("channel");
            let address = config
                .fields
                .optional("address", |node, ask| template(node, ask, declared));
            TriggerKind::Redis(RedisTrigger {
                unknown: config.unknown(),
                component: component?,
                channel: channel?,
                address,
            })
        }
        "mqtt" => {
            let component = config.component(runs);
            let topic = config.template("topic");
            let qos = config.template("qos");
            TriggerKind::Mqtt(MqttTrigger {
                unknown: config.unknown(),
                component: component?,
                topic: topic?,
                qos: qos?,
            })
        }
        "sqs" => {
            let component = config.component(runs);
            let queue_url = config.text("queue_url");
            let max_messages = config.fields.optional("max_messages", number);
            let idle_wait_seconds = config.fields.optional("idle_wait_seconds", number);
            let system_attributes = config.texts("system_attributes");
            let message_attributes = config.texts("message_attributes");
            TriggerKind::Sqs(SqsTrigger {
                unknown: config.unknown(),
                component: component?,
                queue_url: queue_url?,
                max_messages,
                idle_wait_seconds,
                system_attributes,
                message_attributes,
            })
        }
        "cron" => {
            let component = config.component(runs);
            let cron_expression = config.text("cron_expression");
            TriggerKind::Cron(CronTrigger {
                unknown: config.unknown(),
                component: component?,
                cron_expression: cron_expression?,
            })
        }
        "command" => TriggerKind::Command(CommandTrigger {
            component: config.component(runs)?,
            unknown: config.unknown(),
        }),
        _ => {
            let component = match runs {
                Runs::Component(id) => Some(id.value),
                Runs::Nothing => None,
                Runs::Unknown => return None,
            };
            let mut config = config.unknown();
            if let Some(id) = &component {
                config.insert("component".into(), json!(id));
            }
            TriggerKind::Other {
                trigger_type: kind,
                component,
                config,
            }
        }
    })
}

/// The members of one trigger, and the context for reading them.
struct Config<'c> {
    fields: Fields<'c>,
    kept: Map<String, Json>,
    declared: &'c Declared,
}

impl Config<'_> {
    fn component(&self, runs: Runs) -> Option<String> {
        match runs {
            Runs::Component(id) => Some(id.value),
            Runs::Nothing => {
                let ask = self.fields.ask.field("component");
                ask.fault(self.fields.at, "is missing");
                None
            }
            Runs::Unknown => None,
        }
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        self.fields.required(name, text).map(|text| text.value)
    }

    fn texts(&mut self, name: &'static str) -> Vec<String> {
        let texts = self.fields.list(name, text).into_iter();
        texts.map(|text| text.value).collect()
    }

    fn template(&mut self, name: &'static str) -> Option<Template> {
        let declared = self.declared;
        self.fields
            .required(name, |node, ask| template(node, ask, declared))
    }

    /// The members that were not taken.
    fn unknown(self) -> Map<String, Json> {
        let mut unknown = into_json_map(self.fields.rest());
        unknown.extend(self.kept);
        unknown
    }
}

fn template(node: Node, ask: &Ask<'_>, declared: &Declared) -> Option<Template> {
    check::template(&text(node, ask)?, declared, ask)
}

/// A whole number that the type can hold.
fn number<T: TryFrom<u64>>(node: Node, ask: &Ask<'_>) -> Option<T> {
    let Value::Number(number) = &node.value else {
        ask.mismatch(&node, "a whole number");
        return None;
    };
    let number = number.as_u64().and_then(|number| T::try_from(number).ok());
    if number.is_none() {
        ask.fault(
            node.at,
            "must be a whole number that is not negative and not too large",
        );
    }
    number
}

/// The configuration as in a locked application, sorted by name.
pub(crate) fn to_json(kind: &TriggerKind) -> Map<String, Json> {
    let mut config = BTreeMap::new();
    let mut add = |name: &str, value: Option<Json>| {
        config.extend(value.map(|value| (name.to_owned(), value)));
    };
    let template = |template: &Template| Some(json!(template.text()));
    let texts = |texts: &[String]| (!texts.is_empty()).then(|| json!(texts));
    let unknown = match kind {
        TriggerKind::Http(http) => return http::to_json(http),
        TriggerKind::Redis(redis) => {
            add("channel", template(&redis.channel));
            add("address", redis.address.as_ref().and_then(template));
            &redis.unknown
        }
        TriggerKind::Mqtt(mqtt) => {
            add("topic", template(&mqtt.topic));
            add("qos", template(&mqtt.qos));
            &mqtt.unknown
        }
        TriggerKind::Sqs(sqs) => {
            add("queue_url", Some(json!(sqs.queue_url)));
            add("max_messages", sqs.max_messages.map(Json::from));
            add("idle_wait_seconds", sqs.idle_wait_seconds.map(Json::from));
            add("system_attributes", texts(&sqs.system_attributes));
            add("message_attributes", texts(&sqs.message_attributes));
            &sqs.unknown
        }
        TriggerKind::Cron(cron) => {
            add("cron_expression", Some(json!(cron.cron_expression)));
            &cron.unknown
        }
        TriggerKind::Command(command) => &command.unknown,
        TriggerKind::Other { config, .. } => config,
    };
    add("component", kind.component().map(Json::from));
    let unknown = unknown.iter();
    config.extend(unknown.map(|(name, value)| (name.clone(), value.clone())));
    config.into_iter().collect()
}

impl Trigger {
    /// Its type: `http`, `redis`, …
    pub fn trigger_type(&self) -> &str {
        match &self.kind {
            TriggerKind::Http(_) => "http",
            TriggerKind::Redis(_) => "redis",
            TriggerKind::Mqtt(_) => "mqtt",
            TriggerKind::Sqs(_) => "sqs",
            TriggerKind::Cron(_) => "cron",
            TriggerKind::Command(_) => "command",
            TriggerKind::Other { trigger_type, .. } => trigger_type,
        }
    }

    /// The component that it runs. `None` for a static response.
    pub fn component(&self) -> Option<&str> {
        self.kind.component()
    }
}

impl TriggerKind {
    fn component(&self) -> Option<&str> {
        match self {
            TriggerKind::Http(http) => match &http.target {
                HttpTarget::Component(id) => Some(id),
                HttpTarget::Static(_) => None,
            },
            TriggerKind::Redis(RedisTrigger { component, .. })
            | TriggerKind::Mqtt(MqttTrigger { component, .. })
            | TriggerKind::Sqs(SqsTrigger { component, .. })
            | TriggerKind::Cron(CronTrigger { component, .. })
            | TriggerKind::Command(CommandTrigger { component, .. }) => Some(component),
            TriggerKind::Other { component, .. } => component.as_deref(),
        }
    }

    /// Changes the component that it runs.
    pub(crate) fn run(&mut self, id: &str) {
        match self {
            TriggerKind::Http(http) => http.target = HttpTarget::Component(id.to_owned()),
            TriggerKind::Redis(RedisTrigger { component, .. })
            | TriggerKind::Mqtt(MqttTrigger { component, .. })
            | TriggerKind::Sqs(SqsTrigger { component, .. })
            | TriggerKind::Cron(CronTrigger { component, .. })
            | TriggerKind::Command(CommandTrigger { component, .. }) => id.clone_into(component),
            TriggerKind::Other {
                component, config, ..
            } => {
                *component = Some(id.to_owned());
                config.insert("component".into(), id.into());
            }
        }
    }
}
