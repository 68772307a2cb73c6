//! Opening paths from untrusted sources: regular files only, so that opening never blocks
//! and has no side effects.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::Errno;

/// Opens the file that a path leads to. `None` for anything but a regular file, which is
/// then not opened: a device may act on opening, a pipe blocks.
pub(crate) fn open_file(path: &Path) -> io::Result<Option<File>> {
    let handle = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    match reopen_file(&handle) {
        // There is no `/proc` here, so the path is looked up a second time.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = openat(CWD, path, READ, Mode::empty())?;
            let is_file = is_file(&file)?;
            Ok(is_file.then(|| file.into()))
        }
        opened => opened,
    }
}

/// Reads all of a regular file.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open_file(path)?.ok_or(io::ErrorKind::InvalidInput)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens the file behind a handle that was opened with `O_PATH`. `None` for anything but a
/// regular file.
///
/// # Errors
/// The system's error; "not found" where there is no `/proc`.
pub fn reopen_file(handle: &OwnedFd) -> io::Result<Option<File>> {
    if !is_file(handle)? {
        return Ok(None);
    }
    let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
    match open(&link, READ, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(io::ErrorKind::NotFound.into()),
        Err(error) => Err(error.into()),
    }
}

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

fn is_file(handle: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(handle)?.st_mode) == FileType::RegularFile)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::mknodat;

    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        symlink("file", at("link")).unwrap();
        for name in ["file", "link"] {
            let mut text = String::new();
            let file = open_file(&at(name)).unwrap();
            file.unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "text", "{name}");
        }
        let fifo = Mode::from_raw_mode(0o600);
        mknodat(CWD, at("fifo"), FileType::Fifo, fifo, 0).unwrap();
        let _listens = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for path in [at("fifo"), at("socket"), at(""), "/dev/zero".into()] {
            assert!(open_file(&path).unwrap().is_none(), "{}", path.display());
        }
        assert!(open_file(&at("missing")).is_err());
    }
}
