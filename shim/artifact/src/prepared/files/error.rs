//! Why the files of a component are not available.

use std::io;
use std::path::PathBuf;

use crate::PathError;

/// Why files cannot be collected.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A path that does not exist.
    #[error("component `{component}`: `{pattern}` in `files` does not exist, and is not a pattern")]
    Missing {
        /// The component.
        component: String,
        /// The entry.
        pattern: String,
    },
    /// A pattern for its own folder or the one above.
    #[error(
        "component `{component}`: `{pattern}` in `files` must not end in `.` or `..`; use `source` and `destination` for a folder"
    )]
    Dots {
        /// The component.
        component: String,
        /// The entry.
        pattern: String,
    },
    /// An invalid glob pattern.
    #[error("component `{component}`: `{pattern}` is not a valid glob pattern")]
    Pattern {
        /// The component.
        component: String,
        /// The entry of `files` or `exclude_files`.
        pattern: String,
        /// What is wrong, and where.
        source: glob::PatternError,
    },
    /// A file outside of the application's folder.
    #[error("component `{component}`: `{}` is outside of the application's folder", path.display())]
    Outside {
        /// The file, with links resolved.
        component: String,
        /// The file, with links resolved.
        path: PathBuf,
    },
    /// A pattern with `..` after a wildcard, which has no single meaning.
    #[error("component `{component}`: `{pattern}` in `files` has `..` behind a wildcard")]
    Parent {
        /// The component.
        component: String,
        /// The entry.
        pattern: String,
    },
    /// A dangling link, which would be lost.
    #[error(
        "component `{component}`: `{}` is a link to `{}`, which does not exist; remove it, or name it in `exclude_files`", path.display(), target.display()
    )]
    Dangling {
        /// The component.
        component: String,
        /// The link.
        path: PathBuf,
        /// Its target.
        target: PathBuf,
    },
    /// A link to a folder that contains it, which would never end.
    #[error(
        "component `{component}`: `{}` is a link to a folder that it is in; remove it, or name it in `exclude_files`", path.display()
    )]
    Loop {
        /// The component.
        component: String,
        /// The link.
        path: PathBuf,
    },
    /// A socket, a pipe or a device.
    #[error(
        "component `{component}`: `{}` is neither a file nor a folder; remove it, or name it in `exclude_files`", path.display()
    )]
    NotAFile {
        /// The component.
        component: String,
        /// The path.
        path: PathBuf,
    },
    /// A file whose destination is a folder.
    #[error("component `{component}`: destination `{destination}` of a single file is a folder")]
    FolderDestination {
        /// The component.
        component: String,
        /// The destination.
        destination: String,
    },
    /// A destination that is invalid in guests.
    #[error("component `{component}`: destination `{destination}` is refused")]
    Destination {
        /// The component.
        component: String,
        /// The destination.
        destination: String,
        /// What is wrong with it.
        source: PathError,
    },
    /// A source that is not on this machine.
    #[error("component `{component}`: `{source_url}` in `files` is not a path")]
    Url {
        /// The component.
        component: String,
        /// A path used both as a file and as a folder.
        source_url: String,
    },
    /// A path used both as a file and as a folder.
    #[error("component `{component}`: `{}` is to be a file, and a folder with `{}`", file.display(), below.display())]
    Collision {
        /// The component.
        component: String,
        /// The file.
        file: PathBuf,
        /// A file below it.
        below: PathBuf,
    },
    /// A file or folder cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}
