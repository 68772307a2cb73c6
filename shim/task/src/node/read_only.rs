//! Files of the node that may be read and not written.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::attributes::{Attributes, set_attributes};

/// Opens a file or folder of the node so that whoever holds it can only read,
/// root or not: through a mount of its own that is read-only and that no
/// namespace contains, so nobody can mount it again for writing.
///
/// Where the kernel cannot do that (before 5.12), permissions have to do.
pub(crate) fn open_read_only(path: &Path) -> io::Result<OwnedFd> {
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
    }
}
