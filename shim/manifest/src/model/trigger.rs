//! Triggers, which run components.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::Template;

/// A trigger, which runs a component.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// Unique in the application.
    pub id: String,
    /// The kind of trigger and its configuration.
    pub kind: TriggerKind,
}

/// The kinds of triggers. Kinds that Skiff does not serve are kept, so that an artifact
/// can be read and written; starting them is refused elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub enum TriggerKind {
    /// `[[trigger.http]]`.
    Http(HttpTrigger),
    /// `[[trigger.redis]]`.
    Redis(RedisTrigger),
    /// `[[trigger.mqtt]]`.
    Mqtt(MqttTrigger),
    /// `[[trigger.sqs]]`.
    Sqs(SqsTrigger),
    /// `[[trigger.cron]]`.
    Cron(CronTrigger),
    /// `[[trigger.command]]`.
    Command(CommandTrigger),
    /// An unknown type, with its configuration as written (including `component`).
    Other {
        /// The trigger type.
        trigger_type: String,
        /// The component that it runs, if it names one.
        component: Option<String>,
        /// All members, including `component`.
        config: Map<String, Json>,
    },
}

/// A trigger for messages of a Redis channel.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisTrigger {
    /// The component it runs.
    pub component: String,
    /// `channel`.
    pub channel: Template,
    /// `address` of the server; by default that of the application's settings.
    pub address: Option<Template>,
    /// Unknown members, as written.
    pub unknown: Map<String, Json>,
}

/// A trigger for messages of an MQTT topic.
#[derive(Debug, Clone, PartialEq)]
pub struct MqttTrigger {
    /// The component it runs.
    pub component: String,
    /// `topic`, which may be a pattern.
    pub topic: Template,
    /// `qos`: `0`, `1` or `2`, the delivery guarantee.
    pub qos: Template,
    /// Unknown members, as written.
    pub unknown: Map<String, Json>,
}

/// A trigger for messages of an AWS queue.
#[derive(Debug, Clone, PartialEq)]
pub struct SqsTrigger {
    /// The component it runs.
    pub component: String,
    /// `queue_url`.
    pub queue_url: String,
    /// `max_messages` to fetch at once; by default 10.
    pub max_messages: Option<u16>,
    /// `idle_wait_seconds` after the queue was empty; by default 2.
    pub idle_wait_seconds: Option<u64>,
    /// `system_attributes` to fetch.
    pub system_attributes: Vec<String>,
    /// `message_attributes` to fetch.
    pub message_attributes: Vec<String>,
    /// Unknown members, as written.
    pub unknown: Map<String, Json>,
}

/// A trigger that follows a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct CronTrigger {
    /// The component it runs.
    pub component: String,
    /// `cron_expression`, as written.
    pub cron_expression: String,
    /// Unknown members, as written.
    pub unknown: Map<String, Json>,
}

/// A trigger that runs its component once, when the application starts.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandTrigger {
    /// The component it runs.
    pub component: String,
    /// Unknown members, as written.
    pub unknown: Map<String, Json>,
}

/// An HTTP trigger.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpTrigger {
    /// Where requests come in.
    pub route: HttpRoute,
    /// What answers them.
    pub target: HttpTarget,
    /// How the component is called.
    pub executor: HttpExecutor,
}

/// Where an HTTP trigger is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpRoute {
    /// A route, exactly as written.
    Path(String),
    /// `{ private = true }`: reached only by service chaining.
    Private,
}

/// What answers an HTTP trigger.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpTarget {
    /// A component, by id.
    Component(String),
    /// A fixed answer.
    Static(StaticResponse),
}

/// `static_response`.
#[derive(Debug, Clone, PartialEq)]
pub struct StaticResponse {
    /// `status_code`, 100 to 599; by default 200.
    pub status_code: u16,
    /// Headers, with names as written.
    pub headers: BTreeMap<String, String>,
    /// `body`.
    pub body: Option<String>,
}

/// `executor` of an HTTP trigger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HttpExecutor {
    /// Determined by the component's exports.
    #[default]
    Http,
    /// As a CGI-like command.
    Wagi {
        /// Template of the arguments.
        argv: String,
    },
}
