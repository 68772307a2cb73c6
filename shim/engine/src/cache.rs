//! The node's cache of compiled code: a folder of files that only its owner writes.
//!
//! `<key>.native` is the code that wasmtime serialized, `<key>.seal` its expected size and
//! digest, and `<key>.lock` is held while it is compiled. A file that is damaged, or that
//! another user could have written, is treated as missing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::geteuid;

mod tidy;

use crate::seal::{Identity, Seal, digest_of};
use crate::{CodeKey, CompileError, Compiler, Native, Portable};

/// The cache's folder.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    limit: u64,
}

/// Errors of the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder cannot be made or looked at.
    #[error("cannot use the code cache `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another user may write to the folder.
    #[error("the code cache `{}` belongs to user {owner} with mode {mode:o}; it must belong to root or the user that runs Skiff, and be writable by nobody else", path.display())]
    Untrusted {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
    /// A file of the cache cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file of the cache cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The component does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// Whether only root or this user could have written the file with this metadata.
fn trusted(metadata: &fs::Metadata) -> bool {
    let owner = metadata.uid();
    (owner == 0 || owner == geteuid().as_raw()) && metadata.mode() & 0o022 == 0
}

impl Cache {
    /// The default size limit. The JavaScript sample takes 33 MB, so this holds the code of
    /// a hundred large components.
    pub const DEFAULT_LIMIT: u64 = 4 << 30;

    /// Opens the folder, creating it if it is missing.
    ///
    /// # Errors
    /// Where it cannot be created, or where others may write to it.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Folder {
            path: folder.to_owned(),
            source,
        };
        if !folder.exists() {
            fs::create_dir_all(folder).map_err(failed)?;
            // The umask of containerd or of a user may be anything.
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        }
        let metadata = fs::metadata(folder).map_err(failed)?;
        if !metadata.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        if !trusted(&metadata) {
            return Err(CacheError::Untrusted {
                path: folder.to_owned(),
                owner: metadata.uid(),
                mode: metadata.mode() & 0o7777,
            });
        }
        Ok(Cache {
            folder: folder.to_owned(),
            limit: Self::DEFAULT_LIMIT,
        })
    }

    /// The same cache with a limit of this many bytes. The least recently used code is
    /// removed first; code that a pod has mapped stays until the pod ends.
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn file(&self, key: &CodeKey, ending: &str) -> PathBuf {
        self.folder.join(format!("{key}.{ending}"))
    }

    /// The cached code, if it is complete and was written by root or this user only.
    ///
    /// # Errors
    /// Where a file exists and cannot be read. Damage is not an error: the result is
    /// `None`, and a log line says what was found.
    pub fn find(&self, key: &CodeKey) -> Result<Option<Native>, CacheError> {
        let path = self.file(key, "native");
        let Some(file) = open_trusted(&path)? else {
            return Ok(None);
        };
        let seal_path = self.file(key, "seal");
        let Some(mut seal_file) = open_trusted(&seal_path)? else {
            return Ok(None);
        };
        let read = |source| CacheError::Read {
            path: path.clone(),
            source,
        };
        let mut text = String::new();
        if let Err(error) = seal_file.read_to_string(&mut text) {
            tracing::warn!(%key, %error, "The seal of compiled code cannot be read; it will be made again");
            return Ok(None);
        }
        let Some(mut seal) = Seal::parse(&text) else {
            tracing::warn!(%key, "The seal of compiled code is damaged; it will be made again");
            return Ok(None);
        };
        let (matches, was_read) = seal.matches(&file).map_err(read)?;
        if !matches {
            tracing::warn!(%key, "Compiled code is damaged; it will be made again");
            return Ok(None);
        }
        if was_read {
            seal.identity = Identity::of(&file).map_err(read)?;
            if let Err(error) = self.write(&seal_path, seal.to_text().as_bytes()) {
                tracing::debug!(%key, %error, "A checked seal could not be renewed");
            }
        } else {
            tidy::mark_used(&seal_file);
        }
        Ok(Some(Native {
            file,
            path,
            key: key.clone(),
            resources: seal.resources,
        }))
    }

    /// Whether some process is compiling this now.
    pub fn is_compiling(&self, key: &CodeKey) -> bool {
        let held = |lock: File| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err();
        File::open(self.file(key, "lock")).is_ok_and(held)
    }

    /// The cached code, which is compiled now if it is missing. If several ask at once, one
    /// compiles and the others wait for it.
    ///
    /// # Errors
    /// Where the component does not compile or the cache cannot be written.
    pub fn compile(&self, compiler: &Compiler, portable: &Portable) -> Result<Native, CacheError> {
        let key = compiler.key(portable.digest());
        if let Some(native) = self.find(&key)? {
            return Ok(native);
        }
        let lock_path = self.file(&key, "lock");
        let locked = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o644)
            .open(&lock_path)
            .and_then(|lock| {
                flock(&lock, FlockOperation::LockExclusive)?;
                Ok(lock)
            });
        let _lock = locked.map_err(|source| CacheError::Write {
            path: lock_path,
            source,
        })?;
        if let Some(native) = self.find(&key)? {
            return Ok(native);
        }
        let (code, resources) = compiler.compile(portable)?;
        self.trim(self.limit.saturating_sub(code.len() as u64));
        let path = self.file(&key, "native");
        let file = self.write_durably(&path, &code)?;
        let identity = Identity::of(&file).map_err(|source| CacheError::Read {
            path: path.clone(),
            source,
        })?;
        let seal = Seal {
            identity,
            digest: digest_of(&code),
            resources,
        };
        self.write(&self.file(&key, "seal"), seal.to_text().as_bytes())?;
        Ok(Native {
            file,
            path,
            key,
            resources,
        })
    }

    /// A small text that was stored beside the code and is trusted in the same way.
    ///
    /// # Errors
    /// Where it exists and cannot be read.
    pub fn note(&self, name: &str) -> Result<Option<String>, CacheError> {
        let path = self.folder.join(name);
        let Some(mut file) = open_trusted(&path)? else {
            return Ok(None);
        };
        let mut text = String::new();
        match file.read_to_string(&mut text) {
            Ok(_) => {
                tidy::mark_used(&file);
                Ok(Some(text))
            }
            Err(source) => Err(CacheError::Read { path, source }),
        }
    }

    /// Removes what is stored under a name. A missing file is not an error.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn forget(&self, name: &str) -> Result<(), CacheError> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CacheError::Write {
                path,
                source: error,
            }),
            _ => Ok(()),
        }
    }

    /// Stores bytes under a name.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, CacheError> {
        let path = self.folder.join(name);
        self.write(&path, bytes)?;
        Ok(path)
    }

    /// Writes a temporary file, then renames it: readers see the whole file or none.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<File, CacheError> {
        self.replace(path, bytes, false)
    }

    /// The same, also safe against a loss of power: code is not read again if its file is
    /// the one that was sealed.
    fn write_durably(&self, path: &Path, bytes: &[u8]) -> Result<File, CacheError> {
        self.replace(path, bytes, true)
    }

    fn replace(&self, path: &Path, bytes: &[u8], durably: bool) -> Result<File, CacheError> {
        let failed = |source| CacheError::Write {
            path: path.to_owned(),
            source,
        };
        let mut file = tidy::new_file(&self.folder).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        // tempfile honours the umask, which could make the file unreadable for a pod's
        // user.
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))
            .map_err(failed)?;
        if durably {
            file.as_file().sync_all().map_err(failed)?;
        }
        file.persist(path).map_err(|error| failed(error.error))?;
        // Opened again for reading only: a file that is open for writing cannot be mapped
        // into a container.
        File::open(path).map_err(failed)
    }
}

/// Opens a file unless it is missing, a link, or writable by another user.
fn open_trusted(path: &Path) -> Result<Option<File>, CacheError> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK).bits() as i32)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            tracing::warn!(path = %path.display(), "Compiled code is a link; it will be made again");
            return Ok(None);
        }
        Err(source) => {
            return Err(CacheError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let metadata = file.metadata().map_err(|source| CacheError::Read {
        path: path.to_owned(),
        source,
    })?;
    if !metadata.is_file() || !trusted(&metadata) {
        tracing::warn!(path = %path.display(), owner = metadata.uid(), "Compiled code could have been written by somebody else; it will be made again");
        return Ok(None);
    }
    Ok(Some(file))
}
