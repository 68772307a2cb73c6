//! Removing Skiff from a cluster, against a fake API with a few objects.

mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use skiff_installer::cluster::{Cluster, KEPT, READY, UNINSTALL, VERSION};
use skiff_installer::exit::ExitCode;
use skiff_installer::give_back::{GiveBackError, Uninstalled, give_back, uninstall};
use skiff_installer::install::InstallError;
use skiff_installer::retire::{RetireError, Retired, retire};
use support::TestNode;

const WITHIN: Duration = Duration::from_secs(5);

/// Short, for a node that never answers; too short for nodes that do.
const SOON_OVER: Duration = Duration::from_millis(200);

/// The pause between two attempts to clear a node.
const PAUSE: Duration = Duration::from_millis(5);

/// A cluster whose nodes do what they are asked, except stuck ones, and those on which
/// pods hold it up.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<Objects>>);

#[derive(Default)]
struct Objects {
    nodes: BTreeMap<String, Value>,
    pods: Vec<Value>,
    stuck: Vec<String>,
    keeping: Vec<String>,
    /// A node that is labelled only when another one is asked.
    late: Option<Value>,
    told: Vec<String>,
}

impl Api {
    fn with_nodes(names: &[&str]) -> Self {
        let api = Self::default();
        for name in names {
            let node = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": { "name": name, "labels": { READY: "true", VERSION: "1.0.0" } },
            });
            api.lock().nodes.insert((*name).to_owned(), node);
        }
        let other = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "other" } });
        api.lock().nodes.insert("other".to_owned(), other);
        api
    }

    fn add_pod(&self, name: &str, class: Option<&str>, phase: &str) {
        self.lock().pods.push(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": { "runtimeClassName": class, "containers": [] },
            "status": { "phase": phase },
        }));
    }

    /// Our labels and annotations of a node.
    fn says(&self, node: &str) -> [bool; 3] {
        let node = self.lock().nodes[node]["metadata"].clone();
        let labels = &node["labels"];
        [
            labels[READY] == "true",
            !labels[VERSION].is_null(),
            node["annotations"][KEPT] == "true",
        ]
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Objects> {
        self.0.lock().expect("no panic")
    }

    fn cluster(&self) -> Cluster {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.expect("a body").to_bytes();
                let answer = api.answer(&head.method, head.uri.path(), &body);
                let answer = Full::new(Bytes::from(answer.to_string()));
                Ok::<_, Infallible>(Response::new(answer))
            }
        });
        Cluster::new(kube::Client::new(service, "default"))
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Value {
        let mut objects = self.lock();
        let list = |kind: &str, items: Vec<Value>| json!({ "apiVersion": "v1", "kind": kind, "metadata": {}, "items": items });
        match (method, path) {
            (&Method::GET, "/api/v1/nodes") => {
                list("NodeList", objects.nodes.values().cloned().collect())
            }
            (&Method::GET, "/api/v1/pods") => list("PodList", objects.pods.clone()),
            (&Method::GET, "/apis/node.k8s.io/v1/runtimeclasses") => {
                let classes = [
                    ("skiff", "skiff"),
                    ("wasmtime-spin-v2", "skiff"),
                    ("kata", "kata"),
                ];
                let classes = classes.map(
                    |(name, handler)| json!({ "metadata": { "name": name }, "handler": handler }),
                );
                list("RuntimeClassList", classes.to_vec())
            }
            (&Method::GET, path) if path.starts_with("/api/v1/nodes/") => {
                let name = path.rsplit('/').next().expect("a name");
                objects.nodes[name].clone()
            }
            (&Method::PATCH, path) => {
                let name = path.rsplit('/').next().expect("a name").to_owned();
                let patch: Value = serde_json::from_slice(body).expect("JSON");
                objects.patch(&name, &patch)
            }
            other => panic!("unexpected request {other:?}"),
        }
    }
}

impl Objects {
    fn patch(&mut self, name: &str, patch: &Value) -> Value {
        let stuck = self.stuck.contains(&name.to_owned());
        let keeping = self.keeping.contains(&name.to_owned());
        let node = self.nodes.get_mut(name).expect("a node");
        merge(node, patch);
        if node["metadata"]["annotations"][UNINSTALL] == "true" {
            self.told.push(name.to_owned());
            if keeping {
                let kept = json!({ "labels": { READY: null }, "annotations": { KEPT: "true" } });
                merge(node, &json!({ "metadata": kept }));
            } else if !stuck {
                let none = json!({ "metadata": { "labels": { READY: null, VERSION: null } } });
                merge(node, &none);
            }
        }
        let node = node.clone();
        if node["metadata"]["annotations"][UNINSTALL] == "true" {
            let late = self.late.take().map(|node| ("late".to_owned(), node));
            self.nodes.extend(late);
        }
        node
    }
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let into = into.as_object_mut().expect("an object");
    for (key, value) in patch {
        if value.is_null() {
            into.remove(key);
        } else {
            merge(into.entry(key).or_insert(Value::Null), value);
        }
    }
}

fn retired(name: &str, keeps: bool) -> Retired {
    let name = name.to_owned();
    Retired { name, keeps }
}

#[tokio::test]
async fn all_labelled_nodes_give_everything_back() {
    let api = Api::with_nodes(&["a", "b"]);
    api.add_pod("native", None, "Running");
    api.add_pod("boxed", Some("kata"), "Running");
    api.add_pod("done", Some("skiff"), "Succeeded");
    let nodes = retire(&api.cluster(), false, WITHIN).await.expect("done");
    assert_eq!(nodes, [retired("a", false), retired("b", false)]);
    let objects = api.lock();
    assert_eq!(objects.told, ["a", "b"]);
    for node in objects.nodes.values() {
        assert_eq!(node["metadata"]["annotations"][UNINSTALL], Value::Null);
    }
}

#[tokio::test]
async fn pods_in_use_stop_it_and_ten_are_named() {
    let api = Api::with_nodes(&["a"]);
    for number in 0..12 {
        let class = if number % 2 == 0 {
            "skiff"
        } else {
            "wasmtime-spin-v2"
        };
        api.add_pod(&format!("web-{number}"), Some(class), "Running");
    }
    let error = retire(&api.cluster(), false, WITHIN).await;
    let error = error.expect_err("in use");
    assert_eq!(error.exit_code(), ExitCode::InUse);
    let text = error.to_string();
    assert!(
        text.starts_with("12 pods, ten of which are named"),
        "{text}"
    );
    assert_eq!(text.matches("shop/web-").count(), 10, "{text}");
    assert!(api.lock().told.is_empty());
    retire(&api.cluster(), true, WITHIN).await.expect("forced");
    assert_eq!(api.lock().told, ["a"]);
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named_and_not_told_for_ever() {
    let api = Api::with_nodes(&["a", "b"]);
    api.lock().stuck.push("b".to_owned());
    let error = retire(&api.cluster(), false, SOON_OVER).await;
    let error = error.expect_err("b is stuck");
    assert!(
        matches!(&error, RetireError::TooLate { nodes, .. } if nodes == &["b"]),
        "{error}"
    );
    let annotation = api.lock().nodes["b"]["metadata"]["annotations"][UNINSTALL].clone();
    assert_eq!(annotation, Value::Null);
}

#[tokio::test]
async fn a_node_on_which_the_first_version_failed_is_told_too() {
    let api = Api::with_nodes(&["a"]);
    let cluster = api.cluster();
    cluster.label("a", "1.0.0", false).await.expect("labelled");
    assert_eq!(api.says("a"), [false, true, false]);
    retire(&cluster, false, WITHIN).await.expect("done");
    assert_eq!(api.lock().told, ["a"]);
    assert_eq!(api.says("a"), [false; 3]);
}

#[tokio::test]
async fn pods_that_still_run_hold_it_up_unless_it_is_forced() {
    let api = Api::with_nodes(&["a", "b"]);
    api.lock().keeping.push("b".to_owned());
    let error = retire(&api.cluster(), false, SOON_OVER).await;
    let error = error.expect_err("b keeps something");
    assert!(
        matches!(&error, RetireError::TooLate { nodes, .. } if nodes == &["b"]),
        "{error}"
    );
    let nodes = retire(&api.cluster(), true, WITHIN).await.expect("forced");
    assert_eq!(nodes, [retired("b", true)]);
    assert_eq!(api.says("b"), [false, true, true]);
}

#[tokio::test]
async fn a_node_that_is_labelled_meanwhile_is_told_too() {
    let api = Api::with_nodes(&["a"]);
    let labels = json!({ "name": "late", "labels": { VERSION: "1.0.0" } });
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": labels });
    api.lock().late = Some(node);
    let nodes = retire(&api.cluster(), false, WITHIN).await.expect("done");
    assert_eq!(nodes, [retired("a", false), retired("late", false)]);
}

fn node() -> TestNode {
    let node = TestNode::of_fixture("kubeadm-containerd-2", "2.1.4");
    let installed = node.installer().install(&node.payload("1.0.0"), false);
    installed.expect("installed");
    node
}

#[tokio::test]
async fn new_pods_go_elsewhere_before_a_node_is_given_back() {
    let api = Api::with_nodes(&["a"]);
    let node = node();
    let cluster = api.cluster();
    let done = give_back(&cluster, "a", PAUSE, async || {
        assert_eq!(api.says("a"), [false, true, false]);
        uninstall(&node.installer())
    });
    done.await.expect("given back");
    assert!(node.installer().is_clear().expect("known"));
    assert_eq!(api.says("a"), [false; 3]);
}

#[tokio::test]
async fn a_version_is_told_until_the_last_pod_on_it_has_ended() {
    let api = Api::with_nodes(&["a"]);
    let node = node();
    node.run(12, "/opt/skiff/1.0.0/skiff");
    let attempts = AtomicU32::new(0);
    let cluster = api.cluster();
    let done = give_back(&cluster, "a", PAUSE, async || {
        match attempts.fetch_add(1, Ordering::Relaxed) {
            0 => assert_eq!(api.says("a"), [false, true, false]),
            1 => assert_eq!(api.says("a"), [false, true, true]),
            _ => node.end(12),
        }
        uninstall(&node.installer())
    });
    done.await.expect("given back");
    assert_eq!(attempts.into_inner(), 3);
    assert!(node.installer().is_clear().expect("known"));
    assert_eq!(api.says("a"), [false; 3]);
}

#[tokio::test]
async fn new_pods_may_come_again_where_an_uninstall_fails_and_is_taken_back() {
    let api = Api::with_nodes(&["a"]);
    let node = node();
    node.containerd.lost_restarts.store(1, Ordering::Relaxed);
    let uninstall = async || uninstall(&node.installer());
    let done = give_back(&api.cluster(), "a", PAUSE, uninstall).await;
    assert!(matches!(
        done,
        Err(GiveBackError::Install(InstallError::Restored(_)))
    ));
    assert_eq!(api.says("a"), [true, true, false]);
    // They may not if containerd stays away, or if they could not before.
    node.containerd.lost_restarts.store(2, Ordering::Relaxed);
    let done = give_back(&api.cluster(), "a", PAUSE, uninstall).await;
    assert!(done.is_err());
    assert_eq!(api.says("a"), [false, true, false]);
    let failed = async || Uninstalled::Failed {
        error: InstallError::NoPrevious { version: None },
        in_use: true,
    };
    let done = give_back(&api.cluster(), "a", PAUSE, failed).await;
    assert!(done.is_err());
    assert_eq!(api.says("a"), [false, true, false]);
}
