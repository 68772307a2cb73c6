//! Why an application cannot be prepared or built.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use skiff_compose::ComposeError;
use skiff_manifest::Faults;

use super::files::FilesError;
use super::{FetchError, Prepared};
use crate::Digest;

/// Why an application cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A component's binary is unreadable.
    #[error("component `{component}`: cannot read {what} `{}`", path.display())]
    Binary {
        /// The component.
        component: String,
        /// The file's role, in words.
        what: String,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path is a folder, device or pipe instead of a file.
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A manifest that is too large.
    #[error("`{}` is larger than the {limit} bytes a manifest may have", path.display())]
    ManifestSize {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The application has mistakes.
    #[error("the application is not valid")]
    Application {
        /// All mistakes, one per line.
        source: Faults,
    },
    /// A container's root file system without anything to run.
    #[error("nothing to run: the image has no `/spin.toml`, and its entrypoint {entrypoint}")]
    NothingToRun {
        /// What the entrypoint is, in words.
        entrypoint: String,
    },
    /// A directory that `unpack` did not create.
    #[error("`{}` holds no unpacked image", path.display())]
    NotUnpacked {
        /// The directory.
        path: PathBuf,
    },
    /// Content that would have to be fetched first.
    #[error(
        "component `{component}`: {what} is `{reference}`, which has to be fetched: build or download it into the application's folder and refer to the file"
    )]
    Remote {
        /// The component.
        component: String,
        /// Its source, or one of its dependencies.
        what: String,
        /// The reference to the content.
        reference: String,
    },
    /// Content that cannot be fetched.
    #[error("component `{component}`: cannot get {what}")]
    Fetch {
        /// The component.
        component: String,
        /// Its source, or one of its dependencies.
        what: String,
        /// Whoever fetches it knows why.
        source: FetchError,
    },
    /// A file whose digest is not the manifest's.
    #[error("component `{component}`: {what} `{}` has another digest, {found}", path.display())]
    Mismatch {
        /// The component.
        component: String,
        /// Its source, or one of its dependencies.
        what: String,
        /// The file.
        path: PathBuf,
        /// Its actual digest.
        found: Digest,
    },
    /// A binary that is not WebAssembly.
    #[error("component `{component}`: {what} `{}` is not a WebAssembly binary", path.display())]
    NotWasm {
        /// The component.
        component: String,
        /// Its source, or one of its dependencies.
        what: String,
        /// The file.
        path: PathBuf,
    },
    /// A native binary.
    #[error("component `{component}`: {what} `{}` is precompiled native code, which is never trusted", path.display())]
    Precompiled {
        /// The component.
        component: String,
        /// Its source, or one of its dependencies.
        what: String,
        /// The file.
        path: PathBuf,
    },
    /// A dependency on a component that does not exist.
    #[error("component `{component}`: {what} is component `{id}`, which does not exist")]
    NoSuchComponent {
        /// The component.
        component: String,
        /// The dependency.
        what: String,
        /// The id it refers to.
        id: String,
    },
    /// Middleware, which only Spin's own trigger composes.
    #[error(
        "component `{component}` has middleware, which is not supported yet: push the application with Spin, which composes it"
    )]
    Middleware {
        /// The component.
        component: String,
    },
    /// `files` that an ordinary image cannot mount.
    #[error("component `{component}`: `{mount}` {reason}")]
    DirectMount {
        /// The component.
        component: String,
        /// The entry of `files`.
        mount: String,
        /// What is wrong with it, in words.
        reason: &'static str,
    },
    /// Components that cannot be prepared, or a manifest with mistakes.
    #[error("{0}")]
    Components(Box<Mistakes>),
    /// A component that cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Files that cannot be collected.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A folder for copies cannot be made.
    #[error("cannot make `{}`", path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A copy of a file cannot be made.
    #[error("cannot copy `{}` to `{}`", from.display(), to.display())]
    Copy {
        /// The file.
        from: PathBuf,
        /// The destination.
        to: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// All mistakes in the manifest and the components of an application.
#[derive(Debug)]
pub struct Mistakes {
    /// At least one: the manifest's as a single entry, then in the order of the components.
    pub faults: Vec<PrepareError>,
    /// The application, with the components in which no mistake was found, for further
    /// checks.
    pub rest: Prepared,
}

impl Mistakes {
    /// Whether unreadable parts of the manifest are missing from the rest.
    pub fn of_manifest(&self) -> bool {
        let of_manifest = |fault: &PrepareError| matches!(fault, PrepareError::Application { .. });
        self.faults.iter().any(of_manifest)
    }

    /// Each mistake with its causes, as a line. If there are very many, the first ones and
    /// the number of the others.
    pub fn lines(&self) -> Vec<String> {
        lines(&self.faults)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

/// Errors as lines, each with its causes.
pub(crate) fn lines<E: Error>(errors: &[E]) -> Vec<String> {
    /// More than anybody fixes in one go.
    const MAX_TOLD: usize = 20;

    let mut lines: Vec<String> = errors.iter().take(MAX_TOLD).map(|e| chain(e)).collect();
    if let Some(more @ 1..) = errors.len().checked_sub(MAX_TOLD) {
        lines.push(format!("{more} more mistakes are not listed"));
    }
    lines
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Why a component cannot be built from its binaries.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A binary cannot be read.
    #[error("component `{component}`: cannot read `{}`", path.display())]
    Read {
        /// The component.
        component: String,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The binaries do not form a component.
    #[error("component `{component}` cannot be built")]
    Compose {
        /// The component.
        component: String,
        /// The violated rule.
        source: ComposeError,
    },
}
