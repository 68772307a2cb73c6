//! The pods of objects.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::objects::Object;

/// The registry of the samples.
pub const REGISTRY: &str = "ghcr.io/skiff-dev/samples/";

/// A pod of an object.
#[derive(Debug, Clone)]
pub struct Template {
    /// The object.
    pub owner: Object,
    /// Labels of the pod.
    pub labels: BTreeMap<String, String>,
    /// The pod itself.
    pub spec: PodSpec,
}

impl Template {
    /// The pod of an object, if its kind has one.
    pub fn of(object: &Object) -> Option<Self> {
        let (metadata, spec) = match object.kind.as_str() {
            "Pod" => {
                let pod: Pod = object.typed();
                (Some(pod.metadata), pod.spec)
            }
            "Deployment" => {
                let template = object.typed::<Deployment>().spec?.template;
                (template.metadata, template.spec)
            }
            "Job" => {
                let template = object.typed::<Job>().spec?.template;
                (template.metadata, template.spec)
            }
            "CronJob" => {
                let job = object.typed::<CronJob>().spec?.job_template.spec?;
                (job.template.metadata, job.template.spec)
            }
            _ => return None,
        };
        Some(Self {
            owner: object.clone(),
            labels: metadata?.labels.unwrap_or_default(),
            spec: spec?,
        })
    }

    /// All its containers, including init containers.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        let first = self.spec.init_containers.iter().flatten();
        first.chain(&self.spec.containers)
    }

    /// Its name in messages.
    pub fn told(&self) -> String {
        let Object {
            file, kind, name, ..
        } = &self.owner;
        format!("{file}: {kind} {name}")
    }
}

/// The sample that a container runs, if any.
pub fn sample(container: &Container) -> Option<&str> {
    let image = container.image.as_deref()?;
    image.strip_prefix(REGISTRY)?.split([':', '@']).next()
}

/// The names of a pod's ports, with their numbers.
pub fn ports(spec: &PodSpec) -> BTreeMap<String, i32> {
    let ports = spec
        .containers
        .iter()
        .flat_map(|one| one.ports.iter().flatten());
    ports
        .filter_map(|port| Some((port.name.clone()?, port.container_port)))
        .collect()
}

/// The objects that a pod needs: ConfigMaps, Secrets and claims, as kind and name.
pub fn needs(template: &Template) -> BTreeSet<(&'static str, String)> {
    let mut needs = BTreeSet::new();
    for volume in template.spec.volumes.iter().flatten() {
        if let Some(source) = &volume.config_map {
            needs.insert(("ConfigMap", source.name.clone()));
        }
        if let Some(source) = &volume.secret {
            needs.insert(("Secret", source.secret_name.clone().unwrap_or_default()));
        }
        if let Some(source) = &volume.persistent_volume_claim {
            needs.insert(("PersistentVolumeClaim", source.claim_name.clone()));
        }
    }
    for variable in template
        .containers()
        .flat_map(|one| one.env.iter().flatten())
    {
        let Some(source) = &variable.value_from else {
            continue;
        };
        if let Some(key) = &source.config_map_key_ref {
            needs.insert(("ConfigMap", key.name.clone()));
        }
        if let Some(key) = &source.secret_key_ref {
            needs.insert(("Secret", key.name.clone()));
        }
    }
    needs
}
