//! Folders that are created for a container if they are missing: its working directory, as
//! in runc, and one for what its application keeps.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat, openat, openat2,
};
use rustix::io::Errno;

use crate::spec::volumes::binds;

/// The working directory's permissions, as in runc.
const MODE: u32 = 0o755;

/// The permissions of a folder of the container's user alone.
const PRIVATE: u32 = 0o700;

/// A folder cannot be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the folder `{}`", path.display())]
pub(crate) struct FolderError {
    path: PathBuf,
    source: io::Error,
}

/// Creates the working directory if it is missing: in the container's own files, or in
/// the volume that contains it. Mounts that do not exist yet or are read-only are
/// skipped.
///
/// # Errors
/// The kernel's error.
pub(crate) fn make_working(spec: &Spec) -> Result<(), FolderError> {
    let Some(process) = spec.process() else {
        return Ok(());
    };
    let path = plain(process.cwd());
    let Some((base, rest)) = place(spec, &path) else {
        return Ok(());
    };
    make_below(base, rest).map_err(|error| FolderError {
        path: path.clone(),
        source: error.into(),
    })
}

/// Creates a folder at an absolute path of the container, for its user alone. What is there
/// already stays as it is, and so do read-only files and mounts.
///
/// # Errors
/// The kernel's error.
pub(crate) fn make_private(spec: &Spec, path: &Path) -> Result<(), FolderError> {
    let (Some(process), Some(root)) = (spec.process(), spec.root()) else {
        return Ok(());
    };
    let mut mounts = spec.mounts().iter().flatten();
    if root.readonly() == Some(true) || mounts.any(|mount| path.starts_with(mount.destination())) {
        return Ok(());
    }
    let make = || {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let base = openat(CWD, root.path(), FOLDER, Mode::empty())?;
        let parent = open_inside(&base, parent)?;
        match mkdirat(&parent, name, Mode::from(PRIVATE)) {
            Err(Errno::EXIST) => return Ok(()),
            made => made?,
        }
        let user = process.user();
        let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
        chownat(
            &parent,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
    };
    make().map_err(|error: Errno| FolderError {
        path: path.to_owned(),
        source: error.into(),
    })
}

/// The path without `.` and `..`, resolved by text alone: it is not checked for links.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            _ => {}
        }
    }
    plain
}

/// The folder of the node that contains a path of the container, and the rest of the
/// path.
fn place<'a>(spec: &'a Spec, path: &'a Path) -> Option<(&'a Path, &'a Path)> {
    let all = spec.mounts().as_deref().unwrap_or_default();
    let over = |mount: &&Mount| path.starts_with(mount.destination());
    let Some(last) = all.iter().rfind(over) else {
        let root = spec.root().as_ref()?.path();
        return Some((root, path.strip_prefix("/").ok()?));
    };
    let rest = path.strip_prefix(last.destination()).ok()?;
    let options = last.options().as_deref().unwrap_or_default();
    let read_only = options
        .iter()
        .any(|option| option == "ro" || option == "rro");
    let bind = binds(spec).find(|(mount, _)| std::ptr::eq(*mount, last));
    let source = bind.map(|(_, source)| source.as_path());
    source.filter(|_| !read_only).map(|source| (source, rest))
}

/// How a folder is opened that others are looked for or made in.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a folder below `base`, following links as the container would.
fn open_inside(base: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path == Path::new("") {
        Path::new(".")
    } else {
        path
    };
    openat2(base, path, FOLDER, Mode::empty(), inside)
}

fn make_below(base: &Path, rest: &Path) -> Result<(), Errno> {
    let base = openat(CWD, base, FOLDER, Mode::empty())?;
    // From the base each time.
    let mut there = PathBuf::new();
    for name in rest
        .components()
        .map(|part| AsRef::<OsStr>::as_ref(&part).to_owned())
    {
        let holder = open_inside(&base, &there)?;
        there.push(&name);
        match open_inside(&base, &there) {
            Err(Errno::NOENT) => mkdirat(&holder, &name, Mode::from(MODE))?,
            found => {
                found?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn spec(root: &Path, cwd: &str, mounts: serde_json::Value) -> Spec {
        let spec = json!({
            "ociVersion": "1.2.0",
            "root": { "path": root },
            "process": { "cwd": cwd, "user": { "uid": 0, "gid": 0 } },
            "mounts": mounts,
        });
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn it_is_made_in_the_containers_files() {
        let root = tempfile::tempdir().unwrap();
        make_working(&spec(root.path(), "/srv/../app/./data", json!([]))).unwrap();
        assert!(root.path().join("app/data").is_dir());
        assert!(!root.path().join("srv").exists());
        make_working(&spec(root.path(), "/app/data", json!([]))).unwrap();
        make_working(&spec(root.path(), "/", json!([]))).unwrap();
    }

    #[test]
    fn it_is_made_in_the_volume_it_lies_in() {
        let root = tempfile::tempdir().unwrap();
        let volume = tempfile::tempdir().unwrap();
        let mount = |options: &[&str]| json!([{ "destination": "/data", "type": "bind", "source": volume.path(), "options": options }]);
        make_working(&spec(root.path(), "/data/ro", mount(&["rbind", "ro"]))).unwrap();
        assert!(!volume.path().join("ro").exists());
        make_working(&spec(root.path(), "/data/work", mount(&["rbind"]))).unwrap();
        assert!(volume.path().join("work").is_dir());
        let memory = json!([{ "destination": "/data", "type": "tmpfs", "source": "tmpfs" }]);
        make_working(&spec(root.path(), "/data/other", memory)).unwrap();
        assert!(!root.path().join("data").exists());
    }

    #[test]
    fn a_link_cannot_lead_out_of_the_containers_files() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        let made = make_working(&spec(root.path(), "/out/work", json!([])));
        assert!(made.is_err());
        assert!(!outside.path().join("work").exists());
        symlink("/inner", root.path().join("in")).unwrap();
        std::fs::create_dir(root.path().join("inner")).unwrap();
        make_working(&spec(root.path(), "/in/work", json!([]))).unwrap();
        assert!(root.path().join("inner/work").is_dir());
    }

    #[test]
    fn a_private_folder_belongs_to_the_containers_user() {
        let root = tempfile::tempdir().unwrap();
        let mut spec = spec(root.path(), "/", json!([]));
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        let mut process = spec.process().clone().unwrap();
        let mut user = process.user().clone();
        user.set_uid(uid.as_raw()).set_gid(gid.as_raw());
        process.set_user(user);
        spec.set_process(Some(process));
        let path = root.path().join("own");
        make_private(&spec, Path::new("/own")).unwrap();
        let made = path.metadata().unwrap();
        assert_eq!((made.uid(), made.mode() & 0o7777), (uid.as_raw(), 0o700));
        // What an image brings stays.
        std::fs::set_permissions(&path, Permissions::from_mode(0o750)).unwrap();
        make_private(&spec, Path::new("/own")).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o750);
    }

    #[test]
    fn a_private_folder_is_not_made_elsewhere_or_in_read_only_files() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path().join("new"), root.path().join("link")).unwrap();
        let mounts = json!([{ "destination": "/data", "type": "tmpfs", "source": "tmpfs" }]);
        let mut spec = spec(root.path(), "/", mounts);
        make_private(&spec, Path::new("/link")).unwrap();
        make_private(&spec, Path::new("/data/own")).unwrap();
        let mut read_only = spec.root().clone().unwrap();
        read_only.set_readonly(Some(true));
        spec.set_root(Some(read_only));
        make_private(&spec, Path::new("/own")).unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
