//! Opens what a guest names: regular files and folders below one of its folders, without
//! blocking.

use std::fs::File as StdFile;
use std::io;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use wasmtime::component::Resource;
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{Descriptor, Dir, File, OpenMode};
use wasmtime_wasi_io::IoView;

use crate::state::State;

/// How a guest asks for a file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    pub(super) follows: bool,
    pub(super) creates: bool,
    pub(super) exclusive: bool,
    pub(super) truncates: bool,
    pub(super) folder: bool,
    pub(super) reads: bool,
    pub(super) writes: bool,
    pub(super) synchronous: bool,
}

impl How {
    /// The access the guest asks for. Anything not opened for writing is opened for
    /// reading, as the kernel requires one of them.
    fn mode(self) -> OpenMode {
        let mut mode = OpenMode::empty();
        mode.set(OpenMode::READ, self.reads || !self.writes);
        mode.set(
            OpenMode::WRITE,
            self.writes || self.creates || self.truncates,
        );
        mode
    }

    fn flags(self) -> OFlags {
        // Without this flag, a FIFO blocks until its other end is open, and a device until
        // its line is.
        let mut flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mode = self.mode();
        flags |= match (
            mode.contains(OpenMode::READ),
            mode.contains(OpenMode::WRITE),
        ) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            _ => OFlags::RDONLY,
        };
        flags.set(OFlags::NOFOLLOW, !self.follows);
        flags.set(OFlags::CREATE, self.creates);
        flags.set(OFlags::EXCL, self.creates && self.exclusive);
        flags.set(OFlags::TRUNC, self.truncates);
        flags
    }

    /// Errors that can be found without the kernel.
    fn check(self, permissions: FsPerms) -> Result<(), Errno> {
        if self.synchronous {
            return Err(Errno::NOTSUP);
        }
        if self.folder && (self.creates || self.exclusive || self.truncates) {
            return Err(Errno::INVAL);
        }
        if permissions.write_not_permitted() && self.mode().contains(OpenMode::WRITE) {
            return Err(Errno::PERM);
        }
        Ok(())
    }
}

/// What a guest asks for, from a version's flags: they have the same names in both versions
/// but different types.
macro_rules! how {
    ($version:ident, $follow:expr, $open:expr, $flags:expr) => {{
        use $version::{DescriptorFlags, OpenFlags, PathFlags};
        let (follow, open, flags): (PathFlags, OpenFlags, DescriptorFlags) =
            ($follow, $open, $flags);
        let synchronous = DescriptorFlags::FILE_INTEGRITY_SYNC
            | DescriptorFlags::DATA_INTEGRITY_SYNC
            | DescriptorFlags::REQUESTED_WRITE_SYNC;
        How {
            follows: follow.contains(PathFlags::SYMLINK_FOLLOW),
            creates: open.contains(OpenFlags::CREATE),
            exclusive: open.contains(OpenFlags::EXCLUSIVE),
            truncates: open.contains(OpenFlags::TRUNCATE),
            folder: open.contains(OpenFlags::DIRECTORY),
            reads: flags.contains(DescriptorFlags::READ),
            writes: flags.contains(DescriptorFlags::WRITE),
            synchronous: (flags & synchronous) != DescriptorFlags::empty(),
        }
    }};
}

pub(super) use how;

/// Why nothing was opened.
#[derive(Debug)]
pub(super) enum Refused {
    /// The kernel, or a sandbox around Skiff, lacks `openat2`.
    NoSuchCall,
    Error(io::Error),
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Self {
        Refused::Error(error.into())
    }
}

/// A file that a guest asks for.
pub(super) struct Opening {
    /// `None` if the guest named a file instead.
    dir: Option<Dir>,
    path: String,
    how: How,
    /// Whether opening it may block.
    waits: bool,
}

impl Opening {
    pub(super) fn new(
        state: &mut State,
        dir: &Resource<Descriptor>,
        path: String,
        how: How,
    ) -> wasmtime::Result<Self> {
        let waits = state.grants().filesystem.waits;
        let dir = match IoView::table(state).get(dir)? {
            Descriptor::Dir(dir) => Some(dir.clone()),
            Descriptor::File(_) => None,
        };
        Ok(Opening {
            dir,
            path,
            how,
            waits,
        })
    }

    pub(super) async fn open(self) -> Result<Descriptor, Refused> {
        let Opening {
            dir,
            path,
            how,
            waits,
        } = self;
        let dir = dir.ok_or(Errno::NOTDIR)?;
        how.check(dir.perms)?;
        let folder = Arc::clone(&dir.dir);
        let (file, is_folder) = if waits {
            tokio::task::spawn_blocking(move || beneath(&folder, &path, how))
                .await
                .map_err(|error| Refused::Error(io::Error::other(error)))??
        } else {
            beneath(&folder, &path, how)?
        };
        let (mode, on_the_spot) = (how.mode(), !waits);
        Ok(if is_folder {
            Descriptor::Dir(Dir::new(file, dir.perms, mode, on_the_spot))
        } else {
            Descriptor::File(File::new(file, dir.perms, mode, on_the_spot))
        })
    }
}

/// `openat2` fails if something is renamed meanwhile, anywhere.
const TRIES: usize = 4;

/// Opens a path below a folder; returns also whether it is a folder itself.
fn beneath(folder: &StdFile, path: &str, how: How) -> Result<(StdFile, bool), Refused> {
    let mode = if how.creates {
        Mode::from_raw_mode(0o666)
    } else {
        Mode::empty()
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = || rustix::fs::openat2(folder, path, how.flags(), mode, resolve);
    let opened = (0..TRIES)
        .map(|_| open())
        .find(|opened| !matches!(opened, Err(Errno::AGAIN)));
    let opened = match opened {
        Some(Ok(opened)) => opened,
        None | Some(Err(Errno::NOSYS | Errno::PERM)) => return Err(Refused::NoSuchCall),
        // It leads out of the folder, or is a socket, or a FIFO without a reader.
        Some(Err(Errno::XDEV | Errno::NXIO)) => return Err(Errno::PERM.into()),
        Some(Err(error)) => return Err(error.into()),
    };
    match FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode) {
        FileType::Directory => Ok((opened.into(), true)),
        _ if how.folder => Err(Errno::NOTDIR.into()),
        FileType::RegularFile => Ok((opened.into(), false)),
        _ => Err(Errno::PERM.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_and_folders_are_opened_and_nobody_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("folder")).unwrap();
        std::fs::write(path("folder/file"), "text").unwrap();
        let fifo = std::ffi::CString::new(path("fifo").to_str().unwrap()).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &*fifo, Mode::RWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        std::os::unix::fs::symlink("folder/file", path("inside")).unwrap();
        std::os::unix::fs::symlink("/dev/null", path("device")).unwrap();
        let dir = StdFile::open(folder.path()).unwrap();
        let reads = How {
            follows: true,
            reads: true,
            ..How::default()
        };
        let writes = How {
            writes: true,
            ..reads
        };
        let open = |name: &str, how| match beneath(&dir, name, how) {
            Ok((_, is_folder)) => Ok(is_folder),
            Err(Refused::Error(error)) => Err(error.raw_os_error()),
            Err(Refused::NoSuchCall) => panic!("no openat2"),
        };
        let denied = Err(Some(Errno::PERM.raw_os_error()));
        for how in [reads, writes] {
            assert_eq!(open("folder/file", how), Ok(false));
            assert_eq!(open("inside", how), Ok(false));
            for name in ["fifo", "socket", "device", "../x", "/etc/passwd"] {
                assert_eq!(open(name, how), denied, "{name}");
            }
        }
        assert_eq!(open("folder", reads), Ok(true));
        let none = Err(Some(Errno::NOENT.raw_os_error()));
        assert_eq!(open("nothing", reads), none);
        let folder_only = How {
            folder: true,
            ..reads
        };
        let no_folder = Err(Some(Errno::NOTDIR.raw_os_error()));
        assert_eq!(open("folder/file", folder_only), no_folder);
        assert_eq!(open("folder", folder_only), Ok(true));
    }
}
