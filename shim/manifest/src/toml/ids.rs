//! Ids for triggers and components that were written without one.

use std::collections::BTreeSet;

use crate::names::{Case, check_id};
use crate::node::Spanned;

use super::written::{ComponentRef, Manifest, TriggerTable};

/// Gives every trigger an id, and every inline component its own table with an id. Users
/// see these ids (in metrics, in the list of components to retain), so the rules are part
/// of the format.
pub(super) fn assign(manifest: &mut Manifest) {
    trigger_ids(manifest);
    inline_components(manifest);
}

fn trigger_ids(manifest: &mut Manifest) {
    let triggers = manifest.triggers.iter().flat_map(|(_, triggers)| triggers);
    let mut taken: BTreeSet<String> = triggers
        .filter_map(|trigger| written_id(trigger).map(str::to_owned))
        .collect();
    for (kind, triggers) in &mut manifest.triggers {
        let mut number = 1;
        for trigger in triggers
            .iter_mut()
            .filter(|trigger| written_id(trigger).is_none())
        {
            let natural = match &trigger.component {
                Some(ComponentRef::Named(id)) => {
                    Some(format!("{}-{}-trigger", id.value, kind.value))
                }
                _ => None,
            };
            let id = natural.filter(|id| !taken.contains(id)).unwrap_or_else(|| {
                free(
                    &mut number,
                    |n| format!("{}-trigger{n}", kind.value),
                    |id| taken.contains(id),
                )
            });
            taken.insert(id.clone());
            trigger.id = Some(Spanned::new(trigger.at, id));
        }
    }
}

/// The id of a trigger; an empty one counts as missing.
fn written_id(trigger: &TriggerTable) -> Option<&str> {
    trigger
        .id
        .as_ref()
        .map(|id| id.value.as_str())
        .filter(|id| !id.is_empty())
}

fn inline_components(manifest: &mut Manifest) {
    let components = &mut manifest.components;
    for trigger in manifest
        .triggers
        .iter_mut()
        .flat_map(|(_, triggers)| triggers)
    {
        let natural = written_id(trigger).map(|id| format!("{id}-component"));
        let named = trigger
            .components
            .iter_mut()
            .flat_map(|(_, refs)| &mut refs.refs);
        let refs: Vec<&mut ComponentRef> = trigger.component.iter_mut().chain(named).collect();
        let alone = refs.len() == 1;
        let mut number = 1;
        for slot in refs {
            let ComponentRef::Inline(table) = &*slot else {
                continue;
            };
            let at = table.at;
            let taken = |id: &str| components.iter().any(|(taken, _)| taken.value == id);
            let natural = natural
                .clone()
                .filter(|id| alone && check_id(id, Case::Kebab).is_ok() && !taken(id));
            let id = natural
                .unwrap_or_else(|| free(&mut number, |n| format!("inline-component{n}"), taken));
            let id = Spanned::new(at, id);
            if let ComponentRef::Inline(table) =
                std::mem::replace(slot, ComponentRef::Named(id.clone()))
            {
                components.push((id, *table));
            }
        }
    }
}

/// The first free numbered id, counting from `number`.
fn free(number: &mut u32, id: impl Fn(u32) -> String, taken: impl Fn(&str) -> bool) -> String {
    loop {
        let id = id(*number);
        if !taken(&id) {
            return id;
        }
        *number += 1;
    }
}
