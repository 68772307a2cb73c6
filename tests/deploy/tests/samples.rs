//! Images and samples: each is known, complete, and configured as its manifest requires.

use std::collections::BTreeMap;

use serde_json::Value;
use skiff_deploy_tests::objects;
use skiff_deploy_tests::workloads::{REGISTRY, Template, sample};
use skiff_deploy_tests::{documented, files};

/// The version of everything in this checkout.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Facts of a sample's manifest.
struct Manifest {
    serves: bool,
    version: String,
    /// For each variable, whether it is required.
    variables: BTreeMap<String, bool>,
}

fn samples() -> BTreeMap<String, Manifest> {
    let manifests = files::find("images/*/spin.toml").into_iter().map(|name| {
        let manifest: toml::Table = files::read(&name).parse().expect("a manifest is TOML");
        let table = |key: &str| manifest.get(key).and_then(toml::Value::as_table);
        let required = |variable: &toml::Value| {
            variable.get("required").and_then(toml::Value::as_bool) == Some(true)
        };
        let variables = table("variables").into_iter().flatten();
        let application = table("application").expect("an application");
        let folder = name.rsplit('/').nth(1).expect("a folder").to_owned();
        let manifest = Manifest {
            serves: table("trigger").is_some_and(|triggers| triggers.contains_key("http")),
            version: application["version"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            variables: variables
                .map(|(name, variable)| (name.clone(), required(variable)))
                .collect(),
        };
        (folder, manifest)
    });
    let manifests: BTreeMap<_, _> = manifests.collect();
    assert!(manifests.len() > 5, "samples were not found");
    manifests
}

/// Every image in any YAML file.
fn images() -> Vec<(String, String)> {
    fn collect(value: &Value, images: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value {
                        Value::String(image) if key == "image" => images.push(image.clone()),
                        _ => collect(value, images),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, images)),
            _ => {}
        }
    }
    let mut images = Vec::new();
    for object in objects::all() {
        let mut of_object = Vec::new();
        collect(&object.value, &mut of_object);
        images.extend(
            of_object
                .into_iter()
                .map(|image| (object.file.clone(), image)),
        );
    }
    images
}

#[test]
fn an_image_of_ours_is_a_sample_of_this_version() {
    let samples = samples();
    for (file, image) in images() {
        let Some(ours) = image.strip_prefix(REGISTRY) else {
            continue;
        };
        let (name, tag) = ours.split_once(':').unwrap_or((ours, ""));
        let manifest = samples.get(name);
        let manifest = manifest.unwrap_or_else(|| panic!("{file}: images/{name} does not exist"));
        assert_eq!(
            (tag, manifest.version.as_str()),
            (VERSION, VERSION),
            "{file}"
        );
    }
}

#[test]
fn an_image_of_others_has_a_registry_and_a_version() {
    for (file, image) in images() {
        let (name, tag) = image.rsplit_once(':').unwrap_or((&image, ""));
        let registry = name.split('/').next().unwrap_or_default();
        assert!(
            registry.contains('.'),
            "{file}: {image} depends on the node's settings"
        );
        assert!(tag.chars().any(|c| c.is_ascii_digit()), "{file}: {image}");
    }
}

#[test]
fn nothing_is_called_latest() {
    for name in files::find("deploy/**/*.*") {
        if name.contains("/installer/") || name.contains("/release/") {
            continue;
        }
        for line in files::read(&name).lines() {
            assert!(!line.contains(":latest"), "{name}: {line}");
        }
    }
}

#[test]
fn every_sample_has_a_pod_and_what_it_is_used_as() {
    for (name, manifest) in samples() {
        let kinds = |file: String| -> Vec<String> {
            objects::of_file(&file)
                .into_iter()
                .map(|object| object.kind)
                .collect()
        };
        assert_eq!(kinds(format!("deploy/samples/{name}.yaml")), ["Pod"]);
        if manifest.serves {
            let kinds = kinds(format!("deploy/deployments/{name}.yaml"));
            for kind in ["Deployment", "Service"] {
                assert!(kinds.iter().any(|there| there == kind), "{name}: {kinds:?}");
            }
        } else {
            let jobs = objects::of_file("deploy/workloads/job.yaml");
            let mut jobs = jobs.iter().filter_map(Template::of);
            let used = jobs.any(|job| job.containers().any(|one| sample(one) == Some(&name)));
            assert!(used, "{name} has no Job");
        }
        let readme = files::read(&format!("images/{name}/README.md"));
        assert!(
            readme.contains(&format!("deploy/samples/{name}.yaml")),
            "{name}"
        );
    }
}

#[test]
fn variables_are_those_of_the_manifest_and_required_ones_are_set() {
    const PREFIX: &str = "SPIN_VARIABLE_";
    let samples = samples();
    for template in objects::all().iter().filter_map(Template::of) {
        for container in template.containers() {
            let Some(manifest) = sample(container).and_then(|name| samples.get(name)) else {
                continue;
            };
            let set: Vec<String> = container
                .env
                .iter()
                .flatten()
                .filter_map(|variable| variable.name.strip_prefix(PREFIX))
                .map(str::to_lowercase)
                .collect();
            for name in &set {
                let known = manifest.variables.contains_key(name);
                assert!(known, "{}: no variable `{name}`", template.told());
            }
            for (name, required) in &manifest.variables {
                let missing = *required && !set.contains(name);
                assert!(!missing, "{}: `{name}` is not set", template.told());
            }
        }
    }
}

#[test]
fn settings_are_those_of_the_readme() {
    let settings = documented::settings();
    for template in objects::all().iter().filter_map(Template::of) {
        let variables = template
            .containers()
            .flat_map(|one| one.env.iter().flatten());
        for variable in variables.map(|variable| &variable.name) {
            let looks = variable.starts_with("SKIFF_") || variable.starts_with("SPIN_");
            let value = variable.starts_with("SPIN_VARIABLE_");
            let known = settings.contains_key(variable);
            assert!(!looks || value || known, "{}: {variable}", template.told());
        }
    }
}
