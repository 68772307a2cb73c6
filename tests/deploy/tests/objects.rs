//! Every YAML file is valid for Kubernetes, and self-contained.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;
use skiff_deploy_tests::objects::{self, Object};
use skiff_deploy_tests::workloads::{Template, needs, ports};
use skiff_deploy_tests::{files, peers};

/// The most comment lines at the top of a file: more are not read before it is applied.
const MOST_COMMENT_LINES: usize = 10;

#[test]
fn every_file_holds_objects_of_its_type_and_loses_nothing() {
    let files = files::applied();
    assert!(files.len() > 20, "only {files:?}");
    for name in files {
        assert!(!objects::of_file(&name).is_empty(), "{name} is empty");
    }
}

#[test]
fn no_two_objects_have_one_name() {
    let mut seen = BTreeMap::new();
    for object in objects::all() {
        let key = (object.kind.clone(), object.name.clone());
        if let Some(other) = seen.insert(key, object.file.clone()) {
            panic!(
                "{} and {other} both have a {} {}",
                object.file, object.kind, object.name
            );
        }
    }
}

#[test]
fn a_file_brings_all_that_its_pods_need() {
    for file in files::applied() {
        let there = objects::of_file(&file);
        for template in there.iter().filter_map(Template::of) {
            for (kind, name) in needs(&template) {
                let found = find(&there, kind, &name);
                assert!(found.is_some(), "{}: no {kind} `{name}`", template.told());
            }
        }
    }
}

#[test]
fn keys_of_secrets_and_config_maps_are_there() {
    for file in files::applied() {
        let there = objects::of_file(&file);
        for template in there.iter().filter_map(Template::of) {
            for variable in template
                .containers()
                .flat_map(|one| one.env.iter().flatten())
            {
                let Some(source) = &variable.value_from else {
                    continue;
                };
                let of_map = source.config_map_key_ref.as_ref();
                let of_map = of_map.map(|key| ("ConfigMap", "data", &key.name, &key.key));
                let of_secret = source.secret_key_ref.as_ref();
                let of_secret = of_secret.map(|key| ("Secret", "stringData", &key.name, &key.key));
                for (kind, field, name, key) in of_map.into_iter().chain(of_secret) {
                    let object = find(&there, kind, name).expect("another test looks for it");
                    let value = &object.value[field][key.as_str()];
                    assert!(value.is_string(), "{file}: {kind} {name} has no `{key}`");
                }
            }
        }
    }
}

#[test]
fn services_find_pods_and_their_ports() {
    for service in objects::all()
        .iter()
        .filter(|object| object.kind == "Service")
    {
        let there = objects::of_file(&service.file);
        let spec = service.typed::<Service>().spec.expect("a specification");
        let selector = spec.selector.unwrap_or_default();
        let chosen: Vec<Template> = there
            .iter()
            .filter_map(Template::of)
            .filter(|template| contains(&template.labels, &selector))
            .collect();
        assert!(!chosen.is_empty(), "{}: no pod is selected", service.file);
        for template in chosen {
            for port in spec.ports.iter().flatten() {
                let Some(IntOrString::String(name)) = &port.target_port else {
                    panic!("{}: targets are named", service.file);
                };
                let known = ports(&template.spec).contains_key(name);
                assert!(known, "{}: no port `{name}`", template.told());
            }
        }
    }
}

#[test]
fn policies_choose_pods_of_their_file() {
    let pointers = [
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ("Deployment", "/spec/selector/matchLabels"),
    ];
    for object in objects::all() {
        let Some((_, pointer)) = pointers.iter().find(|(kind, _)| *kind == object.kind) else {
            continue;
        };
        let labels = object.value.pointer(pointer).cloned().unwrap_or_default();
        let labels: BTreeMap<String, String> = serde_json::from_value(labels).expect("labels");
        let there = objects::of_file(&object.file);
        let mut templates = there.iter().filter_map(Template::of);
        let found = templates.any(|template| contains(&template.labels, &labels));
        assert!(found && !labels.is_empty(), "{}: {labels:?}", object.file);
    }
}

#[test]
fn what_scales_or_routes_names_an_object_of_its_file() {
    for object in objects::all() {
        let named = match object.kind.as_str() {
            "HorizontalPodAutoscaler" => [("Deployment", "/spec/scaleTargetRef/name")],
            "ScaledObject" => [("Deployment", "/spec/scaleTargetRef/name")],
            "Ingress" => [("Service", "/spec/rules/0/http/paths/0/backend/service/name")],
            _ => continue,
        };
        for (kind, pointer) in named {
            let name = object.text(pointer).unwrap_or_default();
            let there = objects::of_file(&object.file);
            let found = find(&there, kind, name);
            assert!(found.is_some(), "{}: no {kind} `{name}`", object.file);
        }
    }
}

#[test]
fn whoever_scales_decides_on_replicas_alone() {
    for object in objects::all() {
        if !["HorizontalPodAutoscaler", "ScaledObject"].contains(&object.kind.as_str()) {
            continue;
        }
        let name = object.text("/spec/scaleTargetRef/name").unwrap_or_default();
        let there = objects::of_file(&object.file);
        let target = find(&there, "Deployment", name).expect("another test looks for it");
        // Each `kubectl apply` would reset it.
        assert_eq!(target.value["spec"]["replicas"], Value::Null, "{name}");
    }
}

#[test]
fn the_classes_agree() {
    let class = &objects::of_file("deploy/runtimeclass.yaml")[0];
    assert_eq!(
        (class.name.as_str(), class.text("/handler")),
        ("skiff", Some("skiff"))
    );
    for template in objects::all().iter().filter_map(Template::of) {
        let named = template.spec.runtime_class_name.as_deref();
        assert_eq!(named, Some("skiff"), "{}", template.told());
    }
    let executor: peers::SpinAppExecutor =
        objects::of_file("deploy/spinkube/executor.yaml")[0].typed();
    assert_eq!(executor.spec.deployment_config.runtime_class_name, "skiff");
    let app: peers::SpinApp = objects::of_file("deploy/spinkube/spinapp.yaml")[0].typed();
    assert_eq!(app.spec.executor, "skiff");
}

/// runtime-class-manager installs the archive's file `containerd-shim-<name>`, and uses
/// that name for its handler, too.
#[test]
fn the_shim_of_runtime_class_manager_names_what_a_release_has() {
    let object = &objects::of_file("deploy/spinkube/shim.yaml")[0];
    let shim: peers::Shim = object.typed();
    assert_eq!(
        format!("containerd-shim-{}", object.name),
        "containerd-shim-skiff-v1"
    );
    assert_eq!(shim.spec.runtime_class.handler, object.name);
    assert_eq!(shim.spec.runtime_class.name, "skiff");
    assert_eq!(shim.spec.fetch_strategy.platforms.len(), 2);
}

#[test]
fn kustomizations_list_every_file_beside_them() {
    let list = |name: &str| -> BTreeSet<String> {
        let kustomization: peers::Kustomization = objects::of_file(name)[0].typed();
        kustomization.resources.into_iter().collect()
    };
    let mut folders = BTreeSet::new();
    for name in files::find("deploy/*/kustomization.yaml") {
        let folder = name.trim_end_matches("/kustomization.yaml");
        let there = files::find(&format!("{folder}/*.yaml"));
        let there = there.iter().filter(|other| **other != name);
        let there: BTreeSet<String> = there
            .map(|other| other[folder.len() + 1..].to_owned())
            .collect();
        assert_eq!(list(&name), there, "{name}");
        folders.insert(folder["deploy/".len()..].to_owned());
    }
    // Its only own file is the RuntimeClass, which the chart creates if it is used.
    assert_eq!(list("deploy/kustomization.yaml"), folders);
}

#[test]
fn a_file_begins_with_few_words() {
    for name in files::yaml() {
        let text = files::read(&name);
        let lines = text.lines().take_while(|line| line.starts_with('#'));
        assert!(lines.count() <= MOST_COMMENT_LINES, "{name}");
    }
}

fn find<'a>(objects: &'a [Object], kind: &str, name: &str) -> Option<&'a Object> {
    let mut all = objects.iter();
    all.find(|object| object.kind == kind && object.name == name)
}

fn contains(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}
