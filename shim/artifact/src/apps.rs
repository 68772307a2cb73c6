//! The node's unpacked applications: each unpacked once, checked after every boot of the
//! node, and removed when others need the room and nothing runs from it.
//!
//! | what | where |
//! | --- | --- |
//! | an unpacked image, by its manifest's digest | `<64 hex digits>/` |
//! | what all of it is, and its size | `<64 hex digits>/contents` |
//! | when it was used last, and the boot in which it was checked | `<64 hex digits>/used` |
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

/// How the names of folders begin that are being removed.
const GONE: &str = ".gone-";

/// How often an application is looked for. It is there at the first time or the second,
/// unless others remove what this one makes.
const TRIES: usize = 5;

/// A folder of unpacked applications.
#[derive(Debug, Clone)]
pub struct Apps {
    folder: PathBuf,
    /// What tells this boot of the machine from others; nothing where that is unknown,
    /// and everything is checked each time.
    boot: String,
}

/// Why an application cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AppsError {
    /// The folder, or something in it, cannot be used.
    #[error("cannot use `{}`", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The image cannot be unpacked.
    #[error("cannot unpack the image")]
    Unpack(#[from] UnpackError),
    /// It was gone again each time it was there.
    #[error("`{}` is removed as soon as it is unpacked", path.display())]
    Lost {
        /// Where it should be.
        path: PathBuf,
    },
}

/// An unpacked application that nobody removes as long as this is there.
#[derive(Debug)]
pub struct Held {
    directory: PathBuf,
    folder: Beneath,
}

/// What was removed to make room, and what stays although there is no room for it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tidied {
    /// What processes that were killed had left.
    pub leftovers: Vec<PathBuf>,
    /// Applications that were used longest ago, and those that did not check out.
    pub evicted: Vec<PathBuf>,
    /// Bytes of the applications that are there now.
    pub bytes: u64,
}

impl Held {
    /// Holds the application in `directory`. `None` where there is none (any more).
    ///
    /// # Errors
    /// What the system says.
    pub fn take(directory: &Path) -> io::Result<Option<Self>> {
        let parent = directory.parent().unwrap_or(Path::new("."));
        let name = directory.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        take(&Beneath::open(parent)?, name)
    }

    /// Where it is.
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
    // Whoever has it for itself is about to remove it, or has just made it.
    flock(&folder, FlockOperation::LockShared)?;
    let held = Held {
        directory: parent.shown(name),
        folder,
    };
    Ok(is_still(parent, name, &held.folder)?.then_some(held))
}

impl Apps {
    /// The applications in a folder that exists. `boot` is a text that every boot of the
    /// machine has another of.
    pub fn new(folder: &Path, boot: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            boot: boot.to_owned(),
        }
    }

    /// The image's application, if it is there and whole. One that is not whole is taken
    /// away.
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

    /// The image's application, unpacked now where it is not there or not whole.
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
                // In the latter case another pod of the same image was quicker.
                Ok(_) | Err(UnpackError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AppsError::Lost { path: into })
    }

    /// Removes what killed processes have left, and what was used longest ago until no
    /// more than `keep` bytes are there. What is held stays, also where that is more.
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
                // Nobody can use it, nor know how large it is.
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

/// Removes an application unless it is held, or was used since.
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

/// Takes away an application that is not whole. Should something run from it all the
/// same, it is only out of the way, and removed when that has ended.
fn set_aside(parent: &Beneath, name: &str) -> io::Result<()> {
    let gone = PathBuf::from(format!("{GONE}{name}"));
    // What is in the way is another one's that was not whole.
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
