//! A version 2 manifest as written.

use crate::fields::{Ask, Fields, boolean, list, text};
use crate::node::{Entry, Node, Spanned, Value};

use super::dependency::{DependencyTable, TriggerDependencyTable};
use super::profile;

/// The whole file.
pub(super) struct Manifest {
    pub(super) application: ApplicationTable,
    pub(super) variables: Vec<(Spanned<String>, VariableTable)>,
    pub(super) triggers: Vec<(Spanned<String>, Vec<TriggerTable>)>,
    pub(super) components: Vec<(Spanned<String>, ComponentTable)>,
}

/// `[application]`. A missing or wrong name was reported.
#[derive(Default)]
pub(super) struct ApplicationTable {
    pub(super) name: Option<Spanned<String>>,
    pub(super) version: String,
    pub(super) description: String,
    pub(super) authors: Vec<String>,
    pub(super) settings: Vec<(Spanned<String>, Node)>,
}

/// `[variables.<name>]`.
pub(super) struct VariableTable {
    pub(super) description: Option<String>,
    pub(super) default: Option<String>,
    pub(super) secret: bool,
    /// Whether it has no mistakes.
    pub(super) whole: bool,
}

/// `[[trigger.<type>]]`.
pub(super) struct TriggerTable {
    pub(super) at: usize,
    pub(super) id: Option<Spanned<String>>,
    pub(super) component: Option<ComponentRef>,
    pub(super) components: Vec<(Spanned<String>, OneOrMany)>,
    pub(super) dependencies: Vec<(Spanned<String>, Vec<TriggerDependencyTable>)>,
    pub(super) config: Vec<Entry>,
}

/// The component to run: by name or inline.
pub(super) enum ComponentRef {
    Named(Spanned<String>),
    Inline(Box<ComponentTable>),
    /// It is wrong, which was reported; do not report it as missing as well.
    Wrong,
}

/// Either one, or a list of them.
pub(super) struct OneOrMany {
    pub(super) refs: Vec<ComponentRef>,
    pub(super) listed: bool,
}

/// `[component.<id>]`, or an inline component.
pub(super) struct ComponentTable {
    pub(super) at: usize,
    /// Whether it has no mistakes so far.
    pub(super) whole: bool,
    pub(super) source: Option<SourceTable>,
    pub(super) description: String,
    pub(super) variables: Vec<(Spanned<String>, Spanned<String>)>,
    /// The name of this field in this version of the manifest.
    pub(super) variables_field: &'static str,
    pub(super) environment: Vec<(Spanned<String>, Spanned<String>)>,
    pub(super) files: Vec<FileEntry>,
    pub(super) exclude_files: Vec<Spanned<String>>,
    pub(super) allowed_outbound_hosts: Vec<Spanned<String>>,
    pub(super) allowed_http_hosts: Vec<Spanned<String>>,
    pub(super) key_value_stores: Vec<Spanned<String>>,
    pub(super) sqlite_databases: Vec<Spanned<String>>,
    pub(super) ai_models: Vec<Spanned<String>>,
    pub(super) dependencies_inherit_configuration: Option<Spanned<bool>>,
    pub(super) dependencies: Vec<(Spanned<String>, DependencyTable)>,
}

/// `source` of a component.
pub(super) enum SourceTable {
    Path(Spanned<String>),
    Url {
        url: Spanned<String>,
        digest: Spanned<String>,
    },
    Package {
        registry: Option<Spanned<String>>,
        package: Spanned<String>,
        version: Spanned<String>,
    },
}

/// One entry of `files`.
pub(super) enum FileEntry {
    Pattern(Spanned<String>),
    Placed {
        source: Spanned<String>,
        destination: Spanned<String>,
    },
}

impl Manifest {
    /// Reads everything except the version, which the caller has taken.
    pub(super) fn read(mut fields: Fields<'_>) -> Self {
        let sink = fields.ask.sink;
        let owner = |what: &str, name: &str| Ask::new(sink, format!("{what} `{name}`"));
        let manifest = Manifest {
            application: fields
                .required("application", |node, _| {
                    ApplicationTable::read(node, &Ask::new(sink, "application"))
                })
                .unwrap_or_default(),
            variables: fields
                .optional("variables", |node, ask| {
                    members(node, ask, |name, node| {
                        VariableTable::read(node, &owner("variable", name))
                    })
                })
                .unwrap_or_default(),
            triggers: fields
                .required("trigger", |node, ask| {
                    members(node, ask, |kind, node| {
                        list(node, &ask.field(kind), |node, ask| {
                            TriggerTable::read(node, ask)
                        })
                    })
                })
                .unwrap_or_default(),
            components: fields
                .optional("component", |node, ask| {
                    members(node, ask, |id, node| {
                        ComponentTable::read(node, &owner("component", id))
                    })
                })
                .unwrap_or_default(),
        };
        fields.done();
        manifest
    }
}

/// The members of a table whose names the manifest's author chooses.
fn members<T>(
    node: Node,
    ask: &Ask<'_>,
    read: impl Fn(&str, Node) -> Option<T>,
) -> Option<Vec<(Spanned<String>, T)>> {
    let Value::Table(entries) = node.value else {
        ask.not_a_table(&node);
        return None;
    };
    let read = |entry: Entry| read(&entry.key.value, entry.node).map(|value| (entry.key, value));
    Some(entries.into_iter().filter_map(read).collect())
}

impl ApplicationTable {
    fn read(node: Node, ask: &Ask<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, ask)?;
        let application = ApplicationTable {
            name: fields.required("name", text),
            version: plain_text(&mut fields, "version"),
            description: plain_text(&mut fields, "description"),
            authors: fields
                .list("authors", text)
                .into_iter()
                .map(|author| author.value)
                .collect(),
            settings: fields.map("trigger", table),
        };
        fields.list("targets", profile::target);
        fields.map("tool", table);
        fields.done();
        Some(application)
    }
}

impl VariableTable {
    pub(super) fn read(node: Node, ask: &Ask<'_>) -> Option<Self> {
        let before = ask.sink.noted();
        let mut fields = Fields::of(node, ask)?;
        // A default of the wrong kind still counts as written.
        let has_default = fields.has("default");
        let has_required = fields.has("required");
        let description = fields.optional("description", text).map(|text| text.value);
        let default = fields.optional("default", text).map(|text| text.value);
        let required = fields
            .optional("required", boolean)
            .map_or(has_required, |flag| flag.value);
        let secret = fields
            .optional("secret", boolean)
            .is_some_and(|flag| flag.value);
        match (required, has_default) {
            (true, true) => ask.fault(fields.at, "must not have both `required` and `default`"),
            (false, false) => ask.fault(fields.at, "must have `required = true` or `default`"),
            _ => {}
        }
        fields.done();
        Some(VariableTable {
            description,
            default,
            secret,
            whole: ask.sink.noted() == before,
        })
    }
}

impl TriggerTable {
    fn read(node: Node, ask: &Ask<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, ask)?;
        Some(TriggerTable {
            at: fields.at,
            id: fields.optional("id", text),
            component: fields.optional("component", ComponentRef::read),
            components: fields.map("components", OneOrMany::read),
            dependencies: fields.map("dependencies", |node, ask| {
                list(node, ask, TriggerDependencyTable::read)
            }),
            config: fields.rest(),
        })
    }
}

impl ComponentRef {
    fn read(node: Node, ask: &Ask<'_>) -> Option<Self> {
        match node.value {
            Value::Text(id) => Some(ComponentRef::Named(Spanned::new(node.at, id))),
            Value::Table(_) => Some(match ComponentTable::read(node, ask) {
                Some(component) => ComponentRef::Inline(Box::new(component)),
                None => ComponentRef::Wrong,
            }),
            _ => {
                ask.mismatch(&node, "the id of a component or a component");
                Some(ComponentRef::Wrong)
            }
        }
    }
}

impl OneOrMany {
    fn read(node: Node, ask: &Ask<'_>) -> Option<Self> {
        let listed = matches!(node.value, Value::List(_));
        let refs = match listed {
            true => list(node, ask, ComponentRef::read)?,
            false => vec![ComponentRef::read(node, ask)?],
        };
        Some(OneOrMany { refs, listed })
    }
}

impl ComponentTable {
    fn read(node: Node, ask: &Ask<'_>) -> Option<Self> {
        let before = ask.sink.noted();
        let mut fields = Fields::of(node, ask)?;
        let mut component = ComponentTable::common(&mut fields);
        component.variables = fields.map("variables", text);
        component.allowed_outbound_hosts = fields.list("allowed_outbound_hosts", text);
        component.dependencies_inherit_configuration =
            fields.optional("dependencies_inherit_configuration", boolean);
        component.dependencies = fields.map("dependencies", DependencyTable::read);
        fields.list("targets", profile::target);
        fields.map("tool", table);
        fields.map("profile", profile::read);
        fields.done();
        component.whole = ask.sink.noted() == before;
        Some(component)
    }

    /// The fields that have the same name in both versions of the manifest.
    pub(super) fn common(fields: &mut Fields<'_>) -> Self {
        let component = ComponentTable {
            at: fields.at,
            whole: false,
            source: fields.required("source", SourceTable::read),
            description: plain_text(fields, "description"),
            variables: Vec::new(),
            variables_field: "variables",
            environment: fields.map("environment", text),
            files: fields.list("files", FileEntry::read),
            exclude_files: fields.list("exclude_files", text),
            allowed_outbound_hosts: Vec::new(),
            allowed_http_hosts: fields.list("allowed_http_hosts", text),
            key_value_stores: fields.list("key_value_stores", text),
            sqlite_databases: fields.list("sqlite_databases", text),
            ai_models: fields.list("ai_models", text),
            dependencies_inherit_configuration: None,
            dependencies: Vec::new(),
        };
        fields.optional("build", profile::build);
        component
    }
}

impl SourceTable {
    pub(super) fn read(node: Node, ask: &Ask<'_>) -> Option<Self> {
        if let Value::Text(path) = node.value {
            return Some(SourceTable::Path(Spanned::new(node.at, path)));
        }
        let Value::Table(_) = node.value else {
            ask.mismatch(
                &node,
                "a path, `{ url, digest }` or `{ registry, package, version }`",
            );
            return None;
        };
        let mut fields = Fields::of(node, ask)?;
        let source = if fields.has("url") {
            let url = fields.required("url", text);
            let digest = fields.required("digest", text);
            url.zip(digest)
                .map(|(url, digest)| SourceTable::Url { url, digest })
        } else if fields.has("package") {
            let registry = fields.optional("registry", text);
            let package = fields.required("package", text);
            let version = fields.required("version", text);
            package
                .zip(version)
                .map(|(package, version)| SourceTable::Package {
                    registry,
                    package,
                    version,
                })
        } else {
            ask.fault(
                fields.at,
                "must be a path, or have `url` and `digest`, or `package` and `version`",
            );
            return None;
        };
        fields.done();
        source
    }
}

impl FileEntry {
    fn read(node: Node, ask: &Ask<'_>) -> Option<Self> {
        if let Value::Text(pattern) = node.value {
            return Some(FileEntry::Pattern(Spanned::new(node.at, pattern)));
        }
        let Value::Table(_) = node.value else {
            ask.mismatch(&node, "a pattern or `{ source, destination }`");
            return None;
        };
        let mut fields = Fields::of(node, ask)?;
        let source = fields.required("source", text);
        let destination = fields.required("destination", text);
        fields.done();
        let (source, destination) = source.zip(destination)?;
        Some(FileEntry::Placed {
            source,
            destination,
        })
    }
}

/// A string that is empty if missing, and whose position is not needed.
pub(super) fn plain_text(fields: &mut Fields<'_>, name: &'static str) -> String {
    fields
        .optional(name, text)
        .map(|text| text.value)
        .unwrap_or_default()
}

/// A table that is not examined further here.
fn table(node: Node, ask: &Ask<'_>) -> Option<Node> {
    match node.value {
        Value::Table(_) => Some(node),
        _ => {
            ask.not_a_table(&node);
            None
        }
    }
}
