//! Triggers.

use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value as Json, json};
use skiff_manifest::model::*;

use super::table;

/// A trigger yet to be told which component it runs.
pub(super) type Unplaced = (
    String,
    Map<String, Json>,
    HttpRoute,
    HttpExecutor,
    Option<StaticResponse>,
    Index,
);

pub(super) fn triggers() -> impl Strategy<Value = BTreeMap<String, Unplaced>> {
    let kind = select(vec!["http", "http", "mqtt", "redis"]).prop_map(str::to_owned);
    let route = prop_oneof![
        "(/[a-z:]{1,4}){0,3}(/\\.\\.\\.)?".prop_map(HttpRoute::Path),
        Just(HttpRoute::Private)
    ];
    let executor = prop_oneof![
        Just(HttpExecutor::Http),
        ".{0,9}".prop_map(|argv| HttpExecutor::Wagi { argv })
    ];
    let response = option::weighted(0.2, static_response());
    let trigger = (kind, table(), route, executor, response, any::<Index>());
    btree_map(".{1,6}", trigger, 0..5)
}

/// Triggers in the order of their types, which is how manifests write them.
pub(super) fn place(
    triggers: BTreeMap<String, Unplaced>,
    components: &[Component],
) -> Vec<Trigger> {
    let mut triggers: Vec<_> = triggers.into_iter().collect();
    triggers.sort_by(|(_, a), (_, b)| a.0.cmp(&b.0));
    let place =
        |(id, (trigger_type, mut config, route, executor, response, index)): (_, Unplaced)| {
            let component = index.get(components).id.clone();
            let kind = match (trigger_type.as_str(), response) {
                ("http", Some(response)) => TriggerKind::Http(HttpTrigger {
                    route,
                    target: HttpTarget::Static(response),
                    executor,
                }),
                ("http", None) => TriggerKind::Http(HttpTrigger {
                    route,
                    target: HttpTarget::Component(component),
                    executor,
                }),
                (_, response) => {
                    let component = Some(component).filter(|_| response.is_none());
                    if let Some(id) = &component {
                        config.insert("component".into(), json!(id));
                    }
                    TriggerKind::Other {
                        trigger_type,
                        component,
                        config,
                    }
                }
            };
            Trigger { id, kind }
        };
    triggers.into_iter().map(place).collect()
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
