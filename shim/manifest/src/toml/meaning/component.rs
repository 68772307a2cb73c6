//! The meaning of a component's table.

use std::collections::BTreeMap;

use url::Url;

use crate::check::{self, Declared, passed};
use crate::fields::Ask;
use crate::hosts::{Databases, convert_legacy};
use crate::model::{Component, ContentRef, FileMount, Package};
use crate::names::{check_label, check_package};
use crate::node::Spanned;

use super::super::written::{ComponentTable, FileEntry, SourceTable};
use super::{dependency, snake_name};

/// The component, or only its source if another part is wrong. Every part is checked.
pub(super) fn read(
    id: &Spanned<String>,
    table: &ComponentTable,
    all: &[(Spanned<String>, ComponentTable)],
    declared: &Declared,
    ask: &Ask<'_>,
) -> Result<Component, Option<Box<ContentRef>>> {
    let source = table
        .source
        .as_ref()
        .and_then(|s| source(s, &ask.field("source")));
    let files = entries(&table.files, &ask.field("files"), file);

    let legacy = ask.field("allowed_http_hosts");
    let mut hosts = table.allowed_outbound_hosts.clone();
    hosts.extend(convert_legacy(
        &table.allowed_http_hosts,
        Databases::Denied,
        &legacy,
    ));
    let allowed_outbound_hosts = entries(
        &hosts,
        &ask.field("allowed_outbound_hosts"),
        |entry, ask| check::allowed_host(entry, declared, ask),
    );

    let variables_ask = ask.field(table.variables_field);
    let variables: Vec<_> = table
        .variables
        .iter()
        .map(|(name, text)| {
            let template = check::template(text, declared, &variables_ask.field(&name.value));
            snake_name(name, &variables_ask).zip(template)
        })
        .collect();
    let key_value_stores = entries(
        &table.key_value_stores,
        &ask.field("key_value_stores"),
        label,
    );
    let databases = entries(
        &table.sqlite_databases,
        &ask.field("sqlite_databases"),
        label,
    );
    let dependencies = dependency::of_component(table, all, ask);

    let component = || {
        Some(Component {
            id: id.value.clone(),
            description: table.description.clone(),
            source: source.clone()?,
            environment: values(&table.environment),
            files: files?,
            exclude_files: table
                .exclude_files
                .iter()
                .map(|glob| glob.value.clone())
                .collect(),
            variables: variables.into_iter().collect::<Option<_>>()?,
            allowed_outbound_hosts: allowed_outbound_hosts?,
            key_value_stores: key_value_stores?,
            databases: databases?,
            ai_models: table
                .ai_models
                .iter()
                .map(|model| model.value.clone())
                .collect(),
            dependencies: dependencies?,
            trigger_dependencies: BTreeMap::new(),
        })
    };
    component().ok_or(source.map(Box::new))
}

/// Reads all entries, and returns none if one is wrong.
fn entries<'c, W, T>(
    written: &[W],
    ask: &Ask<'c>,
    read: impl Fn(&W, &Ask<'c>) -> Option<T>,
) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = written.iter().map(|entry| read(entry, ask)).collect();
    read.into_iter().collect()
}

fn values(written: &[(Spanned<String>, Spanned<String>)]) -> BTreeMap<String, String> {
    written
        .iter()
        .map(|(name, value)| (name.value.clone(), value.value.clone()))
        .collect()
}

fn label(label: &Spanned<String>, ask: &Ask<'_>) -> Option<String> {
    passed(
        check_label(&label.value).map(|()| label.value.clone()),
        label.at,
        ask,
    )
}

/// The source of a component's bytes.
pub(super) fn source(source: &SourceTable, ask: &Ask<'_>) -> Option<ContentRef> {
    match source {
        SourceTable::Path(path) => path_source(path, ask),
        SourceTable::Url { url, digest } => url_source(url, digest, ask),
        SourceTable::Package {
            registry,
            package,
            version,
        } => {
            let version_ask = ask.field("version");
            let checked = semver::Version::parse(&version.value).map_err(|error| {
                format!(
                    "must be an exact version, which {:?} is not: {error}",
                    version.value
                )
            });
            let exact = passed(checked, version.at, &version_ask);
            let package = self::package(package, &ask.field("package"));
            exact?;
            Some(package_source(registry.as_ref(), package?, version))
        }
    }
}

pub(super) fn path_source(path: &Spanned<String>, ask: &Ask<'_>) -> Option<ContentRef> {
    if path.value.is_empty() {
        ask.fault(path.at, "must not be empty");
        return None;
    }
    Some(ContentRef {
        source: Some(path.value.clone()),
        ..ContentRef::default()
    })
}

pub(super) fn url_source(
    url: &Spanned<String>,
    digest: &Spanned<String>,
    ask: &Ask<'_>,
) -> Option<ContentRef> {
    let web = |url: &Url| matches!(url.scheme(), "http" | "https");
    let checked = match Url::parse(&url.value) {
        Ok(parsed) if web(&parsed) => Ok(url.value.clone()),
        _ => Err(format!(
            "must be an `http` or `https` URL, not {:?}",
            url.value
        )),
    };
    let source = passed(checked, url.at, &ask.field("url"));
    let digest = check::digest(digest, &ask.field("digest"));
    Some(ContentRef {
        source: Some(source?),
        digest: Some(digest?),
        ..ContentRef::default()
    })
}

pub(super) fn package(package: &Spanned<String>, ask: &Ask<'_>) -> Option<String> {
    passed(
        check_package(&package.value).map(|()| package.value.clone()),
        package.at,
        ask,
    )
}

pub(super) fn package_source(
    registry: Option<&Spanned<String>>,
    package: String,
    version: &Spanned<String>,
) -> ContentRef {
    let package = Package {
        registry: registry.map(|registry| registry.value.clone()),
        package,
        version: version.value.clone(),
    };
    ContentRef {
        package: Some(package),
        ..ContentRef::default()
    }
}

fn file(entry: &FileEntry, ask: &Ask<'_>) -> Option<FileMount> {
    match entry {
        FileEntry::Pattern(pattern) => {
            let text = pattern.value.as_str();
            let dots = text
                .rsplit('/')
                .next()
                .filter(|last| matches!(*last, "." | ".."));
            if let Some(dots) = dots {
                let message = format!(
                    "has the pattern {text:?}, which ends in `{dots}`; write `{{ source, destination }}` \
                     for a folder, or a pattern that ends in `**/*`"
                );
                ask.fault(pattern.at, message);
                return None;
            }
            inside(pattern, ask)?;
            Some(FileMount::Pattern(pattern.value.clone()))
        }
        FileEntry::Placed {
            source,
            destination,
        } => {
            if destination.value.split('/').any(|part| part == "..") {
                let message = format!(
                    "has the destination {:?}, which has `..`",
                    destination.value
                );
                ask.fault(destination.at, message);
                return None;
            }
            // An explicit source means that folder or file, wherever it is; an image
            // contains nothing outside of itself.
            Some(FileMount::Placed {
                source: source.value.clone(),
                destination: destination.value.clone(),
            })
        }
    }
}

/// Refuses a pattern that leads out of the application's folder. Links can only be
/// checked where the files are.
fn inside(path: &Spanned<String>, ask: &Ask<'_>) -> Option<()> {
    let mut depth = 0_usize;
    for part in path.value.split('/') {
        depth = match part {
            "" | "." => depth,
            ".." if depth == 0 => {
                let message = format!(
                    "has {:?}, which is outside the application's folder",
                    path.value
                );
                ask.fault(path.at, message);
                return None;
            }
            ".." => depth - 1,
            _ => depth + 1,
        };
    }
    Some(())
}
