//! Files of the node that can be read but not written.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::attributes::{Attributes, set_attributes};

/// Opens a file or folder of the node so that the holder of the descriptor can only read,
/// even as root: through a separate read-only mount that is in no namespace, so it cannot
/// be remounted for writing.
///
///
/// If the kernel does not support that (before 5.12), only file permissions protect it.
pub(crate) fn open_read_only(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = match open_tree(CWD, path, flags) {
        Ok(tree) => tree,
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => return open_path(path),
        Err(error) => return Err(error.into()),
    };
    match set_attributes(&tree, Attributes::RDONLY, 0, false) {
        // The mount itself goes away with `tree`; files opened through it stay usable,
        // and read-only.
        Ok(()) => reopen(&tree),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            open_path(path)
        }
        Err(error) => Err(error),
    }
}

/// Reopens a path descriptor, so that it can be read or executed.
fn reopen(tree: &OwnedFd) -> io::Result<OwnedFd> {
    let link = format!("/proc/self/fd/{}", tree.as_raw_fd());
    Ok(std::fs::File::open(link)?.into())
}

fn open_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(std::fs::File::open(path)?.into())
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
            // Root may write to the file, but not through this descriptor.
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
    }
}
