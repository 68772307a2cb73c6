//! What an application is, after every check: the types the rest of Skiff works with.
//!
//! Both `spin.toml` and the locked application JSON end here.

use std::collections::BTreeMap;

use crate::{Template, VariableName};

mod trigger;

pub use trigger::*;

/// A checked application. Every trigger refers to a component that exists, every
/// template to a variable that is declared, and ids are unique.
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
    /// Digest of the image the application came from, for the info endpoint.
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
    /// Value where no provider has one.
    pub default: Option<String>,
    /// Kept out of logs and listings.
    pub secret: bool,
}

/// A component and everything it was granted.
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
    /// `allowed_outbound_hosts`: each is an [`AllowedHost`](crate::hosts::AllowedHost)
    /// or a template, which is one with the variables' defaults as far as they have any.
    pub allowed_outbound_hosts: Vec<Template>,
    /// Labels of key-value stores.
    pub key_value_stores: Vec<String>,
    /// Labels of SQLite databases.
    pub databases: Vec<String>,
    /// Names of models.
    pub ai_models: Vec<String>,
    /// Other components this one is composed with, by import name.
    pub dependencies: BTreeMap<String, Dependency>,
    /// Components that its trigger puts around it, by role (`middleware`), outermost
    /// first. A component that has any is run by one trigger only.
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
    /// Host of the registry, where given.
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
    /// The export to use, where it is not the import's own name.
    pub export: Option<String>,
    /// What it inherits of the parent's grants.
    pub inherit: Inherit,
}

/// Where a dependency's bytes are.
#[derive(Debug, Clone, PartialEq)]
pub enum DependencySource {
    /// Bytes of its own.
    Content(ContentRef),
    /// `{ component = … }`.
    Component(String),
}

/// Which grants a dependency shares with its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inherit {
    /// All of them.
    All,
    /// Only these keys, those of [`Capability`](crate::Capability); others grant nothing.
    Some(Vec<String>),
}
