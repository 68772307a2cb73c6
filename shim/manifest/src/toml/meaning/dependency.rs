//! The meaning of the dependencies of components and triggers.

use std::collections::BTreeMap;

use semver::VersionReq;

use crate::check::{component_exists, passed};
use crate::dependency_name::DependencyName;
use crate::fields::Ask;
use crate::middleware::ByRole;
use crate::model::{ContentRef, Dependency, DependencySource, Inherit};
use crate::node::Spanned;

use super::super::dependency::{
    DependencyForm, DependencyTable, InheritValue, TriggerDependencyTable,
};
use super::super::written::ComponentTable;
use super::component::{package, package_source, path_source, url_source};

type Components = [(Spanned<String>, ComponentTable)];

/// The dependencies of a component, by name.
pub(super) fn of_component(
    table: &ComponentTable,
    all: &Components,
    ask: &Ask<'_>,
) -> Option<BTreeMap<String, Dependency>> {
    let for_all = table.dependencies_inherit_configuration.as_ref();
    if let Some(flag) = for_all
        && table
            .dependencies
            .iter()
            .any(|(_, dependency)| dependency.inherit.is_some())
    {
        ask.fault(
            flag.at,
            "must not have both `dependencies_inherit_configuration` and an \
             `inherit_configuration` of a dependency",
        );
    }
    let ask = ask.field("dependencies");
    let mut names: Vec<(&str, DependencyName)> = Vec::new();
    let mut checked = Vec::new();
    for (name, dependency) in &table.dependencies {
        let ask = ask.field(&name.value);
        let parsed = passed(DependencyName::parse(&name.value), name.at, &ask);
        if let Some(parsed) = &parsed {
            if let Some((other, _)) = names.iter().find(|(_, other)| other.overlaps(parsed)) {
                let message = format!(
                    "conflicts with `{other}`; names of one package must differ in the interface \
                     or in incompatible versions"
                );
                ask.fault(name.at, message);
            }
            names.push((&name.value, parsed.clone()));
        }
        let mut dependency = read(parsed.as_ref(), dependency, all, &ask);
        if let (Some(dependency), Some(Spanned { value: true, .. })) = (&mut dependency, for_all) {
            dependency.inherit = Inherit::All;
        }
        checked.push(Some(name.value.clone()).zip(dependency));
    }
    checked.into_iter().collect()
}

/// The components that a trigger wraps around its own, by role. Empty if it is wrong.
pub(super) fn of_trigger(
    written: &[(Spanned<String>, Vec<TriggerDependencyTable>)],
    all: &Components,
    ask: &Ask<'_>,
) -> ByRole {
    let ask = ask.field("dependencies");
    let mut roles = ByRole::new();
    for (role, dependencies) in written {
        let ask = ask.field(&role.value);
        let read = |TriggerDependencyTable(table): &_| read(None, table, all, &ask);
        roles.insert(
            role.value.clone(),
            dependencies.iter().filter_map(read).collect(),
        );
    }
    roles
}

/// `name` is the dependency's name, if it is known and valid.
fn read(
    name: Option<&DependencyName>,
    table: &DependencyTable,
    all: &Components,
    ask: &Ask<'_>,
) -> Option<Dependency> {
    if let (
        Some(DependencyName::Package {
            interface: None, ..
        }),
        Some(export),
    ) = (name, &table.export)
    {
        let message = "cannot be given for a whole package; name an interface of it";
        ask.field("export").fault(export.at, message);
    }
    let source = match &table.form {
        DependencyForm::Component(id) => component(id, all, &ask.field("component"))?,
        form => DependencySource::Content(content(form, name, table.at, ask)?),
    };
    let inherit = match table.inherit.as_ref().map(|inherit| &inherit.value) {
        Some(InheritValue::All(true)) => Inherit::All,
        Some(InheritValue::Some(keys)) => Inherit::Some(keys.clone()),
        Some(InheritValue::All(false)) | None => Inherit::Some(Vec::new()),
    };
    let export = table.export.as_ref().map(|export| export.value.clone());
    Some(Dependency {
        source,
        export,
        inherit,
    })
}

fn content(
    form: &DependencyForm,
    name: Option<&DependencyName>,
    at: usize,
    ask: &Ask<'_>,
) -> Option<ContentRef> {
    match form {
        DependencyForm::Path(path) => path_source(path, &ask.field("path")),
        DependencyForm::Url { url, digest } => url_source(url, digest, ask),
        DependencyForm::Package {
            registry,
            package: written,
            version,
        } => {
            let checked = VersionReq::parse(&version.value).map_err(|error| {
                format!(
                    "must be a version requirement, which {:?} is not: {error}",
                    version.value
                )
            });
            let requirement = passed(checked, version.at, &ask.field("version"));
            let package = match (written, name) {
                (Some(written), _) => package(written, &ask.field("package")),
                (None, Some(DependencyName::Package { package, .. })) => Some(package.clone()),
                (None, Some(DependencyName::Plain)) => {
                    ask.fault(at, "must have `package`, as its name does not contain one");
                    None
                }
                // The wrong name or missing package was reported.
                (None, None) => None,
            };
            requirement?;
            Some(package_source(registry.as_ref(), package?, version))
        }
        DependencyForm::Component(_) => None,
    }
}

/// A component that another one is composed with. Its own grants would silently be lost,
/// so it must not have any.
fn component(id: &Spanned<String>, all: &Components, ask: &Ask<'_>) -> Option<DependencySource> {
    if !component_exists(id, all.iter().map(|(id, _)| id.value.as_str()), ask) {
        return None;
    }
    let granted = all
        .iter()
        .find(|(other, _)| other.value == id.value)
        .map_or_else(Vec::new, |(_, table)| {
            let grants = [
                ("ai_models", table.ai_models.is_empty()),
                ("allowed_http_hosts", table.allowed_http_hosts.is_empty()),
                (
                    "allowed_outbound_hosts",
                    table.allowed_outbound_hosts.is_empty(),
                ),
                ("dependencies", table.dependencies.is_empty()),
                ("environment", table.environment.is_empty()),
                ("files", table.files.is_empty()),
                ("key_value_stores", table.key_value_stores.is_empty()),
                ("sqlite_databases", table.sqlite_databases.is_empty()),
                ("variables", table.variables.is_empty()),
            ];
            let given = grants.into_iter().filter(|(_, empty)| !empty);
            given.map(|(name, _)| format!("`{name}`")).collect()
        });
    if granted.is_empty() {
        return Some(DependencySource::Component(id.value.clone()));
    }
    let message = format!(
        "names the component `{}`, which cannot be a dependency because it has {}",
        id.value,
        granted.join(", ")
    );
    ask.fault(id.at, message);
    None
}
