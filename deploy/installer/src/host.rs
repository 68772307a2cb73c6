//! The node's files, seen from wherever its root is mounted.

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// The number of links that the kernel follows.
const MAX_LINKS: usize = 40;

/// Folders of programs; the last is NixOS's.
const SYSTEM_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";

/// Folders that only root may enter. Below `/run` are copies of configurations, which may
/// contain passwords of registries; the shim's state has the content of private images.
const PRIVATE: [&str; 2] = ["/run", crate::layouts::STATE];

/// The file's name until it is complete.
const PARTIAL: &str = ".skiff-new";

/// What can go wrong with a file of the node.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} `{}` on the node", path.display())]
pub struct HostError {
    /// The attempted action, as a verb.
    pub what: &'static str,
    /// The path as the node knows it.
    pub path: PathBuf,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

/// The root folder of a node. All paths given to it are absolute paths of the node; links
/// are followed as on the node, so an absolute link never leads out of its root.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

/// What is at a path, without following a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Absent,
    /// A link to this path.
    Link(PathBuf),
    /// A folder.
    Folder,
    /// A file, or anything else.
    Other,
}

impl Host {
    /// The node whose root is mounted here.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where its root is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A program of the node, run in the node's root with the libraries it expects. It is
    /// searched where the node's own services find programs.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", SYSTEM_PATH);
        if self.root == Path::new("/") {
            return command;
        }
        let root = self.root.clone();
        let change = move || {
            rustix::process::chroot(&root)?;
            rustix::process::chdir("/")?;
            Ok(())
        };
        // SAFETY: between fork and exec it only makes two system calls with an existing
        // path, and neither allocates nor takes a lock.
        unsafe { command.pre_exec(change) };
        command
    }

    /// Where a path of the node is, following every link, also at its end.
    ///
    /// # Errors
    ///
    /// If links lead in a circle.
    pub fn locate(&self, path: &Path) -> Result<PathBuf, HostError> {
        self.walk(path, true)
    }

    /// The same, but a link at the end is not followed.
    fn locate_itself(&self, path: &Path) -> Result<PathBuf, HostError> {
        self.walk(path, false)
    }

    fn walk(&self, path: &Path, follow_last: bool) -> Result<PathBuf, HostError> {
        let mut todo: Vec<OsString> = names(path).into_iter().rev().collect();
        let mut found: Vec<OsString> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                found.pop();
                continue;
            }
            found.push(name);
            if todo.is_empty() && !follow_last {
                break;
            }
            let Ok(target) = fs::read_link(self.join(&found)) else {
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                let source = io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error());
                return Err(failed("follow", path)(source));
            }
            found.pop();
            if target.is_absolute() {
                found.clear();
            }
            todo.extend(names(&target).into_iter().rev());
        }
        Ok(self.join(&found))
    }

    fn join(&self, names: &[OsString]) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(names);
        path
    }

    /// The same place as the node knows it.
    fn seen_from_node(&self, located: &Path) -> PathBuf {
        let inner = located.strip_prefix(&self.root).unwrap_or(located);
        Path::new("/").join(inner)
    }

    /// The path after all links, as the node knows it.
    ///
    /// # Errors
    ///
    /// If links lead in a circle.
    pub fn real(&self, path: &Path) -> Result<PathBuf, HostError> {
        Ok(self.seen_from_node(&self.locate(path)?))
    }

    /// Whether something exists there, at the end of all links.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.locate(path.as_ref())
            .is_ok_and(|located| located.exists())
    }

    /// What is at a path.
    ///
    /// # Errors
    ///
    /// If it cannot be examined.
    pub fn entry(&self, path: &Path) -> Result<Entry, HostError> {
        let located = self.locate_itself(path)?;
        match fs::symlink_metadata(&located) {
            Ok(data) if data.is_symlink() => fs::read_link(&located)
                .map(Entry::Link)
                .map_err(failed("read", path)),
            Ok(data) if data.is_dir() => Ok(Entry::Folder),
            Ok(_) => Ok(Entry::Other),
            Err(error) if is_absent(&error) => Ok(Entry::Absent),
            Err(source) => Err(failed("read", path)(source)),
        }
    }

    /// A file's content; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// If it exists and cannot be read.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        match fs::read(self.locate(path)?) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(source) => Err(failed("read", path)(source)),
        }
    }

    /// A file's text; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// If it exists and cannot be read, or is not UTF-8.
    pub fn read_text(&self, path: &Path) -> Result<Option<String>, HostError> {
        let decode = |bytes| {
            String::from_utf8(bytes).map_err(|error| {
                failed("read", path)(io::Error::new(io::ErrorKind::InvalidData, error))
            })
        };
        self.read(path)?.map(decode).transpose()
    }

    /// The names in a folder, sorted; none if it does not exist.
    ///
    /// # Errors
    ///
    /// If it exists and cannot be read.
    pub fn names_in(&self, path: &Path) -> Result<Vec<OsString>, HostError> {
        let entries = match fs::read_dir(self.locate(path)?) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(source) => return Err(failed("read", path)(source)),
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names: Vec<_> = names
            .collect::<Result<_, _>>()
            .map_err(failed("read", path))?;
        names.sort();
        Ok(names)
    }

    /// Checks that files can be put into a folder, or, if it does not exist yet, into the
    /// nearest one above it.
    ///
    /// # Errors
    ///
    /// If they cannot.
    pub fn check_writable(&self, folder: &Path) -> Result<(), HostError> {
        let mut located = self.locate(folder)?;
        while !located.exists() && located != self.root {
            located.pop();
        }
        let writable = rustix::fs::access(&located, rustix::fs::Access::WRITE_OK);
        let folder_there = fs::metadata(&located).is_ok_and(|data| data.is_dir());
        let outcome = match writable {
            Err(error) => Err(error.into()),
            Ok(()) if !folder_there => Err(io::ErrorKind::NotADirectory.into()),
            Ok(()) => Ok(()),
        };
        outcome.map_err(failed("write to", &self.seen_from_node(&located)))
    }

    /// Writes a file beside its place and renames it, so that it is never seen
    /// half-written. The owner and mode of a replaced file are kept, and links to it stay
    /// links.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        self.write_like(path, bytes, path)
    }

    /// The same, but a new file gets owner and mode of another one.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn write_like(&self, path: &Path, bytes: &[u8], like: &Path) -> Result<(), HostError> {
        const FOR_ALL_TO_READ: u32 = 0o644;
        let place = self.locate(path)?;
        let like = self.locate(like)?;
        let write = |partial: &Path| {
            let mut file = create_private(partial)?;
            file.write_all(bytes)?;
            match fs::metadata(&place).or_else(|_| fs::metadata(&like)) {
                Ok(old) => {
                    file.set_permissions(old.permissions())?;
                    // Without root there is only one possible owner.
                    std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid())).ok();
                }
                Err(_) => file.set_permissions(Permissions::from_mode(FOR_ALL_TO_READ))?,
            }
            file.sync_all()
        };
        put_in_place(&place, write).map_err(failed("write", path))
    }

    /// Writes a file that only root may read, atomically.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write_private(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let place = self.locate(path)?;
        let write = |partial: &Path| {
            let mut file = create_private(partial)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        put_in_place(&place, write).map_err(failed("write", path))
    }

    /// Copies an executable of this machine to the node, atomically.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or the folder cannot be written.
    pub fn copy_program(&self, source: &Path, path: &Path) -> Result<(), HostError> {
        const PROGRAM_FOR_ALL: u32 = 0o755;
        let place = self.locate(path)?;
        let copy = |partial: &Path| {
            fs::copy(source, partial)?;
            let file = File::open(partial)?;
            file.set_permissions(Permissions::from_mode(PROGRAM_FOR_ALL))?;
            file.sync_all()
        };
        put_in_place(&place, copy).map_err(failed("write", path))
    }

    /// Makes a link, or changes the existing one, atomically.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn link(&self, path: &Path, target: &Path) -> Result<(), HostError> {
        let place = self.locate_itself(path)?;
        put_in_place(&place, |partial| symlink(target, partial)).map_err(failed("link", path))
    }

    /// Makes one folder.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn make_folder(&self, path: &Path) -> Result<(), HostError> {
        let mode = match PRIVATE.iter().any(|folder| path.starts_with(folder)) {
            true => 0o700,
            false => 0o777,
        };
        let made = fs::DirBuilder::new().mode(mode).create(self.locate(path)?);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(failed("make", path)),
        }
    }

    /// Removes a file or a link. A missing one is not an error.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn remove(&self, path: &Path) -> Result<(), HostError> {
        match fs::remove_file(self.locate_itself(path)?) {
            Err(error) if is_absent(&error) => Ok(()),
            removed => removed.map_err(failed("remove", path)),
        }
    }

    /// Removes a folder and its content. A missing one is not an error.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn remove_tree(&self, path: &Path) -> Result<(), HostError> {
        match fs::remove_dir_all(self.locate_itself(path)?) {
            Err(error) if is_absent(&error) => Ok(()),
            removed => removed.map_err(failed("remove", path)),
        }
    }

    /// Removes a folder if it is empty.
    ///
    /// # Errors
    ///
    /// If it is empty and cannot be removed.
    pub fn remove_empty(&self, path: &Path) -> Result<(), HostError> {
        match fs::remove_dir(self.locate_itself(path)?) {
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed.map_err(failed("remove", path)),
        }
    }
}

/// Makes a file that only its owner can read until its mode is set: a reader who has
/// opened it before could read on.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// Makes something beside a place and renames it to there. If that fails, it is removed.
fn put_in_place(place: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let folder = place.parent().unwrap_or(Path::new("/"));
    let partial = folder.join(format!(".{name}{PARTIAL}"));
    // The leftovers of a killed run would be in the way of a link.
    fs::remove_file(&partial).ok();
    let placed = make(&partial).and_then(|()| fs::rename(&partial, place));
    if placed.is_err() {
        fs::remove_file(&partial).ok();
        return placed;
    }
    File::open(folder)?.sync_all()
}

fn names(path: &Path) -> Vec<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> HostError + use<> {
    let path = path.to_owned();
    move |source| HostError {
        what,
        path: path.clone(),
        source,
    }
}
