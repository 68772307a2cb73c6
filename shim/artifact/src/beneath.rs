//! File operations below an open folder that no path can leave.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, linkat, mkdirat, openat,
    openat2, readlinkat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

/// The longest path that the kernel accepts, without the NUL byte at its end.
const MAX_PATH: usize = 4095;

/// Everybody may read the files of an artifact: pods run as any user.
const FOLDER_MODE: u32 = 0o755;

/// An open folder. All paths are relative to it, without `..`, and no symbolic link is ever
/// followed: the kernel refuses it (`openat2`); where the kernel lacks that call, each part
/// of a path is opened separately.
#[derive(Debug)]
pub(crate) struct Beneath {
    folder: OwnedFd,
    path: PathBuf,
    /// Whether to try `openat2` at all.
    whole_paths: bool,
}

impl Beneath {
    /// Opens a folder. `path` is trusted; errors show it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let folder = openat(CWD, path, FOLDER, Mode::empty())?;
        Ok(Self {
            folder,
            path: path.to_owned(),
            whole_paths: true,
        })
    }

    /// Opens a folder below this one.
    pub(crate) fn folder(&self, path: &Path) -> io::Result<Self> {
        Ok(Self {
            folder: self.open_below(path, FOLDER, 0)?,
            path: self.shown(path),
            whole_paths: self.whole_paths,
        })
    }

    /// The same folder as it is opened on a kernel without `openat2`.
    #[cfg(test)]
    pub(crate) fn part_by_part(mut self) -> Self {
        self.whole_paths = false;
        self
    }

    /// A path as errors show it.
    pub(crate) fn shown(&self, path: &Path) -> PathBuf {
        self.path.join(path)
    }

    /// The metadata of `path`; of a link itself, not its target.
    pub(crate) fn kind(&self, path: &Path) -> io::Result<Option<Stat>> {
        if path.as_os_str().is_empty() {
            return Ok(Some(rustix::fs::fstat(&self.folder)?));
        }
        let (parent, name) = self.parent(path)?;
        match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The target of the link at `path`.
    pub(crate) fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let (parent, name) = self.parent(path)?;
        let target = readlinkat(&parent, name, Vec::new())?.into_bytes();
        Ok(OsString::from_vec(target).into())
    }

    /// The names in a folder, in order.
    pub(crate) fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let folder = self.open_below(path, FOLDER, 0)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens a file for reading. Anything but a regular file is refused without being
    /// opened.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<File> {
        let found = self.kind(path)?.ok_or(io::ErrorKind::NotFound)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(self.open_below(path, flags, 0)?.into())
    }

    /// Creates a file, which must not exist yet.
    pub(crate) fn create_file(&self, path: &Path, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        Ok(self.open_below(path, flags, mode)?.into())
    }

    /// Creates a folder, which must not exist yet.
    pub(crate) fn create_folder(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(mkdirat(&parent, name, Mode::from_raw_mode(FOLDER_MODE))?)
    }

    /// Creates a symbolic link; its target is not checked.
    pub(crate) fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(symlinkat(target, &parent, name)?)
    }

    /// Creates a hard link to a file, or to a link itself.
    pub(crate) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, from_name) = self.parent(from)?;
        let (to, to_name) = self.parent(to)?;
        Ok(linkat(&from, from_name, &to, to_name, AtFlags::empty())?)
    }

    /// Moves something, replacing a file or an empty folder.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, from_name) = self.parent(from)?;
        let (to, to_name) = self.parent(to)?;
        Ok(renameat(&from, from_name, &to, to_name)?)
    }

    /// Removes whatever is at `path` with everything in it; links are removed, not
    /// followed. A missing path is not an error.
    ///
    /// Folders are opened one at a time, so deep trees need no more open files.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        let mut left = vec![path.to_owned()];
        while let Some(next) = left.last() {
            let (parent, name) = self.parent(next)?;
            match unlinkat(&parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {
                    left.pop();
                    continue;
                }
                // Linux returns the first error, POSIX specifies the second.
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
            match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {
                    left.pop();
                }
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    let next = next.clone();
                    let names = self.names(&next)?;
                    left.extend(names.iter().map(|name| next.join(name)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The folder that contains `path`, and its name there.
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok((self.open_below(parent, flags, 0)?, name))
    }

    fn open_below(&self, path: &Path, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        check(path)?;
        let flags = flags | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        if self.whole_paths {
            let name = if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            };
            let below =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match openat2(&self.folder, name, flags, mode, below) {
                // Kernels before 5.6 lack this call, and seccomp filters that do not know
                // it refuse it.
                Err(Errno::NOSYS | Errno::PERM) => {}
                opened => return Ok(opened?),
            }
        }
        self.walk(path, flags, mode)
    }

    /// The equivalent of one `openat2`, with one call for each part of the path.
    fn walk(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let mut opened: Option<OwnedFd> = None;
        let mut parts = path.components().peekable();
        if parts.peek().is_none() {
            return Ok(openat(&self.folder, ".", flags, mode)?);
        }
        while let Some(part) = parts.next() {
            let within = opened.as_ref().map_or(self.folder.as_fd(), OwnedFd::as_fd);
            let (flags, mode) = match parts.peek() {
                Some(_) => (
                    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                ),
                None => (flags, mode),
            };
            opened = Some(openat(
                within,
                part.as_os_str(),
                flags | OFlags::NOFOLLOW,
                mode,
            )?);
        }
        opened.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Accepts only names, and at most as many as the kernel takes in one path.
fn check(path: &Path) -> io::Result<()> {
    let names = |part| matches!(part, Component::Normal(_));
    if !path.components().all(names) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if path.as_os_str().len() > MAX_PATH {
        return Err(Errno::NAMETOOLONG.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder opened in both ways, and what is next to it.
    fn both(check: impl Fn(&Beneath, &Path)) {
        for whole_paths in [true, false] {
            let outer = tempfile::tempdir().unwrap();
            let root = outer.path().join("root");
            fs::create_dir(&root).unwrap();
            fs::write(outer.path().join("secret"), "secret").unwrap();
            let folder = Beneath::open(&root).unwrap();
            let folder = match whole_paths {
                true => folder,
                false => folder.part_by_part(),
            };
            check(&folder, outer.path());
            assert_eq!(
                fs::read_to_string(outer.path().join("secret")).unwrap(),
                "secret"
            );
            assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2);
        }
    }

    #[test]
    fn no_link_is_followed_on_the_way_or_at_its_end() {
        both(|folder, outer| {
            symlink(outer, outer.join("root/out")).unwrap();
            symlink("../secret", outer.join("root/file")).unwrap();
            for path in ["out/secret", "out/new", "file"] {
                let path = Path::new(path);
                assert!(folder.open_file(path).is_err(), "{}", path.display());
                assert!(
                    folder.create_file(path, 0o644).is_err(),
                    "{}",
                    path.display()
                );
            }
            assert!(folder.create_folder(Path::new("out/new")).is_err());
            assert!(
                folder
                    .link(Path::new("out/secret"), Path::new("mine"))
                    .is_err()
            );
            assert!(folder.remove(Path::new("out/secret")).is_err());
            assert!(folder.names(Path::new("out")).is_err());
            folder.remove(Path::new("out")).unwrap();
            // A second name of a link is also a link.
            folder.link(Path::new("file"), Path::new("again")).unwrap();
            let target = folder.read_link(Path::new("again")).unwrap();
            assert_eq!(target, Path::new("../secret"));
        });
    }

    #[test]
    fn a_path_that_is_not_only_names_is_refused() {
        both(|folder, outer| {
            for path in ["..", "../secret", "a/../../secret", "/etc/passwd", "."] {
                let error = folder.open_below(Path::new(path), OFlags::PATH, 0);
                assert!(error.is_err(), "{path}");
            }
            let long = "d/".repeat(2047) + "dd";
            assert_eq!(long.len(), MAX_PATH + 1);
            let error = folder.create_file(Path::new(&long), 0o644).unwrap_err();
            assert_eq!(
                error.raw_os_error(),
                Some(Errno::NAMETOOLONG.raw_os_error())
            );
            assert!(outer.exists());
        });
    }

    #[test]
    fn what_is_deep_is_made_and_removed_with_few_open_files() {
        let root = tempfile::tempdir().unwrap();
        let folder = Beneath::open(root.path()).unwrap();
        let mut path = PathBuf::new();
        for _ in 0..1500 {
            path.push("d");
            folder.create_folder(&path).unwrap();
        }
        folder.create_file(&path.join("file"), 0o644).unwrap();
        folder.remove(Path::new("d")).unwrap();
        assert_eq!(folder.names(Path::new("")).unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        both(|folder, outer| {
            let fifo = outer.join("root/fifo");
            rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
            folder.create_folder(Path::new("folder")).unwrap();
            for path in ["fifo", "folder", "nothing"] {
                assert!(folder.open_file(Path::new(path)).is_err(), "{path}");
            }
        });
    }
}
