//! The files beside an unpacked application: a record of its contents, which shows when
//! something is missing, and the time of its last use.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, FileType, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fsync, syncfs, utimensat,
};

use crate::beneath::Beneath;

/// Every file, folder and link, one after the other.
const CONTENTS: &str = "contents";
/// The boot in which the contents were checked; the file's own time is that of the last
/// use.
const USED: &str = "used";

const HEADER: &str = "skiff-unpacked-1";

/// Up to this many files and folders are synced one by one. Beyond it, syncing the whole
/// file system is cheaper.
const SINGLE_SYNCS: usize = 64;

/// The least that a file takes on disk; sizes are rounded up to it.
const BLOCK: u64 = 4096;

/// How many bytes of a record hold its size.
const HEADER_LENGTH: u64 = 100;

/// The contents of an unpacked folder.
struct Inventory {
    /// Folders and files, without links.
    paths: Vec<(PathBuf, FileType)>,
    /// The record as it is written to disk.
    text: Vec<u8>,
}

/// Records the contents of `folder` and syncs all of it to disk.
pub(super) fn finish(folder: &Beneath, boot: &str) -> io::Result<()> {
    let mut inventory = inventory(folder)?;
    for (name, text) in [
        (CONTENTS, inventory.text.as_slice()),
        (USED, boot.as_bytes()),
    ] {
        let path = PathBuf::from(name);
        folder.create_file(&path, 0o644)?.write_all(text)?;
        inventory.paths.push((path, FileType::RegularFile));
    }
    if inventory.paths.len() > SINGLE_SYNCS {
        return Ok(syncfs(folder)?);
    }
    for (path, kind) in &inventory.paths {
        match kind {
            FileType::Directory => fsync(folder.folder(path)?)?,
            _ => folder.open_file(path)?.sync_all()?,
        }
    }
    Ok(fsync(folder)?)
}

/// Whether everything in the record is there. This is checked once per boot: nothing that
/// was synced is lost while the machine runs.
pub(super) fn check(folder: &Beneath, boot: &str) -> io::Result<bool> {
    let known = read(folder, USED)?;
    let checked = !boot.is_empty() && known.as_deref() == Some(boot.as_bytes());
    if !checked {
        let Some(noted) = read(folder, CONTENTS)? else {
            return Ok(false);
        };
        if inventory(folder)?.text != noted {
            return Ok(false);
        }
        folder.remove(Path::new(USED))?;
        match folder.create_file(Path::new(USED), 0o644) {
            Ok(mut file) => file.write_all(boot.as_bytes())?,
            // Another process was checking as well.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    touch(folder)?;
    Ok(true)
}

/// When an application was last used, and its size in bytes. `None` where this was not
/// recorded.
pub(super) fn use_of(folder: &Beneath) -> Option<(SystemTime, u64)> {
    let found = folder.kind(Path::new(USED)).ok()??;
    let seconds = u64::try_from(found.st_mtime).ok()?;
    let nanoseconds = u32::try_from(found.st_mtime_nsec).ok()?;
    let used = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))?;
    let file = folder.open_file(Path::new(CONTENTS)).ok()?;
    let mut start = Vec::new();
    file.take(HEADER_LENGTH).read_to_end(&mut start).ok()?;
    let line = start.split(|byte| *byte == b'\n').next()?;
    let bytes = std::str::from_utf8(line).ok()?.strip_prefix(HEADER)?;
    Some((used, bytes.trim().parse().ok()?))
}

/// Access times would do, but many file systems do not keep them.
fn touch(folder: &Beneath) -> io::Result<()> {
    let omit = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: omit,
        last_modification: now,
    };
    Ok(utimensat(folder, USED, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn read(folder: &Beneath, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut file = match folder.open_file(Path::new(name)) {
        Ok(file) => file,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Ok(None),
                _ => Err(error),
            };
        }
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Walks the folder except for its own records.
fn inventory(folder: &Beneath) -> io::Result<Inventory> {
    let mut paths = Vec::new();
    let mut entries = Vec::new();
    let (mut bytes, mut counted) = (0, BTreeSet::new());
    let mut left = vec![PathBuf::new()];
    while let Some(next) = left.pop() {
        for name in folder.names(&next)? {
            let path = next.join(&name);
            if path == Path::new(CONTENTS) || path == Path::new(USED) {
                continue;
            }
            let found = folder.kind(&path)?.ok_or(io::ErrorKind::NotFound)?;
            let kind = FileType::from_raw_mode(found.st_mode);
            let size = found.st_size.unsigned_abs();
            // Several names of one file take its space once.
            if found.st_nlink == 1 || counted.insert(found.st_ino) {
                bytes += size.next_multiple_of(BLOCK).max(BLOCK);
            }
            let word = match kind {
                FileType::Directory => "folder".to_owned(),
                FileType::Symlink => "link".to_owned(),
                _ => size.to_string(),
            };
            entries.extend_from_slice(word.as_bytes());
            entries.push(b' ');
            entries.extend_from_slice(path.as_os_str().as_bytes());
            // No name contains this byte.
            entries.push(0);
            match kind {
                FileType::Directory => left.push(path.clone()),
                FileType::Symlink => continue,
                _ => {}
            }
            paths.push((path, kind));
        }
    }
    let mut text = format!("{HEADER} {bytes}\n").into_bytes();
    text.extend(entries);
    Ok(Inventory { paths, text })
}
