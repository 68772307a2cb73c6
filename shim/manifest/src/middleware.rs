//! Components that a trigger wraps around the one it runs.

use std::collections::BTreeMap;

use crate::model::{Application, Component, Dependency};

/// A trigger's dependencies, by role.
pub(crate) type ByRole = BTreeMap<String, Vec<Dependency>>;

/// Moves the triggers' dependencies to the components they run, because composition works
/// per component. `asked` has an entry for each trigger. If other triggers run the same
/// component, it is copied first, so that they keep the plain one.
pub(crate) fn assign(application: &mut Application, asked: Vec<ByRole>) {
    // Read before any trigger is changed, so that all triggers sharing a component leave
    // the plain one unchanged.
    let runs: Vec<Option<String>> = application
        .triggers
        .iter()
        .map(|trigger| trigger.component().map(str::to_owned))
        .collect();
    for (index, roles) in asked.into_iter().enumerate() {
        let Some(id) = runs[index].clone() else {
            continue;
        };
        if roles.values().all(Vec::is_empty) {
            continue;
        }
        let shared = runs.iter().flatten().filter(|other| **other == id).count() > 1;
        let target = match shared {
            true => copy(application, &id, index),
            false => id,
        };
        if let Some(component) = application.components.iter_mut().find(|c| c.id == target) {
            component.trigger_dependencies = roles;
        }
    }
}

/// Copies a component for one trigger, under a new id.
fn copy(application: &mut Application, id: &str, trigger: usize) -> String {
    let natural = format!("{id}-for-{}", application.triggers[trigger].id);
    let taken = |id: &str| application.component(id).is_some();
    let numbered = (1..).map(|n: u32| format!("{natural}-d{n}"));
    let new = std::iter::once(natural.clone())
        .chain(numbered)
        .find(|id| !taken(id));
    let new = new.unwrap_or(natural);
    if let Some(original) = application.component(id) {
        let copied = Component {
            id: new.clone(),
            ..original.clone()
        };
        application.components.push(copied);
    }
    application.triggers[trigger].kind.run(&new);
    new
}
