//! Removes what is no longer needed: files of killed processes, and the least recently used
//! code.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, flock, futimens};
use rustix::process::geteuid;
use tempfile::NamedTempFile;

use super::Cache;

/// The prefix of files that are being written.
const NEW: &str = ".new-";

/// How often to retry a new file that a concurrent cleanup removed.
const TRIES: usize = 100;

/// The least that a file takes on disk.
const BLOCK: u64 = 4096;

/// Creates a file in `folder`. Its lock distinguishes it from files of killed processes.
pub(super) fn new_file(folder: &Path) -> io::Result<NamedTempFile> {
    for _ in 0..TRIES {
        let file = tempfile::Builder::new()
            .prefix(NEW)
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)?;
        let locked = flock(file.as_file(), FlockOperation::NonBlockingLockExclusive);
        if locked.is_ok() && file.as_file().metadata()?.nlink() > 0 {
            return Ok(file);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Records that a file was used, in its modification time: few file systems keep access
/// times. Users who may only read the cache cannot do this and need not.
pub(super) fn mark_used(file: &File) {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
    };
    if let Err(error) = futimens(file, &times) {
        tracing::trace!(%error, "The use of compiled code cannot be noted");
    }
}

/// Files of the cache that are created and removed together.
#[derive(Debug, Default)]
struct Entry {
    used: Option<SystemTime>,
    bytes: u64,
    files: Vec<PathBuf>,
}

impl Cache {
    /// Removes leftovers of killed processes, then the least recently used files if the
    /// cache is over its limit.
    pub fn tidy(&self) {
        self.sweep();
        self.trim(self.limit);
    }

    /// Removes temporary files that are no longer being written.
    fn sweep(&self) {
        let is_new = |name: &OsStr| name.as_encoded_bytes().starts_with(NEW.as_bytes());
        for (path, metadata) in self.files(is_new) {
            if metadata.uid() != geteuid().as_raw() {
                continue;
            }
            let held = |file: File| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
            if File::open(&path).is_ok_and(|file| !held(file)) {
                remove(&path);
            }
        }
    }

    /// Removes the least recently used files until at most `keep` bytes are left.
    pub(super) fn trim(&self, keep: u64) {
        let mut entries: BTreeMap<PathBuf, Entry> = BTreeMap::new();
        for (path, metadata) in self.files(|_| true) {
            let ending = path.extension().and_then(|ending| ending.to_str());
            let (name, marks) = match ending {
                // For code, the seal is touched: the times of the code file itself are
                // sealed.
                Some("native") => (path.with_extension("native"), false),
                Some("lock") => (path.with_extension("native"), false),
                Some("seal") => (path.with_extension("native"), true),
                Some("slot") | None => continue,
                Some(_) => (path.clone(), true),
            };
            let entry = entries.entry(name).or_default();
            entry.bytes += metadata.len().next_multiple_of(BLOCK);
            if marks {
                entry.used = metadata.modified().ok();
            }
            entry.files.push(path);
        }
        let mut bytes: u64 = entries.values().map(|entry| entry.bytes).sum();
        let mut entries: Vec<(PathBuf, Entry)> = entries.into_iter().collect();
        entries.sort_by(|(a_name, a), (b_name, b)| (a.used, a_name).cmp(&(b.used, b_name)));
        for (name, entry) in entries {
            if bytes <= keep {
                return;
            }
            // Code that is being compiled is never old.
            let lock = name.with_extension("lock");
            if File::open(&lock)
                .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err())
            {
                continue;
            }
            tracing::info!(path = %name.display(), bytes = entry.bytes, "Removing the least recently used file of the code cache");
            entry.files.iter().for_each(|path| remove(path));
            bytes -= entry.bytes;
        }
    }

    /// The cache's regular files with a matching name.
    fn files(&self, is_wanted: impl Fn(&OsStr) -> bool) -> Vec<(PathBuf, Metadata)> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter(|entry| is_wanted(&entry.file_name()))
            .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
            .filter(|(_, metadata)| metadata.is_file())
            .collect()
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "An unneeded file of the code cache cannot be removed");
    }
}
