//! What is written to the cluster's API about nodes, and what is read from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Event, EventSource, Node, ObjectReference, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{
    Api, ListParams, Patch, PatchParams, PostParams, ResourceExt, WatchEvent, WatchParams,
};
use kube::core::PartialObjectMeta;
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::HANDLER;

/// The label of nodes on which a check has passed.
pub const READY: &str = "skiff.dev/ready";

/// The label with the version that new pods of a node run on. It is set before anything
/// of Skiff is on the node, and removed after everything is gone.
pub const VERSION: &str = "skiff.dev/version";

/// The annotation that asks a node to remove Skiff.
pub const UNINSTALL: &str = "skiff.dev/uninstall";

/// The annotation of a node that was asked to remove Skiff and keeps a version on which
/// pods still run.
pub const KEPT: &str = "skiff.dev/kept";

/// The reporting component of events.
const COMPONENT: &str = "skiff-installer";

/// The namespace of nodes' events, as nodes have none.
const EVENTS_OF_NODES: &str = "default";

/// The longest text of an event.
pub const LONGEST_MESSAGE: usize = 1024;

/// How long one watch lasts. The server then ends it, and it is started again.
const WATCH_SECONDS: u32 = 290;

/// How many pods are listed at once.
const PAGE: u32 = 500;

/// What can go wrong with the cluster's API.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Its address is unknown.
    #[error("cannot find the cluster's API")]
    Config(#[source] Box<kube::config::InferConfigError>),
    /// It does not answer, or refuses.
    #[error("cannot {what}")]
    Call {
        /// The attempted action.
        what: &'static str,
        /// The error.
        source: Box<kube::Error>,
    },
    /// The node does not exist.
    #[error("the cluster has no node `{0}`")]
    NoNode(String),
}

/// The state of a labelled node, from its labels and annotations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labelled {
    /// The node's name.
    pub name: String,
    /// Whether new pods may come.
    pub is_ready: bool,
    /// Whether it still has its version's label.
    pub has_version: bool,
    /// Whether it has removed everything that its pods do not need.
    pub keeps: bool,
    /// Whether it was asked to remove Skiff.
    pub to_uninstall: bool,
}

impl Labelled {
    fn of(meta: &PartialObjectMeta<Node>) -> Self {
        Self {
            name: meta.name_any(),
            is_ready: is_true(meta.labels(), READY),
            has_version: meta.labels().contains_key(VERSION),
            keeps: is_true(meta.annotations(), KEPT),
            to_uninstall: is_true(meta.annotations(), UNINSTALL),
        }
    }
}

fn is_true(values: &BTreeMap<String, String>, key: &str) -> bool {
    values.get(key).map(String::as_str) == Some("true")
}

/// A connection to the cluster's API. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl Debug for Cluster {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster of this pod, or of the kubeconfig.
    ///
    /// # Errors
    ///
    /// If there is neither.
    pub async fn find() -> Result<Self, ClusterError> {
        let config = Config::infer()
            .await
            .map_err(|error| ClusterError::Config(Box::new(error)))?;
        let client = Client::try_from(config).map_err(failed("set up a connection"))?;
        Ok(Self { client })
    }

    /// The cluster behind a client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// What a node's labels and annotations say.
    ///
    /// # Errors
    ///
    /// If there is no such node, or the API does not answer.
    pub async fn node(&self, name: &str) -> Result<Labelled, ClusterError> {
        let found = self.nodes().get_metadata_opt(name).await;
        let found = found.map_err(failed("read the node"))?;
        let node = found.ok_or_else(|| ClusterError::NoNode(name.to_owned()))?;
        Ok(Labelled::of(&node))
    }

    /// Returns when a node is asked to remove Skiff.
    ///
    /// # Errors
    ///
    /// If the API does not answer, or the watch breaks off. It may be started again.
    pub async fn told_to_uninstall(&self, name: &str) -> Result<(), ClusterError> {
        const WHAT: &str = "watch the node";
        let params = WatchParams::default()
            .fields(&format!("metadata.name={name}"))
            .timeout(WATCH_SECONDS);
        loop {
            // With version 0 a watch begins with the current state.
            let events = self.nodes().watch_metadata(&params, "0").await;
            let mut events = std::pin::pin!(events.map_err(failed(WHAT))?);
            while let Some(event) = events.try_next().await.map_err(failed(WHAT))? {
                match event {
                    WatchEvent::Added(node) | WatchEvent::Modified(node)
                        if Labelled::of(&node).to_uninstall =>
                    {
                        return Ok(());
                    }
                    WatchEvent::Error(status) => {
                        let status = kube::Error::Api(status);
                        return Err(failed(WHAT)(status));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Labels a node with the version on which its pods run, and whether new ones
    /// may come.
    ///
    /// # Errors
    ///
    /// If the API does not take it.
    pub async fn label(&self, name: &str, version: &str, ready: bool) -> Result<(), ClusterError> {
        let ready = ready.then_some("true");
        self.patch(
            name,
            json!({
                "labels": { READY: ready, VERSION: version },
                "annotations": { KEPT: null },
            }),
        )
        .await
    }

    /// Sets only whether new pods may come to a node.
    ///
    /// # Errors
    ///
    /// If the API does not take it.
    pub async fn set_ready(&self, name: &str, ready: bool) -> Result<(), ClusterError> {
        let ready = ready.then_some("true");
        self.patch(name, json!({ "labels": { READY: ready } }))
            .await
    }

    /// Marks a node that keeps a version on which pods still run.
    ///
    /// # Errors
    ///
    /// If the API does not take it.
    pub async fn tell_kept(&self, name: &str) -> Result<(), ClusterError> {
        self.patch(name, json!({ "annotations": { KEPT: "true" } }))
            .await
    }

    /// Removes the labels of a node.
    ///
    /// # Errors
    ///
    /// If the API does not take it.
    pub async fn unlabel(&self, name: &str) -> Result<(), ClusterError> {
        self.patch(
            name,
            json!({
                "labels": { READY: null, VERSION: null },
                "annotations": { KEPT: null },
            }),
        )
        .await
    }

    /// Asks a node to remove Skiff, or withdraws that request.
    ///
    /// # Errors
    ///
    /// If the API does not take it.
    pub async fn tell_uninstall(&self, name: &str, wanted: bool) -> Result<(), ClusterError> {
        let value = if wanted { json!("true") } else { Value::Null };
        self.patch(name, json!({ "annotations": { UNINSTALL: value } }))
            .await
    }

    async fn patch(&self, name: &str, metadata: Value) -> Result<(), ClusterError> {
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let patched = self
            .nodes()
            .patch_metadata(name, &PatchParams::default(), &patch)
            .await;
        patched.map(drop).map_err(failed("change the node"))
    }

    /// All nodes with a version's label, or that are asked to remove Skiff.
    ///
    /// # Errors
    ///
    /// If the API does not answer.
    pub async fn labelled(&self) -> Result<Vec<Labelled>, ClusterError> {
        let nodes = self.nodes().list_metadata(&ListParams::default()).await;
        let nodes = nodes.map_err(failed("list nodes"))?;
        let nodes = nodes.iter().map(Labelled::of);
        Ok(nodes
            .filter(|node| node.has_version || node.to_uninstall)
            .collect())
    }

    /// Pods that have not ended and name our handler by one of its RuntimeClasses,
    /// each as `namespace/name`.
    ///
    /// # Errors
    ///
    /// If the API does not answer.
    pub async fn pods_in_use(&self) -> Result<Vec<String>, ClusterError> {
        let classes: Api<RuntimeClass> = Api::all(self.client.clone());
        let classes = classes.list(&ListParams::default()).await;
        let classes = classes.map_err(failed("list RuntimeClasses"))?;
        let ours: BTreeSet<String> = classes
            .iter()
            .filter(|class| class.handler == HANDLER)
            .map(ResourceExt::name_any)
            .collect();
        let pods: Api<Pod> = Api::all(self.client.clone());
        let mut params = ListParams::default().limit(PAGE);
        let mut found = Vec::new();
        loop {
            let page = pods.list(&params).await.map_err(failed("list pods"))?;
            let using = page.items.iter().filter(|pod| uses(pod, &ours));
            found.extend(using.map(|pod| {
                let namespace = pod.namespace().unwrap_or_default();
                format!("{namespace}/{}", pod.name_any())
            }));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(found),
            }
        }
    }

    /// Writes an event of a node, which `kubectl describe node` shows.
    ///
    /// # Errors
    ///
    /// If the API does not take it.
    pub async fn tell(&self, node: &str, reason: &str, message: &str) -> Result<(), ClusterError> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), EVENTS_OF_NODES);
        let now = Some(Time(Timestamp::now()));
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{node}.skiff-")),
                ..ObjectMeta::default()
            },
            // Events refer to a node by its name, where other objects have a uid.
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                uid: Some(node.to_owned()),
                ..ObjectReference::default()
            },
            reason: Some(reason.to_owned()),
            message: Some(message.chars().take(LONGEST_MESSAGE).collect()),
            type_: Some("Warning".to_owned()),
            count: Some(1),
            first_timestamp: now.clone(),
            last_timestamp: now,
            source: Some(EventSource {
                component: Some(COMPONENT.to_owned()),
                host: Some(node.to_owned()),
            }),
            ..Event::default()
        };
        let told = events.create(&PostParams::default(), &event).await;
        told.map(drop).map_err(failed("write an event"))
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }
}

fn uses(pod: &Pod, classes: &BTreeSet<String>) -> bool {
    let class = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.runtime_class_name.as_ref());
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    class.is_some_and(|class| classes.contains(class))
        && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn failed(what: &'static str) -> impl Fn(kube::Error) -> ClusterError {
    move |source| ClusterError::Call {
        what,
        source: Box::new(source),
    }
}
