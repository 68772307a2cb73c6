//! Why an image cannot be unpacked.

use std::io;
use std::path::PathBuf;

use skiff_manifest::Faults;

use crate::shown::shown_path;
use crate::{BlobError, Digest, LimitError, PathError};

/// Why an image cannot be unpacked. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Something is where the directory should be.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// A file or folder cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A blob is missing or damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The artifact is too large.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The locked application has mistakes.
    #[error("the application in the image is not valid")]
    Application {
        /// All mistakes, one a line.
        source: Faults,
    },
    /// The configuration of an ordinary image has mistakes.
    #[error("configuration {digest} cannot be understood")]
    Config {
        /// The configuration blob.
        digest: Digest,
        /// Where and what.
        source: serde_json::Error,
    },
    /// A layer of WebAssembly holds something else.
    #[error("layer {layer} is not WebAssembly{hint}")]
    NotWasm {
        /// The layer.
        layer: Digest,
        /// What it may be instead, or nothing.
        hint: &'static str,
    },
    /// A layer holds native code.
    #[error(
        "layer {layer} holds precompiled native code, which is never trusted: push WebAssembly instead"
    )]
    Precompiled {
        /// The layer.
        layer: Digest,
    },
    /// Content that no layer has.
    #[error("component `{component}`: {what} {digest} is in no layer of the image")]
    MissingContent {
        /// The component that refers to it.
        component: String,
        /// What it is for.
        what: String,
        /// The content's address.
        digest: Digest,
    },
    /// Content that is on the machine the image was made on.
    #[error(
        "component `{component}`: {what} is not in the image, only a reference to `{reference}`"
    )]
    NotPushed {
        /// The component that refers to it.
        component: String,
        /// What it is for.
        what: String,
        /// The reference.
        reference: String,
    },
    /// Inline content that is not what its digest says.
    #[error(
        "component `{component}`: the inline content of {what} does not have the digest {digest}"
    )]
    Inline {
        /// The component.
        component: String,
        /// What it is for.
        what: String,
        /// The digest given with it.
        digest: Digest,
    },
    /// A digest that is none.
    #[error("component `{component}`: {what}")]
    Digest {
        /// The component.
        component: String,
        /// What it is for.
        what: String,
        /// The text there is.
        source: crate::DigestError,
    },
    /// An id that cannot name a folder.
    #[error("component id `{id}` cannot be used as the name of a folder")]
    ComponentId {
        /// The id.
        id: String,
    },
    /// A file of a component that would be written elsewhere.
    #[error("component `{component}`: file `{path}` is refused")]
    FilePath {
        /// The component.
        component: String,
        /// The path as it is written.
        path: String,
        /// What is wrong with it.
        source: PathError,
    },
    /// A layer that no kind of image has.
    #[error("layer {layer} has the media type `{media_type}`, which cannot be unpacked")]
    LayerKind {
        /// The layer.
        layer: Digest,
        /// Its media type.
        media_type: String,
    },
    /// WebAssembly where files should be.
    #[error(
        "layer {layer} is a WebAssembly binary, but its media type `{media_type}` says an \
         archive of files, as `oras push` does where none is given: push it as \
         `FILE.wasm:application/wasm`"
    )]
    WasmAsFiles {
        /// The layer.
        layer: Digest,
        /// Its media type.
        media_type: String,
    },
    /// An archive that cannot be read.
    #[error("layer {layer} is not a readable archive")]
    Archive {
        /// The layer.
        layer: Digest,
        /// What the decoder says.
        source: io::Error,
    },
    /// An archive that ends early although the blob is whole.
    #[error("layer {layer} is truncated: its archive ends early")]
    Truncated {
        /// The layer.
        layer: Digest,
    },
    /// An entry that would be written elsewhere.
    #[error("layer {layer}: entry `{}` is refused", shown_path(path))]
    EntryPath {
        /// The layer.
        layer: Digest,
        /// The entry's name.
        path: PathBuf,
        /// What is wrong with it.
        source: PathError,
    },
    /// A link that leads out of the directory.
    #[error(
        "layer {layer}: link `{}` leads out, to `{}`",
        shown_path(path),
        shown_path(target)
    )]
    LinkOut {
        /// The layer.
        layer: Digest,
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A hard link to nothing.
    #[error(
        "layer {layer}: hard link `{}` leads to `{}`, which is not a file of the image",
        shown_path(path),
        shown_path(target)
    )]
    LinkTarget {
        /// The layer.
        layer: Digest,
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// An entry that is neither file, folder nor link.
    #[error(
        "layer {layer}: entry `{}` is a {kind}, which is refused",
        shown_path(path)
    )]
    EntryKind {
        /// The layer.
        layer: Digest,
        /// The entry's name.
        path: PathBuf,
        /// What it is, in words.
        kind: &'static str,
    },
    /// An entry that would run with other rights than its caller's.
    #[error(
        "layer {layer}: entry `{}` has a set-user-id or set-group-id bit, which is refused",
        shown_path(path)
    )]
    SetId {
        /// The layer.
        layer: Digest,
        /// The entry's name.
        path: PathBuf,
    },
}
