//! What must hold for the chart's objects with any values.

use serde_json::{Value, json};
use skiff_chart_tests::cases::{self, Case};
use skiff_chart_tests::chart;
use skiff_chart_tests::helm::{Helm, objects};

/// Every object of every case, with the case.
fn all() -> Vec<(Case, Vec<Value>)> {
    let helm = Helm::new().unwrap();
    let cases = cases::rendered().unwrap().into_iter();
    let render = |case: Case| {
        let rendered = helm.template(&chart(), &case.values).unwrap();
        let objects = objects(&rendered).unwrap();
        (case, objects)
    };
    cases.map(render).collect()
}

/// The pod of an object, itself or its template.
fn pod(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "Pod" => Some(&object["spec"]),
        "DaemonSet" | "Job" => Some(&object["spec"]["template"]["spec"]),
        _ => None,
    }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainers", "containers"];
    lists
        .into_iter()
        .flat_map(|list| pod[list].as_array().into_iter().flatten())
}

#[test]
fn no_image_can_change_under_its_name_unseen() {
    for (case, objects) in all() {
        for container in objects.iter().filter_map(pod).flat_map(containers) {
            let image = container["image"].as_str().unwrap();
            let (_, last) = image.rsplit_once('/').unwrap();
            let (_, version) = last.split_once([':', '@']).expect("a tag or a digest");
            assert_ne!(version, "latest", "{}: {image}", case.name);
        }
    }
}

#[test]
fn all_pods_but_the_installers_keep_to_the_restricted_level() {
    for (case, objects) in all() {
        for object in objects
            .iter()
            .filter(|object| object["kind"] != "DaemonSet")
        {
            let Some(pod) = pod(object) else { continue };
            for key in ["hostPID", "hostIPC", "hostNetwork", "volumes"] {
                assert!(pod[key].is_null(), "{}: {key} of {object}", case.name);
            }
            for container in containers(pod) {
                let security = &container["securityContext"];
                assert_eq!(security["runAsNonRoot"], true, "{container}");
                assert_eq!(security["allowPrivilegeEscalation"], false, "{container}");
                assert_eq!(security["capabilities"]["drop"][0], "ALL", "{container}");
                assert!(security["capabilities"]["add"].is_null(), "{container}");
                assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
            }
        }
    }
}

#[test]
fn no_installer_is_privileged_or_can_become_more_than_it_is() {
    for (case, objects) in all() {
        let daemons = objects
            .iter()
            .filter(|object| object["kind"] == "DaemonSet");
        for container in daemons.filter_map(pod).flat_map(containers) {
            let security = &container["securityContext"];
            assert_eq!(security["privileged"], false, "{}", case.name);
            assert_eq!(security["allowPrivilegeEscalation"], false, "{}", case.name);
            assert_eq!(security["readOnlyRootFilesystem"], true, "{}", case.name);
            let capabilities =
                json!({"drop": ["ALL"], "add": ["CHOWN", "SYS_CHROOT", "SYS_PTRACE"]});
            assert_eq!(security["capabilities"], capabilities, "{}", case.name);
        }
    }
}

#[test]
fn upgrades_go_on_only_while_nodes_are_ready() {
    for (case, objects) in all() {
        for daemon in objects
            .iter()
            .filter(|object| object["kind"] == "DaemonSet")
        {
            let strategy = &daemon["spec"]["updateStrategy"];
            assert_eq!(strategy["type"], "RollingUpdate", "{}", case.name);
            assert_eq!(strategy["rollingUpdate"]["maxSurge"], 0, "{}", case.name);
            let container = &daemon["spec"]["template"]["spec"]["containers"][0];
            assert!(container["readinessProbe"].is_object(), "{}", case.name);
        }
    }
}

#[test]
fn each_daemonset_selects_its_own_pods_alone() {
    for (case, objects) in all() {
        let daemons: Vec<_> = objects
            .iter()
            .filter(|object| object["kind"] == "DaemonSet")
            .collect();
        for one in &daemons {
            let wanted = one["spec"]["selector"]["matchLabels"].as_object().unwrap();
            let selected = daemons.iter().filter(|other| {
                let labels = &other["spec"]["template"]["metadata"]["labels"];
                wanted.iter().all(|(key, value)| labels[key] == *value)
            });
            assert_eq!(selected.count(), 1, "{}: {wanted:?}", case.name);
        }
    }
}
