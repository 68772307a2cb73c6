//! References to content: `source`, `inline` and `digest`.

use std::path::{Component as PathPart, Path};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::Serialize;

use crate::check;
use crate::fields::{Ask, Fields, list, text};
use crate::model::{ContentRef, Dependency, DependencySource, FileMount, Inherit};
use crate::node::{Node, Value};

use super::WASM;

/// A reference as written; `content_type` is only for components.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
}

impl<'a> Written<'a> {
    pub(super) fn plain(content: &'a ContentRef) -> Self {
        Written {
            content_type: None,
            source: content.source.as_deref(),
            inline: content
                .inline
                .as_ref()
                .map(|bytes| STANDARD_NO_PAD.encode(bytes)),
            digest: content.digest.as_deref(),
        }
    }

    pub(super) fn wasm(content: &'a ContentRef) -> Self {
        Written {
            content_type: Some(WASM),
            ..Written::plain(content)
        }
    }

    pub(super) fn path(source: &'a str) -> Self {
        Written {
            content_type: None,
            source: Some(source),
            inline: None,
            digest: None,
        }
    }
}

/// A component's source.
pub(super) fn wasm(node: Node, ask: &Ask<'_>) -> Option<ContentRef> {
    let mut fields = Fields::of(node, ask)?;
    if let Some(kind) = fields.required("content_type", text)
        && kind.value != WASM
    {
        let message = format!("must be `{WASM}`, not {:?}", kind.value);
        fields.ask.field("content_type").fault(kind.at, message);
    }
    content(&mut fields)
}

fn content(fields: &mut Fields<'_>) -> Option<ContentRef> {
    let written = ["source", "inline", "digest"]
        .iter()
        .any(|name| fields.has(name));
    let source = fields.optional("source", text).map(|source| source.value);
    let digest = fields.optional("digest", |node, ask| {
        let digest = text(node, ask)?;
        check::digest(&digest, ask)
    });
    let inline = fields.optional("inline", |node, ask| {
        let encoded = text(node, ask)?;
        let decoded = STANDARD_NO_PAD.decode(&encoded.value);
        let decoded = decoded.map_err(|error| format!("must be base64 without padding: {error}"));
        check::passed(decoded, encoded.at, ask)
    });
    let content = ContentRef {
        source,
        inline,
        digest,
        package: None,
    };
    if content == ContentRef::default() {
        if !written {
            fields
                .ask
                .fault(fields.at, "must have `source`, `inline` or `digest`");
        }
        return None;
    }
    Some(content)
}

/// One entry of `files`.
pub(super) fn file(node: Node, ask: &Ask<'_>) -> Option<FileMount> {
    let mut fields = Fields::of(node, ask)?;
    let content = content(&mut fields);
    let path = fields.required("path", text)?;
    match content? {
        ContentRef {
            source: Some(source),
            inline: None,
            digest: None,
            package: None,
        } => Some(FileMount::Placed {
            source,
            destination: path.value,
        }),
        content => {
            let normal = |part| matches!(part, PathPart::Normal(_));
            let mut parts = Path::new(&path.value).components().peekable();
            let inside = parts.peek().is_some() && parts.all(normal);
            if !inside || path.value.contains('\0') {
                let message = format!("must be a path below the guest's `/`, not {:?}", path.value);
                ask.field("path").fault(path.at, message);
                return None;
            }
            Some(FileMount::Content {
                content,
                path: path.value,
            })
        }
    }
}

/// A dependency of a component or of a trigger.
pub(super) fn dependency(node: Node, ask: &Ask<'_>) -> Option<Dependency> {
    let mut fields = Fields::of(node, ask)?;
    let source = fields.required("source", wasm);
    let export = fields.optional("export", text).map(|export| export.value);
    let inherit = match fields.has("inherit") {
        true => fields.optional("inherit", inherit),
        false => Some(Inherit::Some(Vec::new())),
    };
    Some(Dependency {
        source: DependencySource::Content(source?),
        export,
        inherit: inherit?,
    })
}

/// `"All"` or `{"Some": […]}`.
fn inherit(node: Node, ask: &Ask<'_>) -> Option<Inherit> {
    match node.value {
        Value::Text(all) if all == "All" => Some(Inherit::All),
        Value::Table(_) => {
            let mut fields = Fields::of(node, ask)?;
            let keys = fields.required("Some", |node, ask| list(node, ask, text))?;
            fields.done();
            Some(Inherit::Some(
                keys.into_iter().map(|key| key.value).collect(),
            ))
        }
        _ => {
            ask.fault(node.at, "must be `\"All\"` or `{\"Some\": […]}`");
            None
        }
    }
}
