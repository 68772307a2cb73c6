//! Objects that cases apply, as a user would write them, without irrelevant fields.

use serde_json::{Value, json};

/// The runtime class of Skiff.
pub(crate) const SKIFF: &str = "skiff";

/// A container of a Wasm application that `skiff push` has packed.
pub(crate) fn wasm(name: &str, image: &str) -> Value {
    json!({
        "name": name,
        "image": image,
        "ports": [{ "name": "http", "containerPort": 80 }],
        "readinessProbe": {
            "httpGet": { "path": "/.well-known/spin/health", "port": 80 },
            "periodSeconds": 1,
        },
    })
}

/// The same under runc: the native server.
pub(crate) fn native(name: &str, image: &str) -> Value {
    json!({
        "name": name,
        "image": image,
        "args": ["[::]:80"],
        "ports": [{ "name": "http", "containerPort": 80 }],
        "readinessProbe": { "httpGet": { "path": "/", "port": 80 }, "periodSeconds": 1 },
    })
}

/// A pod's specification under a runtime class; without one it is the default, runc.
pub(crate) fn spec(class: Option<&str>, containers: &[Value]) -> Value {
    json!({
        "runtimeClassName": class,
        "containers": containers,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
    })
}

/// A pod.
pub(crate) fn pod(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": spec,
    })
}

/// A pod that is not restarted.
pub(crate) fn pod_once(name: &str, spec: Value) -> Value {
    let mut pod = pod(name, spec);
    pod["spec"]["restartPolicy"] = "Never".into();
    pod
}

/// A Deployment. While it rolls, no pod ends before another one is ready.
pub(crate) fn deployment(name: &str, replicas: u32, spec: Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": spec },
        },
    })
}

/// A Job that is tried once.
pub(crate) fn job(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["restartPolicy"] = "Never".into();
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": name },
        "spec": {
            "backoffLimit": 0,
            "template": { "metadata": { "labels": { "app": name } }, "spec": spec },
        },
    })
}

/// A Service of the pods that are labelled with that name.
pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": { "selector": { "app": name }, "ports": [{ "port": 80, "targetPort": 80 }] },
    })
}
