//! The node's unpacked applications: each image is unpacked once, checked once per boot of
//! the node, and removed when space is needed and nothing runs from it.
//!
//! | what | where |
//! | --- | --- |
//! | an unpacked image, by its manifest's digest | `<64 hex digits>/` |
//! | the record of its contents, and its size | `<64 hex digits>/contents` |
//! | when it was last used, and the boot in which it was checked | `<64 hex digits>/used` |
//! | one that is being unpacked | `.unpack-…/` |
//! | one that is being removed | `.gone-…/` |

mod record;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use crate::beneath::Beneath;
use crate::scratch::{is_still, remove_unheld, sweep};
use crate::unpack::{UNFINISHED, unpack_and};
use crate::{Blobs, Digest, Image, Limits, UnpackError};

/// The prefix of folders that are being removed.
const GONE: &str = ".gone-";

/// How often an application is looked up. It is found the first or second time unless other
/// processes keep removing it.
const TRIES: usize = 5;

/// A folder of unpacked applications.
#[derive(Debug, Clone)]
pub struct Apps {
    folder: PathBuf,
    /// Identifies this boot of the machine; `None` where it is unknown, and then everything
    /// is checked each time.
    boot: String,
}

/// Why an application is not available.
#[derive(Debug, thiserror::Error)]
pub enum AppsError {
    /// The folder, or something in it, cannot be used.
    #[error("cannot use `{}`", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The image cannot be unpacked.
    #[error("cannot unpack the image")]
    Unpack(#[from] UnpackError),
    /// It was removed each time after it was unpacked.
    #[error("`{}` is removed as soon as it is unpacked", path.display())]
    Lost {
        /// Its path.
        path: PathBuf,
    },
}

/// An unpacked application that is not removed as long as this value lives.
#[derive(Debug)]
pub struct Held {
    directory: PathBuf,
    folder: Beneath,
}

/// What was removed to make room, and how much is left.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tidied {
    /// Leftovers of killed processes.
    pub leftovers: Vec<PathBuf>,
    /// The least recently used applications, and those that failed their check.
    pub evicted: Vec<PathBuf>,
    /// Total bytes of the remaining applications.
    pub bytes: u64,
}

impl Held {
    /// Locks the application in `directory`. `None` where it does not exist (any more).
    ///
    /// # Errors
    /// The system's error.
    pub fn take(directory: &Path) -> io::Result<Option<Self>> {
        let parent = directory.parent().unwrap_or(Path::new("."));
        let name = directory.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        take(&Beneath::open(parent)?, name)
    }

    /// Its path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

fn take(parent: &Beneath, name: &OsStr) -> io::Result<Option<Held>> {
    let name = Path::new(name);
    let folder = match parent.folder(name) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Whoever holds the exclusive lock is about to remove it, or has just created it.
    flock(&folder, FlockOperation::LockShared)?;
    let held = Held {
        directory: parent.shown(name),
        folder,
    };
    Ok(is_still(parent, name, &held.folder)?.then_some(held))
}

impl Apps {
    /// The applications in an existing folder. `boot` is a text that differs for every boot
    /// of the machine.
    pub fn new(folder: &Path, boot: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            boot: boot.to_owned(),
        }
    }

    /// The image's application, if it is there and complete. An incomplete one is removed.
    ///
    /// # Errors
    /// [`AppsError::Folder`].
    pub fn find(&self, image: &Digest) -> Result<Option<Held>, AppsError> {
        let name = image.hex();
        let path = self.folder.join(&name);
        let failed = |source| AppsError::Folder {
            path: path.clone(),
            source,
        };
        let parent = Beneath::open(&self.folder).map_err(failed)?;
        let Some(held) = take(&parent, OsStr::new(&name)).map_err(failed)? else {
            return Ok(None);
        };
        if record::check(&held.folder, &self.boot).map_err(failed)? {
            return Ok(Some(held));
        }
        drop(held);
        set_aside(&parent, &name).map_err(failed)?;
        Ok(None)
    }

    /// The image's application, which is unpacked now if it is missing or incomplete.
    ///
    /// # Errors
    /// [`AppsError`].
    pub fn get(
        &self,
        image: &Image,
        blobs: &dyn Blobs,
        limits: &Limits,
    ) -> Result<Held, AppsError> {
        let digest = image.descriptor.digest;
        let into = self.folder.join(digest.hex());
        for _ in 0..TRIES {
            if let Some(held) = self.find(&digest)? {
                return Ok(held);
            }
            let finish = |folder: &Beneath| record::finish(folder, &self.boot);
            match unpack_and(image, blobs, &into, limits, finish) {
                // In the latter case another pod of the same image was faster.
                Ok(_) | Err(UnpackError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AppsError::Lost { path: into })
    }

    /// Removes leftovers of killed processes, then the least recently used applications
    /// until at most `keep` bytes are left. Applications in use stay, even beyond that.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn tidy(&self, keep: u64) -> io::Result<Tidied> {
        let parent = Beneath::open(&self.folder)?;
        let mut tidied = Tidied {
            leftovers: sweep(&self.folder, &[UNFINISHED, GONE])?,
            ..Tidied::default()
        };
        let mut apps = Vec::new();
        for name in parent.names(Path::new(""))? {
            let Some(name) = name.to_str().filter(|name| is_digest(name)) else {
                continue;
            };
            match parent
                .folder(Path::new(name))
                .map(|app| record::use_of(&app))
            {
                Ok(Some((used, bytes))) => {
                    tidied.bytes += bytes;
                    apps.push((Some(used), bytes, name.to_owned()));
                }
                // Without a record its size is unknown and it cannot be used.
                Ok(None) => apps.push((None, 0, name.to_owned())),
                Err(_) => {}
            }
        }
        apps.sort();
        for (used, bytes, name) in apps {
            if used.is_some() && tidied.bytes <= keep {
                break;
            }
            if evict(&parent, &name, used).unwrap_or(false) {
                tidied.bytes -= bytes;
                tidied.evicted.push(self.folder.join(name));
            }
        }
        Ok(tidied)
    }
}

/// Removes an application unless it is locked or was used since.
fn evict(parent: &Beneath, name: &str, used: Option<SystemTime>) -> io::Result<bool> {
    let folder = parent.folder(Path::new(name))?;
    if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    let now = record::use_of(&folder).map(|(used, _)| used);
    if now != used || !is_still(parent, Path::new(name), &folder)? {
        return Ok(false);
    }
    let gone = PathBuf::from(format!("{GONE}{name}"));
    parent.rename(Path::new(name), &gone)?;
    parent.remove(&gone)?;
    Ok(true)
}

/// Removes an incomplete application. If something still runs from it, it is only renamed,
/// and removed after that has ended.
fn set_aside(parent: &Beneath, name: &str) -> io::Result<()> {
    let gone = PathBuf::from(format!("{GONE}{name}"));
    // The name is taken by another incomplete application.
    remove_unheld(parent, &gone)?;
    match parent.rename(Path::new(name), &gone) {
        Ok(()) => remove_unheld(parent, &gone).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
