//! How guests open files: only regular files and folders, without waiting for anybody,
//! and no more of them than a guest may have.
//!
//! `wasmtime-wasi` opens whatever a path names. A FIFO of a volume would keep the whole
//! worker until somebody writes to it, and a guest could take all descriptors of the
//! process, so that no connection is accepted.

use std::fs::File as StdFile;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{Descriptor, Dir, File, OpenMode};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types as p2;
use wasmtime_wasi::p3::bindings::filesystem::types as p3;
use wasmtime_wasi::p3::bindings::filesystem::types::HostDescriptorWithStore as _;
use wasmtime_wasi_io::IoView;

use crate::state::State;

/// How many files guests may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// Each of them.
    pub each: usize,
    /// All of a process: no descriptor of theirs has this number or a larger one. The
    /// kernel gives the smallest that is free, so that the rest stays for connections.
    pub below: RawFd,
}

impl FileLimits {
    /// As many as a program has by custom, and more than most ever have open.
    pub const DEFAULT_EACH: usize = 1024;
}

impl Default for FileLimits {
    fn default() -> Self {
        FileLimits {
            each: Self::DEFAULT_EACH,
            below: RawFd::MAX,
        }
    }
}

/// The interface as the linker knows it, in both versions.
const P2: &str = "wasi:filesystem/types@0.2.12";
const P3: &str = "wasi:filesystem/types@0.3.0";
const OPEN_AT: &str = "[method]descriptor.open-at";

/// Puts our way to open files in the place of `wasmtime-wasi`'s.
pub(crate) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(P2)?.func_wrap_async(
        OPEN_AT,
        |mut store: StoreContextMut<'_, State>, asked: AskedP2| {
            Box::new(async move {
                let state = store.data_mut();
                let opening = Opening::new(state, &asked.0, asked.2.clone(), asked.how())?;
                let result = match opening.open().await {
                    Ok(opened) => keep(state, opened)?.map_err(Into::into),
                    Err(Refused::Error(error)) => Err(error.into()),
                    Err(Refused::NoSuchCall) => {
                        let mut view = state.filesystem();
                        let (dir, follow, path, open, flags) = asked;
                        p2::HostDescriptor::open_at(&mut view, dir, follow, path, open, flags)
                            .await
                            .map(Ok)
                            .or_else(|error| error.downcast().map(Err))?
                    }
                };
                Ok((result,))
            })
        },
    )?;
    if concurrency {
        linker.instance(P3)?.func_wrap_concurrent(
            OPEN_AT,
            |store: &Accessor<State>, asked: AskedP3| {
                Box::pin(async move {
                    let opening = store.with(|mut store| {
                        Opening::new(store.get(), &asked.0, asked.2.clone(), asked.how())
                    })?;
                    let result = match opening.open().await {
                        Ok(opened) => store
                            .with(|mut store| keep(store.get(), opened))?
                            .map_err(Into::into),
                        Err(Refused::Error(error)) => Err(error.into()),
                        Err(Refused::NoSuchCall) => {
                            let store = store.with_getter::<WasiFilesystem>(State::filesystem);
                            let (dir, follow, path, open, flags) = asked;
                            WasiFilesystem::open_at(&store, dir, follow, path, open, flags)
                                .await
                                .map(Ok)
                                .or_else(|error| error.downcast().map(Err))?
                        }
                    };
                    Ok((result,))
                })
            },
        )?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

type AskedP2 = (
    Resource<Descriptor>,
    p2::PathFlags,
    String,
    p2::OpenFlags,
    p2::DescriptorFlags,
);

type AskedP3 = (
    Resource<Descriptor>,
    p3::PathFlags,
    String,
    p3::OpenFlags,
    p3::DescriptorFlags,
);

/// What a guest asks for.
trait Asked {
    fn how(&self) -> How;
}

/// The flags have the same names in both versions, and types of their own.
macro_rules! asked {
    ($asked:ty, $version:ident) => {
        impl Asked for $asked {
            fn how(&self) -> How {
                let (_, follow, _, open, flags) = self;
                let synchronous = $version::DescriptorFlags::FILE_INTEGRITY_SYNC
                    | $version::DescriptorFlags::DATA_INTEGRITY_SYNC
                    | $version::DescriptorFlags::REQUESTED_WRITE_SYNC;
                How {
                    follows: follow.contains($version::PathFlags::SYMLINK_FOLLOW),
                    creates: open.contains($version::OpenFlags::CREATE),
                    exclusive: open.contains($version::OpenFlags::EXCLUSIVE),
                    truncates: open.contains($version::OpenFlags::TRUNCATE),
                    folder: open.contains($version::OpenFlags::DIRECTORY),
                    reads: flags.contains($version::DescriptorFlags::READ),
                    writes: flags.contains($version::DescriptorFlags::WRITE),
                    synchronous: (*flags & synchronous) != $version::DescriptorFlags::empty(),
                }
            }
        }
    };
}

asked!(AskedP2, p2);
asked!(AskedP3, p3);

#[derive(Debug, Clone, Copy, Default)]
struct How {
    follows: bool,
    creates: bool,
    exclusive: bool,
    truncates: bool,
    folder: bool,
    reads: bool,
    writes: bool,
    synchronous: bool,
}

impl How {
    /// What the guest may do with it. What is not written is read, or the kernel would
    /// not open it.
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
        // A FIFO waits for its other end otherwise, and a device for its line.
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

    /// What can be told without the kernel.
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

/// Why nothing was opened.
#[derive(Debug)]
enum Refused {
    /// The kernel, or who sandboxes us, has no `openat2`.
    NoSuchCall,
    Error(io::Error),
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Self {
        Refused::Error(error.into())
    }
}

/// A file that a guest asks for.
struct Opening {
    /// None where the guest named a file instead.
    dir: Option<Dir>,
    path: String,
    how: How,
    /// Whether the kernel may keep who opens it waiting.
    waits: bool,
}

impl Opening {
    fn new(
        state: &mut State,
        dir: &Resource<Descriptor>,
        path: String,
        how: How,
    ) -> wasmtime::Result<Self> {
        let waits = state.grants().waits;
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

    async fn open(self) -> Result<Descriptor, Refused> {
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

/// `openat2` fails where something is renamed meanwhile, anywhere.
const TRIES: usize = 4;

/// Opens what is below a folder, and tells whether it is a folder itself.
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
        // It leads out of the folder, or is a FIFO that nobody reads, or a socket.
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

/// Gives the guest what was opened for it, unless it has too many already.
fn keep(
    state: &mut State,
    opened: Descriptor,
) -> wasmtime::Result<Result<Resource<Descriptor>, io::Error>> {
    let limits = state.grants().files;
    let number = match &opened {
        Descriptor::File(file) => file.file.as_raw_fd(),
        Descriptor::Dir(dir) => dir.dir.as_raw_fd(),
    };
    // Where the number is small, nobody has many.
    let mut many = || {
        let open = IoView::table(state).iter_mut();
        open.filter(|entry| entry.is::<Descriptor>()).count() >= limits.each
    };
    if number >= limits.below || number.unsigned_abs() as usize >= limits.each && many() {
        state.has_too_many_files();
        return Ok(Err(Errno::NOMEM.into()));
    }
    Ok(Ok(IoView::table(state).push(opened)?))
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
