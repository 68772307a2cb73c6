//! The files a manifest's `files` stand for.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component as PathPart, Path, PathBuf};

use glob::Pattern;
use skiff_manifest::{Component, FileMount};

use super::local_path;
use crate::PathError;
use crate::paths::relative;

/// Where each file goes, relative to the guest's `/`, and where it comes from.
pub(crate) type Files = BTreeMap<PathBuf, PathBuf>;

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
    /// A pattern that names the folder it is in, or the one above.
    #[error(
        "component `{component}`: `{pattern}` in `files` must not end in `.` or `..`; use `source` and `destination` for a folder"
    )]
    Dots {
        /// The component.
        component: String,
        /// The entry.
        pattern: String,
    },
    /// A pattern that is none.
    #[error("component `{component}`: `{pattern}` is not a pattern")]
    Pattern {
        /// The component.
        component: String,
        /// The entry of `files` or `exclude_files`.
        pattern: String,
        /// Where and what.
        source: glob::PatternError,
    },
    /// A file outside of the application's folder.
    #[error("component `{component}`: `{}` is outside of the application's folder", path.display())]
    Outside {
        /// The component.
        component: String,
        /// The file, after links.
        path: PathBuf,
    },
    /// A file that would become a folder.
    #[error("component `{component}`: destination `{destination}` of a single file is a folder")]
    FolderDestination {
        /// The component.
        component: String,
        /// The destination.
        destination: String,
    },
    /// A destination that guests cannot have.
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
        /// The source.
        source_url: String,
    },
    /// One path that is to be both.
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
        /// What the system says.
        source: io::Error,
    },
}

/// Finds the files of a component whose manifest is in `root`.
///
/// Where two entries name one destination, the later one wins.
pub(crate) fn collect(root: &Path, component: &Component) -> Result<Files, FilesError> {
    let read = |source| FilesError::Read {
        path: root.to_owned(),
        source,
    };
    let mut collector = Collector {
        root,
        allowed: vec![root.canonicalize().map_err(read)?],
        component,
        exclude: Vec::new(),
        files: Files::new(),
    };
    for pattern in &component.exclude_files {
        let parsed =
            Pattern::new(pattern).map_err(|source| collector.malformed(pattern, source))?;
        collector.exclude.push(parsed);
    }
    for mount in &component.files {
        match mount {
            FileMount::Pattern(pattern) => collector.pattern(pattern)?,
            FileMount::Placed {
                source,
                destination,
            } => collector.placed(source, destination)?,
            FileMount::Content { path, .. } => {
                return Err(FilesError::Missing {
                    component: component.id.clone(),
                    pattern: path.clone(),
                });
            }
        }
    }
    collector.finish()
}

struct Collector<'a> {
    root: &'a Path,
    /// The folders, without links, that files may be in.
    allowed: Vec<PathBuf>,
    component: &'a Component,
    exclude: Vec<Pattern>,
    files: Files,
}

impl Collector<'_> {
    /// `"static"`, `"static/a.css"` or `"static/*.css"`: files keep their paths.
    fn pattern(&mut self, pattern: &str) -> Result<(), FilesError> {
        let name = || self.component.id.clone();
        let last = pattern.trim_end_matches('/').rsplit('/').next();
        if matches!(last, Some("." | "..")) {
            return Err(FilesError::Dots {
                component: name(),
                pattern: pattern.to_owned(),
            });
        }
        let path = self.root.join(pattern);
        if path.exists() {
            return self.tree(&path, |collector, path| collector.own_path(path));
        }
        if !pattern.contains(['*', '?', '[']) {
            return Err(FilesError::Missing {
                component: name(),
                pattern: pattern.to_owned(),
            });
        }
        // The folder's own name is no pattern, whatever characters it has.
        let root = Pattern::escape(&self.root.to_string_lossy());
        let all = format!("{root}/{pattern}");
        let paths = glob::glob(&all).map_err(|source| self.malformed(pattern, source))?;
        for path in paths {
            let path = path.map_err(|error| FilesError::Read {
                path: error.path().to_owned(),
                source: error.into(),
            })?;
            if path.is_file() && !self.is_excluded(&path) {
                let destination = self.own_path(&path)?;
                self.add(path, destination)?;
            }
        }
        Ok(())
    }

    /// `{ source, destination }`: a folder under, or a file as the destination.
    fn placed(&mut self, source: &str, destination: &str) -> Result<(), FilesError> {
        let component = || self.component.id.clone();
        let Some(local) = local_path(source) else {
            return Err(FilesError::Url {
                component: component(),
                source_url: source.to_owned(),
            });
        };
        let path = self.root.join(local);
        if !path.exists() {
            return Err(FilesError::Missing {
                component: component(),
                pattern: source.to_owned(),
            });
        }
        let is_file = path.is_file();
        let folder_like = destination.is_empty() || destination.ends_with(['/', '.']);
        if is_file && folder_like {
            return Err(FilesError::FolderDestination {
                component: component(),
                destination: destination.to_owned(),
            });
        }
        let below = destination.trim_start_matches('/');
        let below = if below.is_empty() { "." } else { below };
        let target = relative(Path::new(below)).map_err(|source| FilesError::Destination {
            component: component(),
            destination: destination.to_owned(),
            source,
        })?;
        // Who writes a source down means that folder, wherever it is.
        let whole = path.canonicalize().map_err(|source| FilesError::Read {
            path: path.clone(),
            source,
        })?;
        self.allowed.push(whole);
        let from = path.clone();
        self.tree(&path, move |_, path| {
            let rest = path.strip_prefix(&from).unwrap_or(Path::new(""));
            Ok(if rest.as_os_str().is_empty() {
                target.clone()
            } else {
                target.join(rest)
            })
        })?;
        self.allowed.truncate(1);
        Ok(())
    }

    /// Adds a file, or all files below a folder in the order of their names. Links to
    /// files are followed, links to folders are not.
    fn tree(
        &mut self,
        path: &Path,
        destination: impl Fn(&Self, &Path) -> Result<PathBuf, FilesError>,
    ) -> Result<(), FilesError> {
        if !path.is_dir() {
            let destination = destination(self, path)?;
            return self.add(path.to_owned(), destination);
        }
        let read = |path: &Path, source| FilesError::Read {
            path: path.to_owned(),
            source,
        };
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(|error| read(&folder, error))? {
                let entry = entry.map_err(|error| read(&folder, error))?;
                let path = entry.path();
                let kind = entry.file_type().map_err(|error| read(&path, error))?;
                if kind.is_dir() {
                    folders.push(path);
                } else if path.is_file() && !self.is_excluded(&path) {
                    let destination = destination(self, &path)?;
                    self.add(path, destination)?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, destination: PathBuf) -> Result<(), FilesError> {
        let whole = path.canonicalize().map_err(|source| FilesError::Read {
            path: path.clone(),
            source,
        })?;
        if !self.allowed.iter().any(|folder| whole.starts_with(folder)) {
            return Err(FilesError::Outside {
                component: self.component.id.clone(),
                path: whole,
            });
        }
        self.files.insert(destination, path);
        Ok(())
    }

    /// The path of a file relative to the application's folder.
    fn own_path(&self, path: &Path) -> Result<PathBuf, FilesError> {
        let outside = || FilesError::Outside {
            component: self.component.id.clone(),
            path: path.to_owned(),
        };
        let below = path.strip_prefix(self.root).map_err(|_| outside())?;
        let mut clean = PathBuf::new();
        for part in below.components() {
            match part {
                PathPart::Normal(part) => clean.push(part),
                PathPart::CurDir => {}
                _ => return Err(outside()),
            }
        }
        Ok(clean)
    }

    fn is_excluded(&self, path: &Path) -> bool {
        let own = path.strip_prefix(self.root).unwrap_or(path);
        self.exclude.iter().any(|pattern| pattern.matches_path(own))
    }

    fn malformed(&self, pattern: &str, source: glob::PatternError) -> FilesError {
        FilesError::Pattern {
            component: self.component.id.clone(),
            pattern: pattern.to_owned(),
            source,
        }
    }

    /// Paths sort part by part, so what is below a file comes right after it.
    fn finish(self) -> Result<Files, FilesError> {
        let mut before: Option<&PathBuf> = None;
        for path in self.files.keys() {
            if let Some(file) = before.filter(|file| path.starts_with(file)) {
                return Err(FilesError::Collision {
                    component: self.component.id.clone(),
                    file: file.clone(),
                    below: path.clone(),
                });
            }
            before = Some(path);
        }
        Ok(self.files)
    }
}
