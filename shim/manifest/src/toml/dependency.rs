//! Component dependencies as written.

use crate::fields::{Ask, Fields, list, text};
use crate::node::{Node, Spanned, Value};

/// One entry of `dependencies` of a component.
pub(super) struct DependencyTable {
    pub(super) at: usize,
    pub(super) form: DependencyForm,
    pub(super) export: Option<Spanned<String>>,
    pub(super) inherit: Option<Spanned<InheritValue>>,
}

/// One entry of `dependencies.<role>` of a trigger: the same without `export`.
pub(super) struct TriggerDependencyTable(pub(super) DependencyTable);

/// Where a dependency comes from.
pub(super) enum DependencyForm {
    /// `"<requirement>"` or `{ version, registry?, package? }`.
    Package {
        registry: Option<Spanned<String>>,
        package: Option<Spanned<String>>,
        version: Spanned<String>,
    },
    /// `{ path }`.
    Path(Spanned<String>),
    /// `{ url, digest }`.
    Url {
        url: Spanned<String>,
        digest: Spanned<String>,
    },
    /// `{ component }`.
    Component(Spanned<String>),
}

/// `inherit_configuration`.
pub(super) enum InheritValue {
    All(bool),
    Some(Vec<String>),
}

/// The members that distinguish the forms.
const FORMS: [&str; 4] = ["version", "path", "url", "component"];

impl DependencyTable {
    pub(super) fn read(node: Node, ask: &Ask<'_>) -> Option<Self> {
        let at = node.at;
        if let Value::Text(version) = node.value {
            let version = Spanned::new(at, version);
            let form = DependencyForm::Package {
                registry: None,
                package: None,
                version,
            };
            return Some(DependencyTable {
                at,
                form,
                export: None,
                inherit: None,
            });
        }
        let Value::Table(_) = node.value else {
            ask.mismatch(
                &node,
                "a version or a table with one of `version`, `path`, `url` and `component`",
            );
            return None;
        };
        let mut fields = Fields::of(node, ask)?;
        let form = DependencyForm::read(&mut fields)?;
        let export = fields.optional("export", text);
        let inherit = fields.optional("inherit_configuration", InheritValue::read);
        fields.done();
        Some(DependencyTable {
            at,
            form: form?,
            export,
            inherit,
        })
    }
}

impl TriggerDependencyTable {
    pub(super) fn read(node: Node, ask: &Ask<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, ask)?;
        let at = fields.at;
        let form = DependencyForm::read(&mut fields)?;
        let inherit = fields.optional("inherit_configuration", InheritValue::read);
        fields.done();
        if let Some(DependencyForm::Package { package: None, .. }) = form {
            ask.field("package").fault(at, "is missing");
        }
        let dependency = DependencyTable {
            at,
            form: form?,
            export: None,
            inherit,
        };
        Some(TriggerDependencyTable(dependency))
    }
}

impl DependencyForm {
    /// The outer `None` means that the form is unclear, so that nothing else can be
    /// checked; the inner one that the form is known but has a mistake.
    fn read(fields: &mut Fields<'_>) -> Option<Option<Self>> {
        let written: Vec<_> = FORMS.into_iter().filter(|form| fields.has(form)).collect();
        let [form] = written[..] else {
            let message = match written.is_empty() {
                true => "must have one of `version`, `path`, `url` and `component`".to_owned(),
                false => format!("must not have both `{}` and `{}`", written[0], written[1]),
            };
            fields.ask.fault(fields.at, message);
            return None;
        };
        Some(match form {
            "path" => fields.required("path", text).map(DependencyForm::Path),
            "component" => fields
                .required("component", text)
                .map(DependencyForm::Component),
            "url" => {
                let url = fields.required("url", text);
                let digest = fields.required("digest", text);
                url.zip(digest)
                    .map(|(url, digest)| DependencyForm::Url { url, digest })
            }
            _ => {
                let version = fields.required("version", text);
                let registry = fields.optional("registry", text);
                let package = fields.optional("package", text);
                version.map(|version| DependencyForm::Package {
                    registry,
                    package,
                    version,
                })
            }
        })
    }
}

impl InheritValue {
    fn read(node: Node, ask: &Ask<'_>) -> Option<Spanned<Self>> {
        let at = node.at;
        let value = match node.value {
            Value::Bool(all) => InheritValue::All(all),
            Value::List(_) => {
                let keys = list(node, ask, text)?;
                InheritValue::Some(keys.into_iter().map(|key| key.value).collect())
            }
            _ => {
                ask.mismatch(&node, "`true`, `false` or a list of keys");
                return None;
            }
        };
        Some(Spanned::new(at, value))
    }
}
