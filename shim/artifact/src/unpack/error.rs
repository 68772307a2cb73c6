//! Why an image cannot be unpacked.

use std::io;
use std::path::PathBuf;

use skiff_manifest::Faults;

use crate::shown::shown_path;
use crate::{BlobError, Digest, LimitError, PathError};

/// Why an image cannot be unpacked. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Something exists where the directory should be.
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
        /// The system's error.
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
        /// All mistakes, one per line.
        source: Faults,
    },
    /// The configuration of an ordinary image has mistakes.
    #[error("configuration {digest} cannot be understood")]
    Config {
        /// The configuration blob.
        digest: Digest,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// A WebAssembly layer with other content.
    #[error("layer {layer} is not WebAssembly{hint}")]
    NotWasm {
        /// The layer.
        layer: Digest,
        /// What it may be instead, or empty.
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
    /// Content that is not in any layer.
    #[error("component `{component}`: {what} {digest} is in no layer of the image")]
    MissingContent {
        /// The component that refers to it.
        component: String,
        /// Its use.
        what: String,
        /// Its digest.
        digest: Digest,
    },
    /// Content that only exists on the machine that created the image.
    #[error(
        "component `{component}`: {what} is not in the image, only a reference to `{reference}`"
    )]
    NotPushed {
        /// The component that refers to it.
        component: String,
        /// Its use.
        what: String,
        /// The reference.
        reference: String,
    },
    /// Inline content that does not match its digest.
    #[error(
        "component `{component}`: the inline content of {what} does not have the digest {digest}"
    )]
    Inline {
        /// The component.
        component: String,
        /// Its use.
        what: String,
        /// The digest given with it.
        digest: Digest,
    },
    /// An invalid digest.
    #[error("component `{component}`: {what}")]
    Digest {
        /// The component.
        component: String,
        /// Its use.
        what: String,
        /// The invalid text.
        source: crate::DigestError,
    },
    /// An id that is not valid as a folder name.
    #[error("component id `{id}` cannot be used as the name of a folder")]
    ComponentId {
        /// The id.
        id: String,
    },
    /// A component's file that would be written outside its folder.
    #[error("component `{component}`: file `{path}` is refused")]
    FilePath {
        /// The component.
        component: String,
        /// The path as written.
        path: String,
        /// What is wrong with it.
        source: PathError,
    },
    /// A layer whose media type is not supported.
    #[error("layer {layer} has the media type `{media_type}`, which cannot be unpacked")]
    LayerKind {
        /// The layer.
        layer: Digest,
        /// Its media type.
        media_type: String,
    },
    /// A WebAssembly binary in place of an archive.
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
    /// An unreadable archive.
    #[error("layer {layer} is not a readable archive")]
    Archive {
        /// The layer.
        layer: Digest,
        /// The decoder's error.
        source: io::Error,
    },
    /// An archive that ends early although the blob is complete.
    #[error("layer {layer} is truncated: its archive ends early")]
    Truncated {
        /// The layer.
        layer: Digest,
    },
    /// An entry that would be written outside.
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
        "layer {layer}: link `{}` leads outside, to `{}`",
        shown_path(path),
        shown_path(target)
    )]
    LinkOut {
        /// The layer.
        layer: Digest,
        /// The link.
        path: PathBuf,
        /// Its target.
        target: PathBuf,
    },
    /// A hard link without a target.
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
        /// Its target.
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
        /// Its kind, in words.
        kind: &'static str,
    },
    /// A set-user-id or set-group-id entry, which would run with other rights than its
    /// caller's.
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
