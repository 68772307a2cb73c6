//! Reproducible archives: entries in the order of their paths, all owned by root and with
//! one date.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

/// "Unknown", so that the header does not depend on the building system.
const GZIP_NO_SYSTEM: u8 = 255;

/// An archive that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file or folder to archive cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Archives name files in UTF-8.
    #[error("the name of `{}` is not UTF-8", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// An entry that cannot be written.
    #[error("cannot write the archive at `{entry}`")]
    Write {
        /// The entry's path in the archive.
        entry: String,
        /// The system's error.
        source: io::Error,
    },
}

/// The content of an archive, to be written.
#[derive(Debug, Clone)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
    date: u64,
}

#[derive(Debug, Clone)]
enum Entry {
    Folder,
    Copy { mode: u32, from: PathBuf },
    Bytes { mode: u32, content: Vec<u8> },
    Link { to: String },
}

impl Archive {
    /// An empty archive; `date` is that of all entries, in seconds since 1970.
    pub fn of(date: u64) -> Self {
        Archive {
            entries: BTreeMap::new(),
            date,
        }
    }

    /// Adds a file with the content of `from`.
    #[must_use]
    pub fn copy(mut self, path: &str, mode: u32, from: &Path) -> Self {
        let from = from.to_owned();
        self.add(path, Entry::Copy { mode, from });
        self
    }

    /// Adds a file of these bytes.
    #[must_use]
    pub fn bytes(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        self.add(path, Entry::Bytes { mode, content });
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, to: &str) -> Self {
        self.add(path, Entry::Link { to: to.to_owned() });
        self
    }

    /// Adds every file below the folder `from`, below `path` or, if that is empty, at the
    /// top.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, or contains a name that is not UTF-8.
    pub fn folder(mut self, path: &str, from: &Path) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Read {
            path: from.to_owned(),
            source,
        };
        for entry in fs::read_dir(from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name
                .to_str()
                .ok_or_else(|| ArchiveError::Name { path: entry.path() })?;
            let inner = match path {
                "" => name.to_owned(),
                _ => format!("{path}/{name}"),
            };
            self = if entry.file_type().map_err(failed)?.is_dir() {
                self.folder(&inner, &entry.path())?
            } else {
                self.copy(&inner, 0o644, &entry.path())
            };
        }
        Ok(self)
    }

    fn add(&mut self, path: &str, entry: Entry) {
        for (end, _) in path.match_indices('/') {
            let folder = path[..end].to_owned();
            self.entries.entry(folder).or_insert(Entry::Folder);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Writes it as a tar archive, and returns the writer.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or the archive cannot be written.
    pub fn write<W: Write>(&self, out: W) -> Result<W, ArchiveError> {
        let mut tar = tar::Builder::new(out);
        for (path, entry) in &self.entries {
            self.append(&mut tar, path, entry)?;
        }
        tar.into_inner().map_err(|source| ArchiveError::Write {
            entry: "its end".to_owned(),
            source,
        })
    }

    fn append<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        path: &str,
        entry: &Entry,
    ) -> Result<(), ArchiveError> {
        let failed = |source| ArchiveError::Write {
            entry: path.to_owned(),
            source,
        };
        let header = |kind, mode, size| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(self.date);
            header.set_size(size);
            header
        };
        match entry {
            Entry::Folder => {
                let mut header = header(tar::EntryType::Directory, 0o755, 0);
                tar.append_data(&mut header, format!("{path}/"), io::empty())
            }
            Entry::Bytes { mode, content } => {
                let mut header = header(tar::EntryType::Regular, *mode, content.len() as u64);
                tar.append_data(&mut header, path, content.as_slice())
            }
            Entry::Link { to } => {
                let mut header = header(tar::EntryType::Symlink, 0o777, 0);
                tar.append_link(&mut header, path, to)
            }
            Entry::Copy { mode, from } => {
                let unread = |source| ArchiveError::Read {
                    path: from.clone(),
                    source,
                };
                let file = File::open(from).map_err(unread)?;
                let size = file.metadata().map_err(unread)?.len();
                let mut header = header(tar::EntryType::Regular, *mode, size);
                // A file that grows meanwhile must not spill into the next entry.
                tar.append_data(&mut header, path, io::Read::take(file, size))
            }
        }
        .map_err(failed)
    }
}

/// Compresses into `out`, without system and date.
pub fn gzip<W: Write>(out: W) -> GzEncoder<W> {
    GzBuilder::new()
        .mtime(0)
        .operating_system(GZIP_NO_SYSTEM)
        .write(out, Compression::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_order_with_their_folders_and_belong_to_root() {
        let archive = Archive::of(7)
            .bytes("b/tool", 0o755, "x")
            .link("b/name", "tool")
            .bytes("a", 0o644, "");
        let bytes = archive.write(Vec::new()).unwrap();
        let mut read = tar::Archive::new(bytes.as_slice());
        let entries: Vec<_> = read
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 7));
                let path = entry.path().unwrap().display().to_string();
                (path, header.mode().unwrap())
            })
            .collect();
        let expected = [
            ("a", 0o644),
            ("b/", 0o755),
            ("b/name", 0o777),
            ("b/tool", 0o755),
        ];
        assert_eq!(
            entries,
            expected.map(|(path, mode)| (path.to_owned(), mode))
        );
    }

    #[test]
    fn a_folder_packs_alike_whatever_its_dates() {
        let folder = tempfile::tempdir().unwrap();
        let pack = || {
            let archive = Archive::of(0).folder("", folder.path()).unwrap();
            gzip(archive.write(Vec::new()).unwrap().as_slice().to_vec())
                .finish()
                .unwrap()
        };
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/one"), "1").unwrap();
        let first = pack();
        fs::remove_file(folder.path().join("inner/one")).unwrap();
        fs::write(folder.path().join("inner/one"), "1").unwrap();
        assert_eq!(pack(), first);
    }
}
