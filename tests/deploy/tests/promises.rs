//! The promises of `deploy/README.md` about Deployments and workloads.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skiff_deploy_tests::documented;
use skiff_deploy_tests::objects;
use skiff_deploy_tests::workloads::{Template, ports, sample};

/// The time for the end of a process after its drain limit.
const TO_EXIT: Duration = Duration::from_secs(5);

/// The default port.
const DEFAULT_PORT: &str = "80";

/// Volumes that PodSecurity's `restricted` allows.
const VOLUMES: [&str; 7] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
];

/// The pods of production: all except the samples' Pods, which are minimal.
fn production() -> Vec<Template> {
    let all = objects::all();
    let least = |template: &Template| template.owner.kind == "Pod";
    let templates = all.iter().filter_map(Template::of);
    templates.filter(|template| !least(template)).collect()
}

fn deployments() -> Vec<(Template, DeploymentSpec)> {
    let deployments = production()
        .into_iter()
        .filter(|template| template.owner.kind == "Deployment");
    deployments
        .map(|template| {
            let deployment: Deployment = template.owner.typed();
            (template, deployment.spec.expect("a specification"))
        })
        .collect()
}

#[test]
fn pods_of_production_pass_pod_security_restricted() {
    let templates = production();
    assert!(templates.len() > 10);
    for template in templates {
        let faults = restricted(&template.spec);
        assert!(faults.is_empty(), "{}: {faults:?}", template.told());
    }
}

/// Violations of `restricted` by a pod.
fn restricted(pod: &PodSpec) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            faults.push(what);
        }
    };
    let host = [pod.host_network, pod.host_pid, pod.host_ipc];
    must(host == [None; 3], "namespaces of the node".to_owned());
    let security = pod.security_context.clone().unwrap_or_default();
    must(
        security.run_as_non_root == Some(true) && security.run_as_user.is_some_and(|id| id > 0),
        "runs as root".to_owned(),
    );
    let profile = security.seccomp_profile.map(|profile| profile.type_);
    must(
        profile.as_deref() == Some("RuntimeDefault"),
        "seccomp".to_owned(),
    );
    let written = serde_json::to_value(pod).expect("it was read");
    for volume in written["volumes"].as_array().into_iter().flatten() {
        let fields = volume.as_object().expect("a volume").keys();
        let kinds = fields.filter(|field| *field != "name");
        for kind in kinds {
            must(VOLUMES.contains(&kind.as_str()), format!("volume {kind}"));
        }
    }
    let first = pod.init_containers.iter().flatten();
    for container in first.chain(&pod.containers) {
        let name = &container.name;
        let security = container.security_context.clone().unwrap_or_default();
        must(
            security.allow_privilege_escalation == Some(false),
            format!("{name} may gain privileges"),
        );
        let drops = security.capabilities.unwrap_or_default();
        must(
            drops.drop.is_some_and(|all| all == ["ALL"]) && drops.add.is_none(),
            format!("{name} has capabilities"),
        );
        must(
            security.read_only_root_filesystem == Some(true),
            format!("{name} may write outside of volumes"),
        );
    }
    faults
}

#[test]
fn an_update_never_has_fewer_pods_than_asked_for() {
    for (template, spec) in deployments() {
        let strategy = spec.strategy.unwrap_or_default();
        if strategy.type_.as_deref() == Some("Recreate") {
            // A claimed volume of one node cannot be in two pods.
            let volumes = template.spec.volumes.unwrap_or_default();
            let claimed = volumes
                .iter()
                .any(|one| one.persistent_volume_claim.is_some());
            assert!(claimed, "{}", template.owner.file);
            continue;
        }
        let rolling = strategy.rolling_update.unwrap_or_default();
        assert_eq!(
            rolling.max_unavailable,
            Some(IntOrString::Int(0)),
            "{}",
            template.told()
        );
        assert_eq!(
            rolling.max_surge,
            Some(IntOrString::Int(1)),
            "{}",
            template.told()
        );
    }
}

#[test]
fn what_takes_requests_is_asked_whether_it_is_ready() {
    for (template, _) in deployments() {
        let serving = template
            .spec
            .containers
            .iter()
            .filter(|one| one.ports.is_some());
        let mut any = false;
        for container in serving {
            any = true;
            let probe = container.readiness_probe.as_ref();
            let probe = probe.and_then(|probe| probe.http_get.as_ref());
            let port = probe.map(|http| http.port.clone());
            assert_eq!(
                port,
                Some(IntOrString::String("http".to_owned())),
                "{}",
                template.told()
            );
        }
        assert!(any, "{} takes no requests", template.told());
    }
}

#[test]
fn requests_have_time_to_finish() {
    let drain = documented::seconds("SKIFF_DRAIN_TIMEOUT");
    for (template, _) in deployments() {
        let grace = template.spec.termination_grace_period_seconds;
        let grace = Duration::from_secs(grace.unwrap_or_default().unsigned_abs());
        let slept = template.spec.containers.iter().map(sleeps).max();
        let needed = slept.unwrap_or_default() + drain + TO_EXIT;
        assert!(
            grace >= needed,
            "{}: {grace:?} is less than {needed:?}",
            template.told()
        );
    }
}

/// Only the kubelet can delay a pod's SIGTERM: images have no program for it.
fn sleeps(container: &Container) -> Duration {
    let hook = container.lifecycle.as_ref();
    let hook = hook.and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let Some(hook) = hook else {
        return Duration::ZERO;
    };
    assert!(
        hook.exec.is_none(),
        "{}: there is no program to execute",
        container.name
    );
    let sleep = hook.sleep.as_ref().map_or(0, |sleep| sleep.seconds);
    Duration::from_secs(sleep.unsigned_abs())
}

#[test]
fn a_container_listens_on_the_port_that_it_names() {
    for template in objects::all().iter().filter_map(Template::of) {
        let serving = template.spec.containers.iter();
        for container in serving.filter(|one| sample(one).is_some() && one.ports.is_some()) {
            let mut variables = container.env.iter().flatten();
            let listen = variables.find(|variable| variable.name == "SKIFF_HTTP_LISTEN_ADDR");
            let listen = listen.and_then(|variable| variable.value.as_deref());
            let port = listen.and_then(|address| address.rsplit(':').next());
            let port = port.unwrap_or(DEFAULT_PORT).parse().expect("a number");
            assert_eq!(
                ports(&template.spec).get("http"),
                Some(&port),
                "{}",
                template.told()
            );
        }
    }
}

#[test]
fn every_container_has_requests_and_a_limit_for_memory() {
    for template in objects::all().iter().filter_map(Template::of) {
        for container in template.containers() {
            let resources = container.resources.clone().unwrap_or_default();
            let requests = resources.requests.unwrap_or_default();
            let limits = resources.limits.unwrap_or_default();
            let given = ["cpu", "memory"]
                .iter()
                .all(|key| requests.contains_key(*key));
            let limited = limits.contains_key("memory");
            assert!(given && limited, "{}: {}", template.told(), container.name);
        }
    }
}
