//! The files that a manifest's `files` refer to.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component as PathPart, Path, PathBuf};

use glob::Pattern;
use skiff_manifest::{Component, FileMount};
use walkdir::{DirEntry, WalkDir};

use super::local_path;
use crate::paths::relative;
use wildcards::Wildcards;

mod error;
mod wildcards;

pub use error::FilesError;

/// The destination of each file, relative to the guest's `/`, and its source.
pub(crate) type Files = BTreeMap<PathBuf, PathBuf>;

/// The files of a component, and warnings about them.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) files: Files,
    pub(crate) warnings: Vec<String>,
}

/// Finds the files of a component whose manifest is in `root`.
///
/// Links are followed as long as they lead to something inside the folder (or the source
/// that names it). An entry whose files are not available is a mistake, and all mistakes
/// are reported. If two entries have the same destination, the later one wins.
pub(crate) fn collect(root: &Path, component: &Component) -> Result<Collected, Vec<FilesError>> {
    let root = root.canonicalize().map_err(|source| {
        vec![FilesError::Read {
            path: root.to_owned(),
            source,
        }]
    })?;
    let mut collector = Collector {
        root,
        component,
        exclude: Vec::new(),
        collected: Collected::default(),
        faults: Vec::new(),
    };
    for pattern in &component.exclude_files {
        match Pattern::new(pattern) {
            Ok(parsed) => collector.exclude.push(parsed),
            Err(source) => collector.faults.push(collector.malformed(pattern, source)),
        }
    }
    for mount in &component.files {
        let done = match mount {
            FileMount::Pattern(pattern) => collector.pattern(pattern),
            FileMount::Placed {
                source,
                destination,
            } => collector.placed(source, destination),
            FileMount::Content { path, .. } => Err(collector.missing(path)),
        };
        collector.faults.extend(done.err());
    }
    collector.finish()
}

struct Collector<'a> {
    /// The application's folder, with links resolved.
    root: PathBuf,
    component: &'a Component,
    exclude: Vec<Pattern>,
    collected: Collected,
    faults: Vec<FilesError>,
}

/// A tree to walk.
struct Tree<'a> {
    /// Its start: a folder, or a file.
    start: &'a Path,
    /// Its path as exclusions see it.
    name: &'a Path,
    /// Its destination in the guest.
    destination: &'a Path,
    /// The folders, with links resolved, that all files have to be in.
    allowed: &'a [PathBuf],
    /// The files to take; all of them if there are no wildcards.
    wildcards: Option<&'a Wildcards>,
}

impl Collector<'_> {
    /// `"static"`, `"static/a.css"` or `"static/*.css"`: files keep their paths.
    fn pattern(&mut self, pattern: &str) -> Result<(), FilesError> {
        let last = pattern.trim_end_matches('/').rsplit('/').next();
        if matches!(last, Some("." | "..")) {
            return Err(FilesError::Dots {
                component: self.id(),
                pattern: pattern.to_owned(),
            });
        }
        let allowed = [self.root.clone()];
        let literal = self.root.join(pattern);
        if literal.symlink_metadata().is_ok() {
            let own = self.own_path(Path::new(pattern))?;
            self.walk(&Tree {
                start: &literal,
                name: &own,
                destination: &own,
                allowed: &allowed,
                wildcards: None,
            })?;
            return Ok(());
        }
        let wildcards = match Wildcards::parse(pattern) {
            Ok(Some(wildcards)) => wildcards,
            Ok(None) => return Err(self.missing(pattern)),
            Err(source) => return Err(self.malformed(pattern, source)),
        };
        if wildcards.go_up() {
            return Err(FilesError::Parent {
                component: self.id(),
                pattern: pattern.to_owned(),
            });
        }
        let start = self.root.join(&wildcards.folder);
        let own = self.own_path(&wildcards.folder)?;
        // A missing folder has no files, just like an empty one.
        let found = !matches!(start.try_exists(), Ok(false))
            && self.walk(&Tree {
                start: &start,
                name: &own,
                destination: &own,
                allowed: &allowed,
                wildcards: Some(&wildcards),
            })?;
        if !found {
            self.collected.warnings.push(format!(
                "component `{}`: `{pattern}` in `files` matches no file",
                self.component.id
            ));
        }
        Ok(())
    }

    /// `{ source, destination }`: a folder under, or a file as the destination.
    fn placed(&mut self, source: &str, destination: &str) -> Result<(), FilesError> {
        // The application's own folder has the empty path, as in Spin.
        let local = match source {
            "" => Some(Path::new("")),
            _ => local_path(source),
        };
        let local = local.ok_or_else(|| FilesError::Url {
            component: self.id(),
            source_url: source.to_owned(),
        })?;
        let start = self.root.join(local);
        let whole = match start.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.missing(source));
            }
            other => other.map_err(|source| FilesError::Read {
                path: start.clone(),
                source,
            })?,
        };
        let folder_like = destination.is_empty() || destination.ends_with(['/', '.']);
        if folder_like && !whole.is_dir() {
            return Err(FilesError::FolderDestination {
                component: self.id(),
                destination: destination.to_owned(),
            });
        }
        let below = destination.trim_start_matches('/');
        let below = if below.is_empty() { "." } else { below };
        let target = relative(Path::new(below)).map_err(|source| FilesError::Destination {
            component: self.id(),
            destination: destination.to_owned(),
            source,
        })?;
        self.walk(&Tree {
            start: &start,
            name: start.strip_prefix(&self.root).unwrap_or(&start),
            destination: &target,
            // A source that is written in the manifest may be any folder.
            allowed: &[self.root.clone(), whole],
            wildcards: None,
        })?;
        Ok(())
    }

    /// Adds a file, or all matching files below a folder. Returns whether there were any,
    /// including excluded ones.
    fn walk(&mut self, tree: &Tree<'_>) -> Result<bool, FilesError> {
        self.stays_inside(tree.start, tree.allowed)?;
        let mut found = false;
        let mut entries = WalkDir::new(tree.start)
            .follow_links(true)
            .sort_by_file_name()
            .into_iter();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(tree.start).to_owned();
                    let error = self.unreadable(&path, error);
                    // A dangling link is not a folder; other errors leave this open.
                    let is_folder = !matches!(error, FilesError::Dangling { .. });
                    let below = tree.below(&path);
                    if tree.means(below, is_folder) && !self.is_excluded(&join(tree.name, below)) {
                        found = true;
                        self.faults.push(error);
                    }
                    continue;
                }
            };
            let below = tree.below(entry.path()).to_owned();
            let is_folder = entry.file_type().is_dir();
            if !tree.means(&below, is_folder) {
                if is_folder {
                    entries.skip_current_dir();
                }
                continue;
            }
            if is_folder {
                if let Err(error) = self.link_stays_inside(&entry, tree) {
                    self.faults.push(error);
                    entries.skip_current_dir();
                }
                continue;
            }
            found = true;
            if self.is_excluded(&join(tree.name, &below)) {
                continue;
            }
            let added = self.link_stays_inside(&entry, tree).and_then(|()| {
                if entry.file_type().is_file() {
                    return Ok(());
                }
                Err(FilesError::NotAFile {
                    component: self.id(),
                    path: entry.path().to_owned(),
                })
            });
            match added {
                Ok(()) => {
                    let destination = join(tree.destination, &below);
                    let files = &mut self.collected.files;
                    files.insert(destination, entry.into_path());
                }
                Err(error) => self.faults.push(error),
            }
        }
        Ok(found)
    }

    /// Anything but a link is in the folder that contains it.
    fn link_stays_inside(&self, entry: &DirEntry, tree: &Tree<'_>) -> Result<(), FilesError> {
        if entry.path_is_symlink() {
            self.stays_inside(entry.path(), tree.allowed)
        } else {
            Ok(())
        }
    }

    fn stays_inside(&self, path: &Path, allowed: &[PathBuf]) -> Result<(), FilesError> {
        let whole = match path.canonicalize() {
            Ok(whole) => whole,
            // The walk reports what is wrong with it.
            Err(_) => return Ok(()),
        };
        if allowed.iter().any(|folder| whole.starts_with(folder)) {
            return Ok(());
        }
        Err(FilesError::Outside {
            component: self.id(),
            path: whole,
        })
    }

    fn unreadable(&self, path: &Path, error: walkdir::Error) -> FilesError {
        let (component, path) = (self.id(), path.to_owned());
        if error.loop_ancestor().is_some() {
            return FilesError::Loop { component, path };
        }
        let source = error
            .into_io_error()
            .unwrap_or_else(|| io::ErrorKind::Other.into());
        match path.read_link() {
            Ok(target) if source.kind() == io::ErrorKind::NotFound => FilesError::Dangling {
                component,
                path,
                target,
            },
            _ => FilesError::Read { path, source },
        }
    }

    /// A path of the manifest relative to the application's folder, without `.` and `..`. A
    /// path that itself leads outside is refused; links are checked when they are followed.
    fn own_path(&self, path: &Path) -> Result<PathBuf, FilesError> {
        let outside = || FilesError::Outside {
            component: self.id(),
            path: path.to_owned(),
        };
        let below = match path.is_absolute() {
            true => path.strip_prefix(&self.root).map_err(|_| outside())?,
            false => path,
        };
        let mut clean = PathBuf::new();
        for part in below.components() {
            match part {
                PathPart::Normal(part) => clean.push(part),
                PathPart::CurDir => {}
                PathPart::ParentDir if clean.pop() => {}
                _ => return Err(outside()),
            }
        }
        Ok(clean)
    }

    fn is_excluded(&self, own: &Path) -> bool {
        let own = own.to_string_lossy();
        self.exclude.iter().any(|pattern| pattern.matches(&own))
    }

    fn id(&self) -> String {
        self.component.id.clone()
    }

    fn missing(&self, entry: &str) -> FilesError {
        FilesError::Missing {
            component: self.id(),
            pattern: entry.to_owned(),
        }
    }

    fn malformed(&self, pattern: &str, source: glob::PatternError) -> FilesError {
        FilesError::Pattern {
            component: self.id(),
            pattern: pattern.to_owned(),
            source,
        }
    }

    /// Paths sort part by part, so anything below a file comes right after it.
    fn finish(mut self) -> Result<Collected, Vec<FilesError>> {
        let mut before: Option<&PathBuf> = None;
        for path in self.collected.files.keys() {
            if let Some(file) = before.filter(|file| path.starts_with(file)) {
                self.faults.push(FilesError::Collision {
                    component: self.component.id.clone(),
                    file: file.clone(),
                    below: path.clone(),
                });
            }
            before = Some(path);
        }
        match self.faults.is_empty() {
            true => Ok(self.collected),
            false => Err(self.faults),
        }
    }
}

impl Tree<'_> {
    /// A path of the walk, relative to its start.
    fn below<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(self.start).unwrap_or(path)
    }

    /// Whether a file matches, or files below a folder may match.
    fn means(&self, below: &Path, is_folder: bool) -> bool {
        match self.wildcards {
            Some(wildcards) if is_folder => wildcards.may_match_below(below),
            Some(wildcards) => wildcards.matches(below),
            None => true,
        }
    }
}

/// Joins paths; an empty one adds nothing, not even a slash.
fn join(folder: &Path, below: &Path) -> PathBuf {
    match below.as_os_str().is_empty() {
        true => folder.to_owned(),
        false => folder.join(below),
    }
}
