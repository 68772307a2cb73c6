//! Writing a locked application.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::model::{
    Application, Component, ContentRef, Dependency, DependencySource, FileMount, Inherit, Trigger,
    Variable,
};
use crate::template::Template;
use crate::trigger;

use super::content::Written;
use super::{COMPONENT_REQUIREMENTS, COMPOSED_BY, MIDDLEWARE, REQUIRED, SERVICE_CHAINING};

/// Writes an application as compact JSON. The same application always gives the same
/// bytes.
///
/// The format cannot express everything: a dependency on a component of the application
/// becomes that component's source, and a file pattern becomes the entry of a folder with
/// that name. Registry packages and excluded files cannot be expressed at all; resolve
/// them first.
pub fn write(application: &Application) -> Vec<u8> {
    let components: Vec<_> = application
        .components
        .iter()
        .map(|component| locked(component, application))
        .collect();
    let requires = components
        .iter()
        .any(|component| !component.host_requirements.is_empty());
    let locked = Locked {
        spin_lock_version: u8::from(requires),
        must_understand: if requires {
            vec![COMPONENT_REQUIREMENTS]
        } else {
            Vec::new()
        },
        metadata: metadata(application),
        variables: application
            .variables
            .iter()
            .map(|(k, v)| (k.as_ref(), variable(v)))
            .collect(),
        triggers: application.triggers.iter().map(trigger).collect(),
        components,
    };
    serde_json::to_vec(&locked).unwrap_or_else(|error| {
        // Only non-string keys and failing writers can cause an error.
        unreachable!("a locked application of strings cannot be written: {error}")
    })
}

#[derive(Serialize)]
struct Locked<'a> {
    spin_lock_version: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    must_understand: Vec<&'static str>,
    metadata: BTreeMap<&'static str, Json>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<&'a str, LockedVariable<'a>>,
    triggers: Vec<LockedTrigger<'a>>,
    components: Vec<LockedComponent<'a>>,
}

#[derive(Serialize)]
struct LockedVariable<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    secret: bool,
}

#[derive(Serialize)]
struct LockedTrigger<'a> {
    id: &'a str,
    trigger_type: &'a str,
    trigger_config: Map<String, Json>,
}

#[derive(Serialize)]
struct LockedComponent<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'static str, Json>,
    source: Written<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<LockedFile<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    config: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    dependencies: BTreeMap<&'a str, LockedDependency<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    trigger_dependencies: BTreeMap<&'a str, Vec<LockedDependency<'a>>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    host_requirements: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
struct LockedFile<'a> {
    #[serde(flatten)]
    content: Written<'a>,
    path: &'a str,
}

#[derive(Serialize)]
struct LockedDependency<'a> {
    source: Written<'a>,
    export: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inherit: Option<Json>,
}

/// Adds an entry unless its value is empty.
fn add<T: Serialize + Default + PartialEq>(
    entries: &mut BTreeMap<&'static str, Json>,
    name: &'static str,
    value: &T,
) {
    if *value != T::default() {
        entries.insert(name, json!(value));
    }
}

fn metadata(application: &Application) -> BTreeMap<&'static str, Json> {
    let mut metadata = BTreeMap::new();
    add(&mut metadata, "name", &application.name);
    add(&mut metadata, "version", &application.version);
    add(&mut metadata, "description", &application.description);
    add(&mut metadata, "authors", &application.authors);
    if let Some(digest) = &application.oci_image_digest {
        metadata.insert("oci_image_digest", json!(digest));
    }
    metadata.insert("triggers", json!(application.trigger_settings));
    let types = application.trigger_types();
    if let (Some(only), 1) = (types.first(), types.len()) {
        let settings = application.trigger_settings.get(*only).cloned();
        // Sorted like all other maps, independent of the order of `serde_json`'s own map.
        let mut trigger: BTreeMap<String, Json> =
            settings.unwrap_or_default().into_iter().collect();
        trigger.insert("type".into(), json!(only));
        metadata.insert("trigger", json!(trigger));
    }
    metadata
}

fn variable(variable: &Variable) -> LockedVariable<'_> {
    LockedVariable {
        description: variable.description.as_deref(),
        default: variable.default.as_deref(),
        secret: variable.secret,
    }
}

fn trigger(trigger: &Trigger) -> LockedTrigger<'_> {
    LockedTrigger {
        id: &trigger.id,
        trigger_type: trigger.trigger_type(),
        trigger_config: trigger::to_json(&trigger.kind),
    }
}

fn locked<'a>(component: &'a Component, application: &'a Application) -> LockedComponent<'a> {
    let dependency = |dependency: &'a Dependency| locked_dependency(dependency, application);
    let around = &component.trigger_dependencies;
    LockedComponent {
        id: &component.id,
        metadata: grants(component, application),
        source: Written::wasm(&component.source),
        env: &component.environment,
        files: component.files.iter().map(file).collect(),
        config: component
            .variables
            .iter()
            .map(|(k, v)| (k.as_ref(), v.text()))
            .collect(),
        dependencies: component
            .dependencies
            .iter()
            .map(|(k, v)| (k.as_str(), dependency(v)))
            .collect(),
        trigger_dependencies: around
            .iter()
            .map(|(role, list)| (role.as_str(), list.iter().map(dependency).collect()))
            .collect(),
        host_requirements: requirements(component),
    }
}

fn grants(component: &Component, application: &Application) -> BTreeMap<&'static str, Json> {
    let hosts: Vec<&str> = component
        .allowed_outbound_hosts
        .iter()
        .map(Template::text)
        .collect();
    let mut metadata = BTreeMap::new();
    add(&mut metadata, "description", &component.description);
    add(&mut metadata, "allowed_outbound_hosts", &hosts);
    add(
        &mut metadata,
        "key_value_stores",
        &component.key_value_stores,
    );
    add(&mut metadata, "databases", &component.databases);
    add(&mut metadata, "ai_models", &component.ai_models);
    if !component.trigger_dependencies.is_empty() {
        let runs = |trigger: &&Trigger| trigger.component() == Some(&component.id);
        if let Some(trigger) = application.triggers.iter().find(runs) {
            metadata.insert(COMPOSED_BY, json!(trigger.trigger_type()));
        }
    }
    metadata
}

fn requirements(component: &Component) -> BTreeMap<&'static str, &'static str> {
    let mut requirements = BTreeMap::new();
    if component.needs_service_chaining() {
        requirements.insert(SERVICE_CHAINING, REQUIRED);
    }
    if component.trigger_dependencies.contains_key(MIDDLEWARE) {
        requirements.insert(MIDDLEWARE, REQUIRED);
    }
    requirements
}

fn file(mount: &FileMount) -> LockedFile<'_> {
    match mount {
        FileMount::Pattern(pattern) => LockedFile {
            content: Written::path(pattern),
            path: pattern,
        },
        FileMount::Placed {
            source,
            destination,
        } => LockedFile {
            content: Written::path(source),
            path: destination,
        },
        FileMount::Content { content, path } => LockedFile {
            content: Written::plain(content),
            path,
        },
    }
}

fn locked_dependency<'a>(
    dependency: &'a Dependency,
    application: &'a Application,
) -> LockedDependency<'a> {
    static NOTHING: ContentRef = ContentRef {
        source: None,
        inline: None,
        digest: None,
        package: None,
    };
    let content = match &dependency.source {
        DependencySource::Content(content) => content,
        DependencySource::Component(id) => application
            .component(id)
            .map_or(&NOTHING, |component| &component.source),
    };
    LockedDependency {
        source: Written::wasm(content),
        export: dependency.export.as_deref(),
        inherit: match &dependency.inherit {
            Inherit::All => Some(json!("All")),
            Inherit::Some(keys) if keys.is_empty() => None,
            Inherit::Some(keys) => Some(json!({ "Some": keys })),
        },
    }
}
