//! Packs an application into the artifact that `spin registry push` would push; includes
//! the writer of layouts.

mod application;
mod layout;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use skiff_compose::Capabilities;

pub use layout::{Blob, Writer};

use crate::Descriptor;
use crate::oci::media;
use crate::prepared::lines;
use crate::{BuildError, Fetch, PrepareError};

/// Registries accept at most 500 layers (the lowest known limit is that of Amazon's);
/// one is for the application itself.
pub(crate) const MAX_LAYERS: usize = 499;

/// Content up to this size is stored inline in the application: some registries refuse
/// blobs of one byte or less, and a reference would be longer.
pub(crate) const INLINE_LIMIT: usize = 128;

/// How to create an artifact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// A name for the image, such as `registry.example/shop:1.2`, for tools that import
    /// the layout.
    pub reference: Option<String>,
    /// Create one archive layer for each component's files, even where one layer per file
    /// is possible.
    pub archive: bool,
    /// Push binaries as they were built, with dependencies beside them. Such an artifact
    /// with dependencies does not run on containerd-shim-spin.
    pub as_built: bool,
    /// Annotations of the manifest. If any are given, none are derived from the
    /// application's name, version, description and authors.
    pub annotations: BTreeMap<String, String>,
    /// The creation time, RFC 3339. Without it the same folder gives the same digests.
    pub created: Option<String>,
}

/// A finished artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Its manifest; the digest names the artifact.
    pub manifest: Descriptor,
    /// The number of layers, including the application's.
    pub layers: usize,
    /// Whether files are in archive layers.
    pub archive: bool,
    /// Not mistakes, but perhaps not what the author meant.
    pub warnings: Vec<String>,
}

/// Why an artifact cannot be created. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The application has mistakes.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// Components that cannot be built.
    #[error("{}", lines(.0).join("\n"))]
    Build(Vec<BuildError>),
    /// Something exists where the layout should be.
    #[error("`{}` exists already and is not empty", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file of the layout cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// File names in artifacts are UTF-8.
    #[error("component `{component}`: the name of file `{}` is not UTF-8", path.display())]
    FileName {
        /// The component.
        component: String,
        /// The file.
        path: PathBuf,
    },
    /// A file that was modified during packing.
    #[error("`{}` changed while it was packed", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// More layers than registries accept.
    #[error("the artifact would have {layers} layers, over the {MAX_LAYERS} that registries take")]
    TooManyLayers {
        /// The number of layers needed.
        layers: usize,
    },
}

/// Creates the artifact of the application at `source` (a manifest or its folder) and
/// writes it as an OCI layout to the folder `layout`, which must not exist yet (or be
/// empty). It appears atomically and complete, or not at all.
///
/// Components are made self-contained: core modules become components, and dependencies are
/// composed in and denied those `capabilities` that they do not inherit. Components that
/// the manifest names by URL and digest come from `fetch`. The same sources give the same
/// digests.
///
/// # Errors
///
/// [`PackError`] names the affected component or file.
///
/// ```no_run
/// use std::path::Path;
/// use skiff_artifact::pack::{Options, to_layout};
///
/// let options = Options { reference: Some("example/shop:1".into()), ..Options::default() };
/// # let capabilities = |_: &str| None;
/// # let fetch = |_: &str, _: &str| Err("nothing is fetched".into());
/// let (shop, layout) = (Path::new("shop"), Path::new("shop.oci"));
/// let packed = to_layout(shop, layout, &options, capabilities, &fetch)?;
/// println!("{}", packed.manifest.digest);
/// # Ok::<(), skiff_artifact::pack::PackError>(())
/// ```
pub fn to_layout(
    source: &Path,
    layout: &Path,
    options: &Options,
    capabilities: Capabilities,
    fetch: Fetch<'_>,
) -> Result<Packed, PackError> {
    let writer = Writer::beside(layout)?;
    let artifact = application::assemble(source, options, capabilities, fetch, &writer)?;
    let layers = artifact.manifest.layers.len();
    let manifest = writer.json(media::MANIFEST, &artifact.manifest)?;
    writer.finish(&manifest, options.reference.as_deref())?;
    Ok(Packed {
        manifest,
        layers,
        archive: artifact.archive,
        warnings: artifact.warnings,
    })
}
