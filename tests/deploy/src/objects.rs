//! Objects of Kubernetes, as written and as typed.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::files;
use crate::peers::{Kustomization, ScaledObject, Shim, SpinApp, SpinAppExecutor};

/// Why Kubernetes would not accept a text without a loss.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Not YAML.
    #[error("it is not YAML")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// Something that is not an object, or one of an unknown type.
    #[error("it has an object of an unknown type: {0}")]
    Unknown(String),
    /// A field of the wrong type, or a required one that is missing.
    #[error("its {kind} is invalid")]
    Typed {
        /// Its declared kind.
        kind: String,
        /// The error.
        source: serde_json::Error,
    },
    /// A field that the type does not have, or a value that it reads as another.
    #[error("its {kind} has `{path}`, which Kubernetes would lose")]
    Lost {
        /// Its declared kind.
        kind: String,
        /// The path of the field.
        path: String,
    },
}

/// One document of a file.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its file.
    pub file: files::Name,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The object as written.
    pub value: Value,
}

impl Object {
    /// The object as its type, which was checked when it was read.
    ///
    /// # Panics
    ///
    /// If it is of another kind.
    pub fn typed<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.value.clone())
            .unwrap_or_else(|error| panic!("{}: {} {}: {error}", self.file, self.kind, self.name))
    }

    /// The text at a JSON pointer, or none.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer)?.as_str()
    }
}

/// The objects of a file, each checked against its type.
///
/// # Panics
///
/// If one of them is invalid, with the reason.
pub fn of_file(name: &str) -> Vec<Object> {
    let objects = parse(&files::read(name)).unwrap_or_else(|error| {
        let cause = std::error::Error::source(&error);
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        panic!("{name}: {error}{cause}")
    });
    let named = |value: Value| {
        let text = |pointer: &str| value.pointer(pointer)?.as_str().map(str::to_owned);
        Object {
            file: name.to_owned(),
            kind: text("/kind").unwrap_or_default(),
            name: text("/metadata/name").unwrap_or_default(),
            value,
        }
    };
    objects.into_iter().map(named).collect()
}

/// The objects of every file that is applied.
pub fn all() -> Vec<Object> {
    files::applied()
        .iter()
        .flat_map(|name| of_file(name))
        .collect()
}

/// Reads a text of one or more documents and checks each against its type.
///
/// # Errors
///
/// The error of the first invalid one.
pub fn parse(text: &str) -> Result<Vec<Value>, ObjectError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| ObjectError::Yaml(Box::new(error)))?;
    for document in &documents {
        check(document)?;
    }
    Ok(documents)
}

fn check(value: &Value) -> Result<(), ObjectError> {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    match (version.as_str(), kind.as_str()) {
        ("v1", "ConfigMap") => keeps::<ConfigMap>(value),
        ("v1", "PersistentVolumeClaim") => keeps::<PersistentVolumeClaim>(value),
        ("v1", "Pod") => keeps::<Pod>(value),
        ("v1", "Secret") => keeps::<Secret>(value),
        ("v1", "Service") => keeps::<Service>(value),
        ("apps/v1", "Deployment") => keeps::<Deployment>(value),
        ("autoscaling/v2", "HorizontalPodAutoscaler") => keeps::<HorizontalPodAutoscaler>(value),
        ("batch/v1", "CronJob") => keeps::<CronJob>(value),
        ("batch/v1", "Job") => keeps::<Job>(value),
        ("networking.k8s.io/v1", "Ingress") => keeps::<Ingress>(value),
        ("networking.k8s.io/v1", "NetworkPolicy") => keeps::<NetworkPolicy>(value),
        ("node.k8s.io/v1", "RuntimeClass") => keeps::<RuntimeClass>(value),
        ("policy/v1", "PodDisruptionBudget") => keeps::<PodDisruptionBudget>(value),
        ("keda.sh/v1alpha1", "ScaledObject") => keeps::<ScaledObject>(value),
        ("core.spinkube.dev/v1alpha1", "SpinApp") => keeps::<SpinApp>(value),
        ("core.spinkube.dev/v1alpha1", "SpinAppExecutor") => keeps::<SpinAppExecutor>(value),
        ("runtime.spinkube.dev/v1alpha1", "Shim") => keeps::<Shim>(value),
        ("kustomize.config.k8s.io/v1beta1", "Kustomization") => keeps::<Kustomization>(value),
        _ => Err(ObjectError::Unknown(format!("{version} {kind}"))),
    }
}

/// Kubernetes types ignore unknown fields, so the object is serialised again: fields that
/// disappear were unknown.
fn keeps<T: DeserializeOwned + Serialize>(value: &Value) -> Result<(), ObjectError> {
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    let written = serde_json::from_value::<T>(value.clone())
        .and_then(|typed| serde_json::to_value(typed))
        .map_err(|source| ObjectError::Typed {
            kind: kind.clone(),
            source,
        })?;
    match lost(value, &written) {
        Some(path) => Err(ObjectError::Lost { kind, path }),
        None => Ok(()),
    }
}

/// The path of the first field of `before` that `after` lacks or changes.
fn lost(before: &Value, after: &Value) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before.iter().find_map(|(key, value)| {
            let inner = lost(value, after.get(key).unwrap_or(&Value::Null))?;
            Some(format!(".{key}{inner}"))
        }),
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            let mut pairs = before.iter().zip(after).enumerate();
            pairs.find_map(|(index, (before, after))| {
                Some(format!("[{index}]{}", lost(before, after)?))
            })
        }
        _ => (before != after).then(String::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text).expect_err("it is wrong").to_string()
    }

    #[test]
    fn a_field_that_kubernetes_does_not_know_is_named() {
        let text = "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, imagge: b}]}}";
        let told = refused(text);
        assert!(told.contains("`.spec.containers[0].imagge`"), "{told}");
    }

    #[test]
    fn an_empty_list_is_not_lost() {
        let text = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {}, egress: []}}";
        parse(text).expect("a policy that allows nothing");
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        let told = refused("{apiVersion: v1, kind: Pod, kind: Pod}");
        assert!(told.contains("not YAML"), "{told}");
    }

    #[test]
    fn a_type_that_nobody_knows_is_refused() {
        assert!(refused("{apiVersion: v1, kind: Podd}").contains("v1 Podd"));
    }
}
