//! Generates arbitrary applications.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value as Json, json};
use skiff_manifest::model::*;
use skiff_manifest::{Template, VariableName, lock};

mod trigger;

use trigger::{place, triggers};

/// The format to generate for: each can express some things that the other cannot.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    Lock,
    Toml,
}

/// An application that locked JSON can express.
pub(crate) fn locked() -> impl Strategy<Value = Application> {
    application(Format::Lock)
}

/// An application that a version 2 manifest can express.
pub(crate) fn manifest() -> impl Strategy<Value = Application> {
    application(Format::Toml)
}

/// A written locked application with some bytes changed.
pub(crate) fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let written = locked().prop_map(|application| lock::write(&application));
    (written, vec((any::<Index>(), any::<u8>()), 0..4)).prop_map(|(mut bytes, changes)| {
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes
    })
}

/// A written manifest with some characters changed.
pub(crate) fn nearly_toml() -> impl Strategy<Value = String> {
    let written = manifest().prop_map(|application| crate::spin_toml::write(&application));
    (written, vec((any::<Index>(), any::<char>()), 0..4)).prop_map(|(text, changes)| {
        let mut chars: Vec<char> = text.chars().collect();
        for (index, char) in changes {
            let index = index.index(chars.len());
            chars[index] = char;
        }
        chars.into_iter().collect()
    })
}

fn application(format: Format) -> impl Strategy<Value = Application> {
    let about = (
        ".{1,9}",
        ".{0,9}",
        ".{0,9}",
        vec(".{0,9}", 0..3),
        option::of("[a-z0-9:]{1,9}"),
    );
    let variables = btree_map(variable_name(), variable(), 0..4);
    (about, variables, settings()).prop_flat_map(move |(about, variables, trigger_settings)| {
        let names: Vec<VariableName> = variables.keys().cloned().collect();
        let components = btree_map(kebab(), component(format, &variables), 1..4);
        let components = components.prop_map(|components| {
            components
                .into_iter()
                .map(|(id, component)| Component { id, ..component })
                .collect::<Vec<_>>()
        });
        (components, triggers(names)).prop_map(move |(components, triggers)| {
            let (name, version, description, authors, digest) = about.clone();
            let mut application = Application {
                name,
                version,
                description,
                authors,
                oci_image_digest: digest.filter(|_| format == Format::Lock),
                variables: variables.clone(),
                trigger_settings: trigger_settings.clone(),
                triggers: place(triggers, &components),
                components,
            };
            if format == Format::Toml {
                one_trigger_asks(&mut application);
            }
            application
        })
    })
}

/// In a manifest, triggers wrap components around another one, which would be copied if
/// several triggers ran it.
fn one_trigger_asks(application: &mut Application) {
    let runs: Vec<String> = application
        .triggers
        .iter()
        .filter_map(|t| t.component().map(str::to_owned))
        .collect();
    for component in &mut application.components {
        let times = runs.iter().filter(|id| **id == component.id).count();
        let asked = component
            .trigger_dependencies
            .values()
            .any(|list| !list.is_empty());
        if times != 1 || !asked {
            component.trigger_dependencies.clear();
        }
    }
}

fn component(
    format: Format,
    variables: &BTreeMap<VariableName, Variable>,
) -> impl Strategy<Value = Component> + use<> {
    let names: Vec<VariableName> = variables.keys().cloned().collect();
    let open = variables
        .iter()
        .filter(|(_, variable)| variable.default.is_none());
    let open: Vec<VariableName> = open.map(|(name, _)| name.clone()).collect();
    let grants = (
        vec(host(open), 0..3),
        vec(label(), 0..3),
        vec(label(), 0..3),
        vec(".{0,9}", 0..2),
        btree_map(variable_name(), template(names), 0..3),
    );
    let content = (
        content(format),
        btree_map(".{0,6}", ".{0,9}", 0..3),
        vec(file(format), 0..3),
        vec("[a-z*/]{1,6}", 0..2),
    );
    let dependencies = (
        btree_map(dependency_name(), dependency(format, true), 0..3),
        btree_map(kebab(), vec(dependency(format, false), 0..3), 0..2),
    );
    (".{0,9}", grants, content, dependencies).prop_map(
        move |(description, grants, content, dependencies)| {
            let (allowed_outbound_hosts, key_value_stores, databases, ai_models, variables) =
                grants;
            let (source, environment, files, exclude_files) = content;
            Component {
                id: String::new(),
                description,
                source,
                environment,
                files,
                exclude_files: if format == Format::Toml {
                    exclude_files
                } else {
                    Vec::new()
                },
                variables,
                allowed_outbound_hosts,
                key_value_stores,
                databases,
                ai_models,
                dependencies: of_different_packages(dependencies.0),
                trigger_dependencies: dependencies.1,
            }
        },
    )
}

/// Keeps one dependency per package.
fn of_different_packages(all: BTreeMap<String, Dependency>) -> BTreeMap<String, Dependency> {
    let mut seen = BTreeSet::new();
    let package = |name: &str| name.split(['/', '@']).next().unwrap_or_default().to_owned();
    all.into_iter()
        .filter(|(name, _)| seen.insert(package(name)))
        .collect()
}

fn dependency(format: Format, export: bool) -> impl Strategy<Value = Dependency> {
    let inherit = prop_oneof![
        Just(Inherit::All),
        vec(
            select(vec!["files".to_owned(), "variables".to_owned()]),
            0..3
        )
        .prop_map(Inherit::Some)
    ];
    (content(format), option::of("[a-z]{1,4}"), inherit).prop_map(move |(source, name, inherit)| {
        Dependency {
            source: DependencySource::Content(source),
            export: name.filter(|_| export),
            inherit,
        }
    })
}

/// With an interface, so that an export may be given.
fn dependency_name() -> impl Strategy<Value = String> {
    prop_oneof![
        kebab(),
        "[a-z]{1,3}:[a-z]{1,3}/[a-z]{1,3}(@[0-9]\\.[0-9]\\.[0-9])?"
    ]
}

fn content(format: Format) -> BoxedStrategy<ContentRef> {
    let digest = "sha256:[0-9a-f]{64}";
    let path = "[a-z./]{1,9}".prop_map(|source| ContentRef {
        source: Some(source),
        ..ContentRef::default()
    });
    match format {
        Format::Lock => {
            let inline = vec(any::<u8>(), 0..9);
            let bytes = (option::of("[a-z:/]{1,9}"), option::of(inline), digest).prop_map(
                |(source, inline, digest)| ContentRef {
                    source,
                    inline,
                    digest: Some(digest),
                    package: None,
                },
            );
            prop_oneof![path, bytes].boxed()
        }
        Format::Toml => {
            let url =
                ("https://[a-z]{1,5}\\.com/[a-z]{0,3}", digest).prop_map(|(source, digest)| {
                    ContentRef {
                        source: Some(source),
                        digest: Some(digest),
                        ..ContentRef::default()
                    }
                });
            let version = "[0-9]\\.[0-9]\\.[0-9](-rc)?";
            let package = (
                option::of("[a-z]{1,4}\\.io"),
                "[a-z]{1,3}:[a-z]{1,3}",
                version,
            );
            let package = package.prop_map(|(registry, package, version)| ContentRef {
                package: Some(Package {
                    registry,
                    package,
                    version,
                }),
                ..ContentRef::default()
            });
            prop_oneof![path, url, package].boxed()
        }
    }
}

fn file(format: Format) -> BoxedStrategy<FileMount> {
    let placed =
        ("[a-z]{1,4}(/[a-z]{1,4}){0,2}", "/[a-z/]{0,6}").prop_map(|(source, destination)| {
            FileMount::Placed {
                source,
                destination,
            }
        });
    match format {
        Format::Lock => {
            let path = "[a-zé]{1,4}(/[a-z]{1,4}){0,2}";
            let content = content(format).prop_filter("a bare path is a placement", |content| {
                content.digest.is_some()
            });
            let content =
                (content, path).prop_map(|(content, path)| FileMount::Content { content, path });
            prop_oneof![placed, content].boxed()
        }
        Format::Toml => {
            let pattern = "[a-z]{1,4}/(\\*\\*/)?[*a-z]{1,4}".prop_map(FileMount::Pattern);
            prop_oneof![placed, pattern].boxed()
        }
    }
}

fn host(open: Vec<VariableName>) -> BoxedStrategy<Template> {
    let literal = select(vec![
        "*://*:*",
        "http://self",
        "https://*.example.com:8000..8010",
        "redis://10.0.0.0/8",
        "http://[::1]:80/",
        "http://cart.spin.internal",
    ]);
    let literal = literal.prop_map(|text| Template::parse(text).expect("a template"));
    if open.is_empty() {
        return literal.boxed();
    }
    let templated = select(open).prop_map(|name| {
        Template::parse(&format!("https://{{{{{name}}}}}:*")).expect("a template")
    });
    prop_oneof![literal, templated].boxed()
}

fn template(names: Vec<VariableName>) -> BoxedStrategy<Template> {
    let literal = "[^{]{0,6}".prop_map(|text| Template::parse(&text).expect("a template"));
    if names.is_empty() {
        return literal.boxed();
    }
    let templated = ("[^{}]{0,3}", select(names), " {0,2}").prop_map(|(text, name, space)| {
        Template::parse(&format!("{text}{{{{{space}{name}{space}}}}}{text}")).expect("a template")
    });
    prop_oneof![literal, templated].boxed()
}

fn variable() -> impl Strategy<Value = Variable> {
    (option::of(".{0,6}"), option::of(".{0,6}"), any::<bool>()).prop_map(
        |(description, default, secret)| Variable {
            description,
            default,
            secret,
        },
    )
}

fn variable_name() -> impl Strategy<Value = VariableName> {
    "[a-z][a-z0-9]{0,3}(_[a-z][a-z0-9]{0,2}){0,2}"
        .prop_map(|name| VariableName::new(&name).expect("a name"))
}

fn settings() -> impl Strategy<Value = BTreeMap<String, Map<String, Json>>> {
    (any::<bool>(), option::of(table())).prop_map(|(base, redis)| {
        let base = base.then(|| {
            (
                "http".to_owned(),
                Map::from_iter([("base".into(), json!("/"))]),
            )
        });
        base.into_iter()
            .chain(redis.map(|table| ("redis".to_owned(), table)))
            .collect()
    })
}

/// A table of values that both formats support, without names of special meaning.
fn table() -> impl Strategy<Value = Map<String, Json>> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<i16>().prop_map(|n| json!(f64::from(n) / 4.0)),
        ".{0,6}".prop_map(Json::from),
    ];
    let value = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Json::from),
            btree_map(".{0,4}", inner, 0..3).prop_map(|map| map.into_iter().collect()),
        ]
    });
    btree_map("x[a-z]{0,4}", value, 0..3).prop_map(|map| map.into_iter().collect())
}

fn kebab() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,3}(-[a-z][a-z0-9]{0,2}){0,2}"
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![kebab(), "[a-z]{1,3}(_[A-Z]{1,3}){0,2}"]
}
