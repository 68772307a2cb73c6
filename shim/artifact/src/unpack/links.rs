//! Hard links to existing files.

use std::io;
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::archive::{EntryError, copy};
use super::{UnpackError, Unpacker};

/// The result of creating a second name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Second {
    /// It is another name of the same file or link.
    Name,
    /// It is a separate file or link, as the file system allows no further name.
    Copy,
}

impl Unpacker<'_> {
    /// Creates `to` as a second name of `from`.
    ///
    /// File systems limit the number of names of one file (65,000 on ext4), some to one.
    /// Beyond that, a link is recreated as a link, and a file is copied, which counts
    /// towards the limits like every written byte.
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

/// Whether the error means that no second name can be created here at all.
fn no_room(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        code,
        Some(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)
    )
}
