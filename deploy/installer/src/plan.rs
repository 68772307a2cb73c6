//! Planned changes of a node: steps that can be shown, done and undone.

use std::fmt;
use std::path::{Path, PathBuf};

use similar::TextDiff;

use crate::host::{Entry, Host, HostError};
use crate::target::BACKUP;

/// The file whose owner and mode a new file gets: a backup must not be more readable than
/// its original.
fn like(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    let kept = text.strip_suffix(BACKUP).unwrap_or(&text);
    PathBuf::from(kept)
}

/// One step. It includes the previous state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A missing folder is created.
    MakeFolder(PathBuf),
    /// A program is copied from the installer's image.
    CopyProgram {
        /// The file of the image.
        source: PathBuf,
        /// Its place on the node.
        path: PathBuf,
        /// Whether it replaces another program, which no process runs.
        replaces: bool,
    },
    /// A link is made, changed, or removed.
    Link {
        /// Its place.
        path: PathBuf,
        /// Its old target; `None` if there was no link.
        before: Option<PathBuf>,
        /// Its new target; `None` to remove it.
        after: Option<PathBuf>,
    },
    /// A file is made, changed or removed.
    File {
        /// Its place.
        path: PathBuf,
        /// Its old content; `None` if there was no file.
        before: Option<Vec<u8>>,
        /// Its new content; `None` to remove it.
        after: Option<Vec<u8>>,
    },
    /// The same for a file that only its owner may read, and whose content is not shown.
    PrivateFile {
        /// Its place.
        path: PathBuf,
        /// Its old content; `None` if there was no file.
        before: Option<Vec<u8>>,
        /// Its new content; `None` to remove it.
        after: Option<Vec<u8>>,
    },
    /// A folder is removed with its content.
    RemoveTree(PathBuf),
    /// A folder is removed if it is empty.
    RemoveFolder(PathBuf),
}

impl Step {
    /// Does it.
    ///
    /// # Errors
    ///
    /// If a file or folder cannot be written.
    pub fn run(&self, host: &Host) -> Result<(), HostError> {
        match self {
            Self::MakeFolder(path) => host.make_folder(path),
            Self::CopyProgram { source, path, .. } => host.copy_program(source, path),
            Self::Link { path, after, .. } => match after {
                Some(target) => host.link(path, target),
                None => host.remove(path),
            },
            Self::File { path, after, .. } => match after {
                Some(bytes) => host.write_like(path, bytes, &like(path)),
                None => host.remove(path),
            },
            Self::PrivateFile { path, after, .. } => match after {
                Some(bytes) => host.write_private(path, bytes),
                None => host.remove(path),
            },
            Self::RemoveTree(path) => host.remove_tree(path),
            Self::RemoveFolder(path) => host.remove_empty(path),
        }
    }

    /// The step that undoes it. Removing a whole folder cannot be undone: such steps come
    /// last, when nothing can fail any more.
    fn reverse(&self) -> Option<Self> {
        Some(match self {
            Self::MakeFolder(path) => Self::RemoveFolder(path.clone()),
            Self::CopyProgram { replaces: true, .. } => return None,
            Self::CopyProgram { path, .. } => Self::File {
                path: path.clone(),
                before: None,
                after: None,
            },
            Self::Link {
                path,
                before,
                after,
            } => Self::Link {
                path: path.clone(),
                before: after.clone(),
                after: before.clone(),
            },
            Self::File {
                path,
                before,
                after,
            } => Self::File {
                path: path.clone(),
                before: after.clone(),
                after: before.clone(),
            },
            Self::PrivateFile {
                path,
                before,
                after,
            } => Self::PrivateFile {
                path: path.clone(),
                before: after.clone(),
                after: before.clone(),
            },
            Self::RemoveTree(_) | Self::RemoveFolder(_) => return None,
        })
    }
}

/// Steps in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Its steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Adds a step.
    pub fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Adds the missing folders of a path, the outer first.
    ///
    /// # Errors
    ///
    /// If something that is not a folder is in the way, or none can be made.
    pub fn folder(&mut self, host: &Host, path: &Path) -> Result<(), HostError> {
        let mut missing: Vec<_> = path
            .ancestors()
            .take_while(|path| !host.exists(path))
            .map(Path::to_owned)
            .collect();
        host.check_writable(path)?;
        missing.reverse();
        for folder in missing {
            let step = Step::MakeFolder(folder);
            if !self.steps.contains(&step) {
                self.push(step);
            }
        }
        Ok(())
    }

    /// The folders that it makes, the outer first.
    pub fn made_folders(&self) -> impl Iterator<Item = &Path> {
        self.steps.iter().filter_map(|step| match step {
            Step::MakeFolder(path) => Some(path.as_path()),
            _ => None,
        })
    }

    /// Adds a link, unless it already leads there.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn link(&mut self, host: &Host, path: &Path, target: &Path) -> Result<(), HostError> {
        let before = match host.entry(path)? {
            Entry::Link(before) if before == target => return Ok(()),
            Entry::Link(before) => Some(before),
            _ => None,
        };
        self.push(Step::Link {
            path: path.to_owned(),
            before,
            after: Some(target.to_owned()),
        });
        Ok(())
    }

    /// Adds the step that makes a file hold these bytes, unless it already does.
    ///
    /// # Errors
    ///
    /// If it exists and cannot be read.
    pub fn file(
        &mut self,
        host: &Host,
        path: &Path,
        after: Option<Vec<u8>>,
    ) -> Result<(), HostError> {
        let before = host.read(path)?;
        if before != after {
            self.push(Step::File {
                path: path.to_owned(),
                before,
                after,
            });
        }
        Ok(())
    }

    /// Adds the step that makes a private file hold these bytes, unless it already does.
    ///
    /// # Errors
    ///
    /// If it exists and cannot be read.
    pub fn private_file(
        &mut self,
        host: &Host,
        path: &Path,
        after: Option<Vec<u8>>,
    ) -> Result<(), HostError> {
        let before = host.read(path)?;
        if before != after {
            self.push(Step::PrivateFile {
                path: path.to_owned(),
                before,
                after,
            });
        }
        Ok(())
    }

    /// Does all of it. If a step fails, the steps before it are undone.
    ///
    /// # Errors
    ///
    /// The failure of the step.
    pub fn run(&self, host: &Host) -> Result<(), HostError> {
        for (done, step) in self.steps.iter().enumerate() {
            if let Err(error) = step.run(host) {
                undo(&self.steps[..done], host);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Undoes all of it, the last first.
    pub fn undo(&self, host: &Host) {
        undo(&self.steps, host);
    }
}

fn undo(steps: &[Step], host: &Host) {
    for step in steps.iter().rev().filter_map(Step::reverse) {
        if let Err(error) = step.run(host) {
            // The first error matters more than this one.
            tracing::warn!(%error, "Cannot take a step back");
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| step.fmt(out))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeFolder(path) => writeln!(out, "make folder {}", path.display()),
            Self::CopyProgram { path, .. } => writeln!(out, "copy program {}", path.display()),
            Self::Link {
                path,
                before,
                after,
            } => {
                let path = path.display();
                match (before, after) {
                    (None, Some(to)) => writeln!(out, "link {path} to {}", to.display()),
                    (Some(from), Some(to)) => {
                        let (from, to) = (from.display(), to.display());
                        writeln!(out, "link {path} to {to} and no longer to {from}")
                    }
                    (_, None) => writeln!(out, "remove link {path}"),
                }
            }
            Self::File {
                path,
                before,
                after,
            } => difference(out, path, before.as_deref(), after.as_deref()),
            Self::PrivateFile { path, after, .. } => match after {
                Some(_) => writeln!(out, "write {}, whose content is not shown", path.display()),
                None => writeln!(out, "remove {}", path.display()),
            },
            Self::RemoveTree(path) => writeln!(out, "remove {} and all in it", path.display()),
            Self::RemoveFolder(path) => {
                writeln!(out, "remove folder {} if it is empty", path.display())
            }
        }
    }
}

/// The difference as `diff -u` and `patch` know it.
fn difference(
    out: &mut fmt::Formatter<'_>,
    path: &Path,
    before: Option<&[u8]>,
    after: Option<&[u8]>,
) -> fmt::Result {
    const NOTHING: &str = "/dev/null";
    let name = path.display().to_string();
    let names = (
        before.map_or(NOTHING, |_| &name),
        after.map_or(NOTHING, |_| &name),
    );
    let before = String::from_utf8_lossy(before.unwrap_or_default());
    let after = String::from_utf8_lossy(after.unwrap_or_default());
    let difference = TextDiff::from_lines(before.as_ref(), after.as_ref());
    write!(
        out,
        "{}",
        difference.unified_diff().header(names.0, names.1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn host() -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().expect("a folder");
        let host = Host::new(folder.path());
        (folder, host)
    }

    #[test]
    fn a_failed_step_takes_the_others_back() {
        let (folder, host) = host();
        fs::write(folder.path().join("a"), "old").expect("written");
        let mut plan = Plan::default();
        plan.folder(&host, Path::new("/x/y")).expect("possible");
        plan.file(&host, Path::new("/a"), Some(b"new".to_vec()))
            .expect("readable");
        plan.push(Step::CopyProgram {
            source: "/no/such/program".into(),
            path: "/x/y/program".into(),
            replaces: false,
        });
        plan.run(&host).expect_err("no such program");
        let left = fs::read_to_string(folder.path().join("a")).expect("there");
        assert_eq!(left, "old");
        assert!(!host.exists("/x"));
    }

    #[test]
    fn a_plan_is_shown_as_a_difference() {
        let (folder, host) = host();
        fs::write(folder.path().join("a"), "one\ntwo\n").expect("written");
        let mut plan = Plan::default();
        plan.file(&host, Path::new("/a"), Some(b"one\n2\n".to_vec()))
            .expect("readable");
        plan.link(&host, Path::new("/b"), Path::new("/a"))
            .expect("possible");
        assert_eq!(
            plan.to_string(),
            "--- /a\n+++ /a\n@@ -1,2 +1,2 @@\n one\n-two\n+2\nlink /b to /a\n"
        );
    }
}
