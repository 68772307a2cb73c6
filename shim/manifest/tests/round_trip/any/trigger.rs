//! Triggers.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use skiff_manifest::VariableName;
use skiff_manifest::model::*;

use super::{table, template};

/// A trigger without its component yet.
pub(super) type Unplaced = (TriggerKind, Index);

/// Triggers by id, whose templates use these variables.
pub(super) fn triggers(
    names: Vec<VariableName>,
) -> impl Strategy<Value = BTreeMap<String, Unplaced>> {
    let kind = prop_oneof![
        3 => http(),
        1 => redis(&names),
        1 => mqtt(&names),
        1 => sqs(),
        1 => cron(),
        1 => table().prop_map(|unknown| {
            let component = String::new();
            TriggerKind::Command(CommandTrigger { component, unknown })
        }),
        1 => other(),
    ];
    btree_map(".{1,6}", (kind, any::<Index>()), 0..5)
}

fn http() -> impl Strategy<Value = TriggerKind> {
    let route = prop_oneof![
        "(/[a-z:]{1,4}){0,3}(/\\.\\.\\.)?".prop_map(HttpRoute::Path),
        Just(HttpRoute::Private)
    ];
    let executor = prop_oneof![
        Just(HttpExecutor::Http),
        ".{0,9}".prop_map(|argv| HttpExecutor::Wagi { argv })
    ];
    let target = prop_oneof![
        4 => Just(HttpTarget::Component(String::new())),
        1 => static_response().prop_map(HttpTarget::Static),
    ];
    (route, executor, target).prop_map(|(route, executor, target)| {
        TriggerKind::Http(HttpTrigger {
            route,
            target,
            executor,
        })
    })
}

fn redis(names: &[VariableName]) -> impl Strategy<Value = TriggerKind> + use<> {
    let template = || template(names.to_vec());
    (template(), option::of(template()), table()).prop_map(|(channel, address, unknown)| {
        TriggerKind::Redis(RedisTrigger {
            component: String::new(),
            channel,
            address,
            unknown,
        })
    })
}

fn mqtt(names: &[VariableName]) -> impl Strategy<Value = TriggerKind> + use<> {
    let template = || template(names.to_vec());
    (template(), template(), table()).prop_map(|(topic, qos, unknown)| {
        TriggerKind::Mqtt(MqttTrigger {
            component: String::new(),
            topic,
            qos,
            unknown,
        })
    })
}

fn sqs() -> impl Strategy<Value = TriggerKind> {
    let numbers = (option::of(any::<u16>()), option::of(any::<u32>()));
    let attributes = (vec(".{0,6}", 0..3), vec(".{0,6}", 0..3));
    (".{0,9}", numbers, attributes, table()).prop_map(
        |(queue_url, numbers, attributes, unknown)| {
            TriggerKind::Sqs(SqsTrigger {
                component: String::new(),
                queue_url,
                max_messages: numbers.0,
                idle_wait_seconds: numbers.1.map(u64::from),
                system_attributes: attributes.0,
                message_attributes: attributes.1,
                unknown,
            })
        },
    )
}

fn cron() -> impl Strategy<Value = TriggerKind> {
    (".{0,9}", table()).prop_map(|(cron_expression, unknown)| {
        TriggerKind::Cron(CronTrigger {
            component: String::new(),
            cron_expression,
            unknown,
        })
    })
}

fn other() -> impl Strategy<Value = TriggerKind> {
    (any::<bool>(), table()).prop_map(|(runs, config)| TriggerKind::Other {
        trigger_type: "pigeon".to_owned(),
        component: runs.then(String::new),
        config,
    })
}

/// Sorts triggers by type, as manifests write them.
pub(super) fn place(
    triggers: BTreeMap<String, Unplaced>,
    components: &[Component],
) -> Vec<Trigger> {
    let place = |(id, (mut kind, index)): (String, Unplaced)| {
        let runs = index.get(components).id.clone();
        match &mut kind {
            TriggerKind::Http(http) => {
                if let HttpTarget::Component(component) = &mut http.target {
                    *component = runs;
                }
            }
            TriggerKind::Redis(RedisTrigger { component, .. })
            | TriggerKind::Mqtt(MqttTrigger { component, .. })
            | TriggerKind::Sqs(SqsTrigger { component, .. })
            | TriggerKind::Cron(CronTrigger { component, .. })
            | TriggerKind::Command(CommandTrigger { component, .. }) => *component = runs,
            TriggerKind::Other {
                component, config, ..
            } => {
                if let Some(component) = component {
                    config.insert("component".into(), json!(runs));
                    *component = runs;
                }
            }
        }
        Trigger { id, kind }
    };
    let mut placed: Vec<_> = triggers.into_iter().map(place).collect();
    placed.sort_by(|a, b| a.trigger_type().cmp(b.trigger_type()));
    placed
}

fn static_response() -> impl Strategy<Value = StaticResponse> {
    let headers = btree_map("[a-zA-Z][a-z-]{0,5}", "[ -~é]{0,6}", 0..3);
    (100..600_u16, headers, option::of(".{0,9}")).prop_map(|(status_code, headers, body)| {
        StaticResponse {
            status_code,
            headers,
            body,
        }
    })
}
