//! What kind of file system a folder is on.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock, statfs};
use rustix::io::Errno;

/// Where a file of SQLite lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On a file system of this machine.
    Local,
    /// On one that other machines may use at the same time, and that may not answer.
    Network,
}

/// A folder in which no file of SQLite can be used safely.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The kernel does not say what it is, or nothing can be written to it.
    #[error("cannot use the folder `{}`", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Files of it cannot be locked, so two writers would destroy them.
    #[error("the file system of the folder `{}` cannot lock files, so several processes would destroy a database in it: mount it with locks", folder.display())]
    NoLocks {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The numbers by which the kernel names file systems of the network, from `statfs(2)` and
/// `linux/magic.h`.
const NETWORK: [(u32, &str); 13] = [
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB 2"),
    (0x0102_1997, "9p"),
    // Among them virtiofs, and clients of Ceph, Gluster, S3 and others.
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x786f_4256, "shared folders of VirtualBox"),
];

impl Place {
    /// The kind of a folder's file system. Makes sure that files can be made there, and, on
    /// the network, that they can be locked.
    ///
    /// # Errors
    /// [`PlaceError`], with a variant for each reason against the folder.
    pub fn of(folder: &Path) -> Result<Self, PlaceError> {
        let io = |source: io::Error| PlaceError::Io {
            folder: folder.to_owned(),
            source,
        };
        let kind = statfs(folder).map_err(|error| io(error.into()))?.f_type;
        let probe = tempfile::tempfile_in(folder).map_err(io)?;
        // The kernel's type differs between architectures; its numbers have 32 bits.
        let Some(name) = name(kind as u32) else {
            return Ok(Place::Local);
        };
        match fcntl_lock(&probe, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                tracing::info!(folder = %folder.display(), file_system = name, "Databases in this folder have a rollback journal, because a write-ahead log is not safe on this file system");
                Ok(Place::Network)
            }
            Err(error) => Err(no_locks(folder, error)),
        }
    }
}

fn no_locks(folder: &Path, error: Errno) -> PlaceError {
    PlaceError::NoLocks {
        folder: folder.to_owned(),
        source: error.into(),
    }
}

/// The name of a file system of the network.
fn name(kind: u32) -> Option<&'static str> {
    let found = NETWORK.iter().find(|(number, _)| *number == kind);
    found.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_is_of_this_machine_and_the_networks_are_known_by_number() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Place::of(folder.path()).unwrap(), Place::Local);
        assert_eq!(name(0x6969), Some("NFS"));
        assert_eq!(name(0x6573_5546), Some("FUSE"));
        assert_eq!(name(0xef53), None);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Place::of(Path::new("/does/not/exist")).unwrap_err();
        assert!(error.to_string().contains("`/does/not/exist`"), "{error}");
    }
}
