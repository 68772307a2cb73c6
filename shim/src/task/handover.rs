//! What a container's first process takes along from the node: open files, at
//! numbers both sides know.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::attributes::{Attributes, set_attributes};

/// Where the status of the start is told.
pub(super) const STATUS: RawFd = 3;
/// The plan.
pub(super) const PLAN: RawFd = 4;
/// The folder of compiled code.
pub(super) const CACHE: RawFd = 5;
/// The folder of the application: as it was unpacked, or the image's own files.
pub(super) const APP: RawFd = 6;

/// Open files get out of the way of the fixed numbers before they take them.
const OUT_OF_THE_WAY: RawFd = 16;

/// Files of the node for a Wasm container's serving process.
#[derive(Debug)]
pub(super) struct Handover {
    /// What is executed: ourselves.
    pub(super) program: OwnedFd,
    /// See [`STATUS`].
    pub(super) status: OwnedFd,
    /// See [`PLAN`].
    pub(super) plan: OwnedFd,
    /// See [`CACHE`].
    pub(super) cache: OwnedFd,
    /// See [`APP`].
    pub(super) app: OwnedFd,
}

impl Handover {
    /// Becomes `program` with the files at their numbers, and nothing else of
    /// this process. Returns only where that fails.
    pub(super) fn execute(&self, args: &[CString], environment: &[CString]) -> io::Error {
        let Err(error) = self.place() else {
            return execute(&self.program, args, environment);
        };
        error
    }

    fn place(&self) -> io::Result<()> {
        leave_nothing_open()?;
        let files = [
            (&self.status, STATUS),
            (&self.plan, PLAN),
            (&self.cache, CACHE),
            (&self.app, APP),
        ];
        let mut moved = Vec::new();
        for (file, number) in files {
            moved.push((fcntl_dupfd_cloexec(file, OUT_OF_THE_WAY)?, number));
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

/// Replaces this process. Returns only where that fails.
fn execute(program: &OwnedFd, args: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        let pointers = list.iter().map(|text| text.as_ptr());
        pointers.chain([std::ptr::null()]).collect()
    };
    let (args, environment) = (pointers(args), pointers(environment));
    // A Rust program ignores SIGPIPE, and what is ignored stays so across execve.
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

/// Makes sure that whatever else is open ends with the next execution: libcontainer
/// passes on what the environment of containerd says systemd opened.
pub(super) fn leave_nothing_open() -> io::Result<()> {
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
            // Before Linux 5.11 libcontainer's own way has to do.
            error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => Ok(()),
            error => Err(error),
        },
    }
}

/// Gives SIGPIPE the meaning that programs expect.
pub(super) fn reset_sigpipe() {
    // SAFETY: no handler of ours is involved, and there is one thread.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Opens a file or folder of the node so that whoever holds it can only read,
/// root or not: through a mount of its own that is read-only and that no
/// namespace contains, so nobody can mount it again for writing.
///
/// Where the kernel cannot do that (before 5.12), permissions have to do.
pub(super) fn open_read_only(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = match open_tree(CWD, path, flags) {
        Ok(tree) => tree,
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => return open_path(path),
        Err(error) => return Err(error.into()),
    };
    match set_attributes(&tree, Attributes::RDONLY, 0, false) {
        // The mount itself goes away with `tree`; what is opened through it stays
        // usable, and read-only.
        Ok(()) => reopen(&tree),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            open_path(path)
        }
        Err(error) => Err(error),
    }
}

/// Opens what a path descriptor stands for, so that it can be read or executed.
fn reopen(tree: &OwnedFd) -> io::Result<OwnedFd> {
    let link = format!("/proc/self/fd/{}", tree.as_raw_fd());
    Ok(std::fs::File::open(link)?.into())
}

fn open_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(std::fs::File::open(path)?.into())
}

/// Takes over a file that the process was started with.
///
/// # Errors
/// Where nothing is open at that number.
pub(super) fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the caller asks once for each number, and nothing else in the
    // process was given these.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    match fcntl_setfd(file.as_fd(), FdFlags::CLOEXEC) {
        Ok(()) => Ok(file),
        Err(error) => {
            // Closing what is not open would be a fault of its own.
            std::mem::forget(file);
            Err(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;

    #[test]
    fn a_file_of_the_node_can_be_read_and_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "content").unwrap();
        let file = open_read_only(&path).unwrap();
        let mut text = String::new();
        fs::File::from(file.try_clone().unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "content");
        let root = rustix::process::geteuid().is_root();
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        let written = fs::OpenOptions::new().write(true).open(again);
        if root {
            // Root may write to the file everywhere but through this descriptor.
            assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EROFS));
            assert!(fs::OpenOptions::new().write(true).open(&path).is_ok());
        }
    }

    #[test]
    fn nothing_new_can_be_made_in_a_folder_of_the_node() {
        let folder = tempfile::tempdir().unwrap();
        let handle = open_read_only(folder.path()).unwrap();
        let new = format!("/proc/self/fd/{}/new", handle.as_raw_fd());
        let made = fs::write(new, "");
        if rustix::process::geteuid().is_root() {
            assert_eq!(made.unwrap_err().raw_os_error(), Some(libc::EROFS));
        }
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let error = open_read_only(Path::new("/does/not/exist")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = take(4000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
