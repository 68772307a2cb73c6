//! Objects of KEDA, SpinKube and kustomize, as far as files here use them. Fields are
//! those of their definitions; others are refused.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// An object of a custom resource.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Custom<S> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    /// The spec.
    pub spec: S,
}

/// `keda.sh/v1alpha1`: a workload that is scaled.
pub type ScaledObject = Custom<ScaledObjectSpec>;
/// `runtime.spinkube.dev/v1alpha1`: a shim that runtime-class-manager installs.
pub type Shim = Custom<ShimSpec>;
/// `core.spinkube.dev/v1alpha1`: an application that spin-operator runs.
pub type SpinApp = Custom<SpinAppSpec>;
/// `core.spinkube.dev/v1alpha1`: how spin-operator runs them.
pub type SpinAppExecutor = Custom<ExecutorSpec>;

/// What KEDA scales, and the triggers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScaledObjectSpec {
    scale_target_ref: ScaleTarget,
    min_replica_count: u32,
    max_replica_count: u32,
    cooldown_period: u32,
    triggers: Vec<Trigger>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScaleTarget {
    name: String,
}

/// Values of `metadata` are strings, even numbers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Trigger {
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric_type: Option<String>,
    metadata: BTreeMap<String, String>,
}

/// The source and the target of a shim.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ShimSpec {
    /// The nodes it is installed on.
    pub node_selector: BTreeMap<String, String>,
    /// The source of its program.
    pub fetch_strategy: FetchStrategy,
    /// Texts that are written unchanged into containerd's configuration.
    pub containerd_runtime_options: BTreeMap<String, String>,
    /// Its RuntimeClass.
    pub runtime_class: ShimClass,
    rollout_strategy: RolloutStrategy,
}

/// The source of a program.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchStrategy {
    /// One archive for each kind of node.
    pub platforms: Vec<PlatformArtifact>,
}

/// An archive for one kind of node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformArtifact {
    os: Os,
    arch: Arch,
    /// Its URL.
    pub location: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Os {
    Linux,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Arch {
    Amd64,
    Arm64,
}

/// A RuntimeClass's name and handler.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShimClass {
    /// The name in pods.
    pub name: String,
    /// The name in containerd's configuration.
    pub handler: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RolloutStrategy {
    r#type: Rollout,
}

/// The other one, `rolling`, is defined but not implemented there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rollout {
    Recreate,
}

/// An application of spin-operator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpinAppSpec {
    image: String,
    /// The name of the executor.
    pub executor: String,
    replicas: u32,
    checks: Checks,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checks {
    readiness: Check,
    liveness: Check,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Check {
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_delay_seconds: Option<u32>,
    http_get: CheckPath,
}

/// The operator sets the port. Headers are required, but may be empty.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CheckPath {
    path: String,
    http_headers: Vec<BTreeMap<String, String>>,
}

/// How spin-operator runs applications.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExecutorSpec {
    create_deployment: bool,
    /// The settings of its Deployments.
    pub deployment_config: DeploymentConfig,
}

/// The settings common to all Deployments of an executor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DeploymentConfig {
    /// The RuntimeClass of their pods.
    pub runtime_class_name: String,
}

/// A kustomization.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Kustomization {
    api_version: String,
    kind: String,
    /// Files and folders beside it.
    pub resources: Vec<String>,
}
