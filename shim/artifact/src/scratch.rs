//! Temporary folders, removed when their process no longer needs them.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, fstat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::beneath::Beneath;

/// How often to retry a new folder that a concurrent sweep removed.
const TRIES: usize = 100;

/// A new folder of this process. It is removed on drop; if the process is killed, [`sweep`]
/// finds it, because its lock is no longer held.
#[derive(Debug)]
pub struct Scratch {
    parent: Beneath,
    folder: Beneath,
    name: PathBuf,
    /// Whether it still exists under its name.
    ours: bool,
}

impl Scratch {
    /// Creates a folder in `parent` whose name begins with `prefix` and that only this user
    /// can look into.
    ///
    /// # Errors
    /// The system's error.
    pub fn new_in(parent: &Path, prefix: &str) -> io::Result<Self> {
        Self::with_mode(parent, prefix, 0o700)
    }

    /// The same with another mode.
    pub(crate) fn with_mode(parent: &Path, prefix: &str, mode: u32) -> io::Result<Self> {
        let within = Beneath::open(parent)?;
        for _ in 0..TRIES {
            let made = tempfile::Builder::new()
                .prefix(prefix)
                .permissions(Permissions::from_mode(mode))
                .tempdir_in(parent)?
                .keep();
            let name = PathBuf::from(made.file_name().unwrap_or_default());
            let folder = match lock(&within, &name) {
                Ok(Some(folder)) => folder,
                Ok(None) => continue,
                Err(error) => {
                    // No other process would know that it is abandoned.
                    within.remove(&name)?;
                    return Err(error);
                }
            };
            return Ok(Self {
                parent: within,
                folder,
                name,
                ours: true,
            });
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The folder.
    pub fn path(&self) -> PathBuf {
        self.parent.shown(&self.name)
    }

    pub(crate) fn folder(&self) -> &Beneath {
        &self.folder
    }

    /// Renames it to `name` in the same parent, where it stays.
    pub(crate) fn keep_as(mut self, name: &OsStr) -> io::Result<()> {
        self.parent.rename(&self.name, Path::new(name))?;
        self.ours = false;
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.ours {
            // What is left is found by the next sweep: the lock ends here.
            self.parent.remove(&self.name).ok();
        }
    }
}

/// Opens a folder and takes its lock, which is released when the process ends at the
/// latest. `None` if another process holds it or has removed the folder meanwhile.
fn lock(parent: &Beneath, name: &Path) -> io::Result<Option<Beneath>> {
    let folder = match parent.folder(name) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(is_still(parent, name, &folder)?.then_some(folder)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the name still refers to the opened folder: a lock on a removed folder protects
/// nothing.
pub(crate) fn is_still(parent: &Beneath, name: &Path, folder: &Beneath) -> io::Result<bool> {
    let opened = fstat(folder)?;
    let named = parent.kind(name)?;
    Ok(named.is_some_and(|named| (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)))
}

/// Removes leftovers of killed processes in `parent`: folders of this user whose names
/// begin with one of `prefixes` and that are not locked. Returns the removed ones.
///
/// # Errors
/// Where `parent` cannot be read. A folder that cannot be removed stays.
pub fn sweep(parent: &Path, prefixes: &[&str]) -> io::Result<Vec<PathBuf>> {
    let within = Beneath::open(parent)?;
    let mut gone = Vec::new();
    for name in within.names(Path::new(""))? {
        let left = |prefix: &&str| name.as_bytes().starts_with(prefix.as_bytes());
        if !prefixes.iter().any(left) {
            continue;
        }
        if remove_unheld(&within, Path::new(&name)).unwrap_or(false) {
            gone.push(within.shown(Path::new(&name)));
        }
    }
    Ok(gone)
}

/// Removes a folder of this user unless it is locked.
pub(crate) fn remove_unheld(parent: &Beneath, name: &Path) -> io::Result<bool> {
    let owner = parent.kind(name)?.map(|found| found.st_uid);
    if owner != Some(geteuid().as_raw()) {
        return Ok(false);
    }
    let Some(_held) = lock(parent, name)? else {
        return Ok(false);
    };
    parent.remove(name)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_is_gone_with_its_owner_and_not_before() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new_in(parent.path(), ".new-").unwrap();
        fs::create_dir_all(scratch.path().join("a/b")).unwrap();
        assert_eq!(
            sweep(parent.path(), &[".new-"]).unwrap(),
            [""; 0].map(PathBuf::from)
        );
        assert!(scratch.path().join("a/b").exists());
        let mode = fs::metadata(scratch.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let path = scratch.path();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir_all(at(".new-left/deep/deeper")).unwrap();
        fs::create_dir(at("other")).unwrap();
        symlink(outside.path(), at(".new-link")).unwrap();
        symlink(outside.path(), at(".new-left/link")).unwrap();
        let held = Scratch::new_in(parent.path(), ".new-").unwrap();
        let swept = sweep(parent.path(), &[".new-", ".gone-"]).unwrap();
        assert_eq!(swept, [at(".new-left")]);
        assert!(held.path().exists() && at("other").exists() && outside.path().exists());
        assert!(at(".new-link").symlink_metadata().is_ok());
    }

    #[test]
    fn a_folder_that_is_kept_has_its_new_name() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new_in(parent.path(), ".new-").unwrap();
        fs::write(scratch.path().join("file"), "x").unwrap();
        scratch.keep_as(OsStr::new("kept")).unwrap();
        assert!(parent.path().join("kept/file").exists());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn many_make_and_sweep_at_once_and_none_loses_its_folder() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let scratch = Scratch::new_in(parent.path(), ".new-").unwrap();
                        sweep(parent.path(), &[".new-"]).unwrap();
                        assert!(scratch.path().exists());
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
