//! What the process that serves receives from the node: open files, at fixed descriptor
//! numbers.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::Context;
use rustix::fs::{FlockOperation, flock, fstat, stat};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use super::{Folder, Plan};
use crate::node::read_only::open_read_only;

/// Where the status of the start is written.
pub(super) const STATUS: RawFd = 3;
/// The plan.
const PLAN: RawFd = 4;
/// The first of the folders; the others follow.
const FOLDERS: RawFd = 5;

/// What the serving process receives.
#[derive(Debug)]
pub struct Handed {
    /// How to serve.
    pub plan: Plan,
    /// The application's folders, in the order of the answer that named them.
    pub folders: Vec<OwnedFd>,
}

impl Handed {
    /// Takes over what the shim hands to this process. Call it once per process, and
    /// before opening anything else, except [`Status::take`](super::Status::take).
    ///
    /// # Errors
    /// If it is missing, or comes from another version of the shim.
    pub fn take() -> anyhow::Result<Self> {
        let mut text = Vec::new();
        take(PLAN)
            .and_then(|file| File::from(file).read_to_end(&mut text))
            .context("cannot read the plan")?;
        let plan: Plan = serde_json::from_slice(&text).context("cannot read the plan")?;
        let numbers = (FOLDERS..).take(plan.folders);
        let folders = numbers.map(take).collect::<io::Result<_>>();
        let folders = folders.context("the shim did not pass the application's folders")?;
        Ok(Handed { plan, folders })
    }
}

/// Locks a folder so that others do not remove it. `None` if it is gone.
///
/// # Errors
/// The operating system's error.
pub(crate) fn hold(folder: &Folder) -> io::Result<Option<OwnedFd>> {
    let held = match File::open(&folder.path) {
        Ok(opened) => OwnedFd::from(opened),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // The holder of an exclusive lock is about to remove it, or has just created it.
    flock(&held, FlockOperation::LockShared)?;
    let opened = fstat(&held)?;
    let is_still = match stat(&folder.path) {
        Ok(named) => (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino),
        Err(rustix::io::Errno::NOENT) => false,
        Err(error) => return Err(error.into()),
    };
    Ok(is_still.then_some(held))
}

/// Opens a folder for the process that serves. If the folder is to be locked, it stays
/// locked while that process has it open.
///
/// # Errors
/// The operating system's error.
fn open(folder: &Folder) -> io::Result<OwnedFd> {
    let opened = open_read_only(&folder.path)?;
    if folder.locked {
        flock(&opened, FlockOperation::LockShared)?;
    }
    Ok(opened)
}

/// Files of the node for the process that serves.
#[derive(Debug)]
pub(crate) struct Handover {
    /// The file to execute: Skiff itself.
    program: OwnedFd,
    /// See [`STATUS`].
    pub(crate) status: OwnedFd,
    /// See [`PLAN`].
    plan: OwnedFd,
    /// See [`FOLDERS`].
    folders: Vec<OwnedFd>,
}

impl Handover {
    /// Opens what is handed over; `plan` is the file with the plan.
    ///
    /// # Errors
    /// If something cannot be opened.
    pub(crate) fn open(plan: &Path, folders: &[Folder], status: OwnedFd) -> anyhow::Result<Self> {
        let file = |path: &Path| {
            open_read_only(path).with_context(|| format!("cannot open `{}`", path.display()))
        };
        let folder = |folder: &Folder| {
            open(folder).with_context(|| format!("cannot open `{}`", folder.path.display()))
        };
        Ok(Handover {
            program: file(Path::new("/proc/self/exe"))?,
            status,
            plan: file(plan)?,
            folders: folders.iter().map(folder).collect::<anyhow::Result<_>>()?,
        })
    }

    /// Executes `program` with the files at their numbers, and nothing else of this
    /// process. Returns only on failure.
    pub(crate) fn execute(&self, args: &[CString], environment: &[CString]) -> io::Error {
        let Err(error) = self.place() else {
            return execute(&self.program, args, environment);
        };
        error
    }

    fn place(&self) -> io::Result<()> {
        leave_nothing_open()?;
        let files = [(&self.status, STATUS), (&self.plan, PLAN)];
        let files = files.into_iter().chain(self.folders.iter().zip(FOLDERS..));
        // Move open files away from the fixed numbers first.
        let first_free = FOLDERS.saturating_add_unsigned(self.folders.len() as u32);
        let mut moved = Vec::new();
        for (file, number) in files {
            moved.push((fcntl_dupfd_cloexec(file, first_free)?, number));
        }
        for (file, number) in moved {
            // SAFETY: dup2 takes any numbers. What it closes at the fixed numbers
            // belongs to this process, which ends or is replaced next.
            if unsafe { libc::dup2(file.as_raw_fd(), number) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// Replaces this process. Returns only on failure.
fn execute(program: &OwnedFd, args: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        let pointers = list.iter().map(|text| text.as_ptr());
        pointers.chain([std::ptr::null()]).collect()
    };
    let (args, environment) = (pointers(args), pointers(environment));
    // A Rust program ignores SIGPIPE, and ignored signals stay ignored across execve.
    reset_sigpipe();
    let empty: &CStr = c"";
    // SAFETY: both arrays end with null and outlive the call, as do the strings
    // that they point to.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            empty.as_ptr(),
            args.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// Closes all other files at the next execution: libcontainer passes on the files that
/// systemd opened according to containerd's environment.
pub(crate) fn leave_nothing_open() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: nothing is closed now.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    match result {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // Before Linux 5.11, libcontainer's own way has to suffice.
            error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => Ok(()),
            error => Err(error),
        },
    }
}

/// Restores the default action of SIGPIPE, which programs expect.
pub(crate) fn reset_sigpipe() {
    // SAFETY: no signal handler is involved, and there is one thread.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Takes over a file that the process was started with.
///
/// # Errors
/// If nothing is open at that number.
pub(super) fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the caller asks once for each number, and nothing else in the
    // process was given these.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    match fcntl_setfd(file.as_fd(), FdFlags::CLOEXEC) {
        Ok(()) => Ok(file),
        Err(error) => {
            // Dropping it would close a descriptor that is not open, which is an error of
            // its own.
            std::mem::forget(file);
            Err(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_not_open_cannot_be_taken_over() {
        let error = take(4000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_folder_that_is_gone_cannot_be_held_and_one_that_is_held_is_locked() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("app");
        let folder = Folder {
            path: path.clone(),
            locked: true,
        };
        assert!(hold(&folder).unwrap().is_none());
        fs::create_dir(&path).unwrap();
        let held = hold(&folder).unwrap().unwrap();
        let alone = || {
            let other = fs::File::open(&path).unwrap();
            flock(&other, FlockOperation::NonBlockingLockExclusive)
        };
        assert!(alone().is_err());
        drop(held);
        alone().unwrap();
    }
}
