//! A fully checked application: the types that the rest of Skiff uses.
//!
//! Both `spin.toml` and the locked application JSON are read into these types.

use std::collections::BTreeMap;

use crate::{Template, VariableName};

mod trigger;

pub use trigger::*;

/// A checked application. Every trigger refers to an existing component, every template
/// to a declared variable, and ids are unique.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    /// `name`, never empty.
    pub name: String,
    /// `version`, possibly empty.
    pub version: String,
    /// `description`, possibly empty.
    pub description: String,
    /// `authors`.
    pub authors: Vec<String>,
    /// Digest of the image that the application came from, for the info endpoint.
    pub oci_image_digest: Option<String>,
    /// Application variables by name.
    pub variables: BTreeMap<VariableName, Variable>,
    /// `[application.trigger.<type>]`: settings of a trigger type as a whole.
    pub trigger_settings: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    /// Triggers in the order they were written.
    pub triggers: Vec<Trigger>,
    /// Components in the order they were written.
    pub components: Vec<Component>,
}

/// An application variable. Without a default it is required.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Variable {
    /// `description`, for people.
    pub description: Option<String>,
    /// The value if no provider has one.
    pub default: Option<String>,
    /// Kept out of logs and listings.
    pub secret: bool,
}

/// A component and all its grants.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Unique in the application.
    pub id: String,
    /// `description`, possibly empty.
    pub description: String,
    /// Where its bytes are.
    pub source: ContentRef,
    /// Environment of the guest; never templated.
    pub environment: BTreeMap<String, String>,
    /// Files of the guest.
    pub files: Vec<FileMount>,
    /// `exclude_files`: globs relative to the application's folder.
    pub exclude_files: Vec<String>,
    /// The component's own variables.
    pub variables: BTreeMap<VariableName, Template>,
    /// `allowed_outbound_hosts`: each is an [`AllowedHost`](crate::hosts::AllowedHost) or
    /// a template that becomes one with the variables' defaults, as far as they exist.
    pub allowed_outbound_hosts: Vec<Template>,
    /// Labels of key-value stores.
    pub key_value_stores: Vec<String>,
    /// Labels of SQLite databases.
    pub databases: Vec<String>,
    /// Names of models.
    pub ai_models: Vec<String>,
    /// Other components that this one is composed with, by import name.
    pub dependencies: BTreeMap<String, Dependency>,
    /// Components that its trigger wraps around it, by role (`middleware`), outermost
    /// first. A component with such dependencies is run by only one trigger.
    pub trigger_dependencies: BTreeMap<String, Vec<Dependency>>,
}

/// Where bytes are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContentRef {
    /// A path relative to the application's folder, or a `file:`, `http:` or `https:` URL.
    pub source: Option<String>,
    /// The bytes themselves.
    pub inline: Option<Vec<u8>>,
    /// `sha256:<64 hex digits>`.
    pub digest: Option<String>,
    /// A package in a registry.
    pub package: Option<Package>,
}

/// `{ registry?, package, version }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The registry's host, if given.
    pub registry: Option<String>,
    /// `namespace:name`.
    pub package: String,
    /// An exact version for sources, a requirement for dependencies.
    pub version: String,
}

/// One entry of `files`.
#[derive(Debug, Clone, PartialEq)]
pub enum FileMount {
    /// A pattern: a directory, a file or a glob, relative to the application's folder.
    Pattern(String),
    /// `{ source, destination }`: a directory or file and where the guest sees it.
    Placed {
        /// Path relative to the application's folder, or a `file:` URL.
        source: String,
        /// Path in the guest.
        destination: String,
    },
    /// One file by content, as an artifact lists it.
    Content {
        /// The bytes, inline or by digest.
        content: ContentRef,
        /// Path in the guest, relative to `/`.
        path: String,
    },
}

/// A component that satisfies an import of another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Dependency {
    /// Where its bytes are; `Local` names another component of the application.
    pub source: DependencySource,
    /// The export to use, if its name differs from the import's.
    pub export: Option<String>,
    /// Which of the parent's grants it inherits.
    pub inherit: Inherit,
}

/// Where a dependency's bytes are.
#[derive(Debug, Clone, PartialEq)]
pub enum DependencySource {
    /// Its own bytes.
    Content(ContentRef),
    /// `{ component = … }`.
    Component(String),
}

/// Which grants a dependency shares with its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inherit {
    /// All of them.
    All,
    /// Only those of these keys; see [`Capability`](crate::Capability). Unknown keys
    /// grant nothing.
    Some(Vec<String>),
}
