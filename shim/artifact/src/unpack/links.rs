//! Second names for what is there already.

use std::io;
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::archive::{EntryError, copy};
use super::{UnpackError, Unpacker};

/// What became of a second name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Second {
    /// It is another name of the same file or link.
    Name,
    /// It is a file or link of its own, as the file system had no room for another name.
    Copy,
}

impl Unpacker<'_> {
    /// Gives what is at `from` the name `to` as well.
    ///
    /// File systems have room for so many names of one file (65,000 on ext4), and some
    /// for one. Then a link is made anew, as a link, and a file is copied, which is
    /// counted as every byte that is written.
    pub(super) fn link_or_copy(&self, from: &Path, to: &Path) -> Result<Second, UnpackError> {
        let write = |source| self.cannot_write(to, source);
        match self.folder.link(from, to) {
            Ok(()) => return Ok(Second::Name),
            Err(error) if no_room(&error) => {}
            Err(error) => return Err(write(error)),
        }
        let found = self.folder.kind(from).map_err(write)?;
        let found = found.ok_or_else(|| write(io::ErrorKind::NotFound.into()))?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
            let target = self.folder.read_link(from).map_err(write)?;
            self.folder.symlink(&target, to).map_err(write)?;
            return Ok(Second::Copy);
        }
        let mut original = self.folder.open_file(from).map_err(write)?;
        let mode = found.st_mode & 0o777;
        let mut file = self.folder.create_file(to, mode).map_err(write)?;
        self.budget.bytes(found.st_size.unsigned_abs())?;
        match copy(&mut original, &self.folder.shown(to), &mut file) {
            Ok(()) => Ok(Second::Copy),
            Err(EntryError::Other(error)) => Err(error),
            Err(EntryError::Read(error)) => Err(write(error)),
        }
    }
}

/// Whether a second name cannot be had here, whatever is done.
fn no_room(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        code,
        Some(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)
    )
}
