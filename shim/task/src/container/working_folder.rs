//! A container's working directory, which is created if it is missing, as runc does.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

use crate::spec::volumes::binds;

/// Its permissions, as in runc.
const MODE: u32 = 0o755;

/// It cannot be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the working directory `{}`", path.display())]
pub(crate) struct WorkingFolderError {
    path: PathBuf,
    source: io::Error,
}

/// Creates the working directory if it is missing: in the container's own files, or in
/// the volume that contains it. Mounts that do not exist yet or are read-only are
/// skipped.
///
/// # Errors
/// The kernel's error.
pub(crate) fn make(spec: &Spec) -> Result<(), WorkingFolderError> {
    let Some(process) = spec.process() else {
        return Ok(());
    };
    let path = plain(process.cwd());
    let Some((base, rest)) = place(spec, &path) else {
        return Ok(());
    };
    make_below(base, rest).map_err(|error| WorkingFolderError {
        path: path.clone(),
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

fn make_below(base: &Path, rest: &Path) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base = openat(CWD, base, flags, Mode::empty())?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // Follows links as the container would, from the base each time.
    let open = |path: &Path| -> Result<OwnedFd, Errno> {
        let path = if path == Path::new("") {
            Path::new(".")
        } else {
            path
        };
        openat2(&base, path, flags, Mode::empty(), inside)
    };
    let mut there = PathBuf::new();
    for name in rest
        .components()
        .map(|part| AsRef::<OsStr>::as_ref(&part).to_owned())
    {
        let holder = open(&there)?;
        there.push(&name);
        match open(&there) {
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
    use std::os::unix::fs::symlink;

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
        make(&spec(root.path(), "/srv/../app/./data", json!([]))).unwrap();
        assert!(root.path().join("app/data").is_dir());
        assert!(!root.path().join("srv").exists());
        make(&spec(root.path(), "/app/data", json!([]))).unwrap();
        make(&spec(root.path(), "/", json!([]))).unwrap();
    }

    #[test]
    fn it_is_made_in_the_volume_it_lies_in() {
        let root = tempfile::tempdir().unwrap();
        let volume = tempfile::tempdir().unwrap();
        let mount = |options: &[&str]| json!([{ "destination": "/data", "type": "bind", "source": volume.path(), "options": options }]);
        make(&spec(root.path(), "/data/ro", mount(&["rbind", "ro"]))).unwrap();
        assert!(!volume.path().join("ro").exists());
        make(&spec(root.path(), "/data/work", mount(&["rbind"]))).unwrap();
        assert!(volume.path().join("work").is_dir());
        let memory = json!([{ "destination": "/data", "type": "tmpfs", "source": "tmpfs" }]);
        make(&spec(root.path(), "/data/other", memory)).unwrap();
        assert!(!root.path().join("data").exists());
    }

    #[test]
    fn a_link_cannot_lead_out_of_the_containers_files() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        let made = make(&spec(root.path(), "/out/work", json!([])));
        assert!(made.is_err());
        assert!(!outside.path().join("work").exists());
        symlink("/inner", root.path().join("in")).unwrap();
        std::fs::create_dir(root.path().join("inner")).unwrap();
        make(&spec(root.path(), "/in/work", json!([]))).unwrap();
        assert!(root.path().join("inner/work").is_dir());
    }
}
