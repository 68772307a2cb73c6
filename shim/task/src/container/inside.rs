//! Changes a container's own mounts from outside, after libcontainer has created them and
//! while its first process waits to be started.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2, symlinkat};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::node::attributes::{Attributes, set_attributes};
use crate::node::cgroup::{self, Hierarchy};
use crate::spec::{Cgroups, Propagation};

/// The permissions of the kernel's control group folders.
const FOLDER: u32 = 0o755;

/// The restrictions of every mount of control groups.
const GROUPS: Attributes = Attributes::NOSUID
    .and(Attributes::NODEV)
    .and(Attributes::NOEXEC);

/// Errors, with paths as seen in the container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InsideError {
    #[error("cannot read `{path}`")]
    Read { path: String, source: io::Error },
    #[error("cannot find the container's control groups")]
    Groups(#[source] io::Error),
    #[error("cannot open the control group `{}`", path.display())]
    Group { path: PathBuf, source: io::Error },
    #[error("cannot enter the container's mounts")]
    Enter(#[source] io::Error),
    #[error("cannot leave the container's mounts")]
    Leave(#[source] io::Error),
    #[error("cannot find `{}` in the container", path.display())]
    Find { path: PathBuf, source: io::Error },
    #[error("cannot mount control groups at `{}`", path.display())]
    Mount { path: PathBuf, source: io::Error },
    #[error("cannot set how `{}` propagates", path.display())]
    Propagation { path: PathBuf, source: io::Error },
}

/// Finishes the mounts of the container whose first process is `pid`. Call this from a
/// process with one thread, which returns to its own namespace and folder.
///
/// # Errors
/// The kernel's error, with the path.
pub(crate) fn finish(
    pid: i32,
    propagation: &[Propagation],
    cgroups: Option<&Cgroups>,
) -> Result<(), InsideError> {
    if propagation.is_empty() && cgroups.is_none() {
        return Ok(());
    }
    let trees = match cgroups {
        Some(_) => open_trees(pid)?,
        None => Vec::new(),
    };
    let open = |path: String| match File::open(&path) {
        Ok(file) => Ok(file),
        Err(source) => Err(InsideError::Read { path, source }),
    };
    let ours = open("/proc/self/ns/mnt".to_owned())?;
    let theirs = open(format!("/proc/{pid}/ns/mnt"))?;
    enter(&theirs).map_err(InsideError::Enter)?;
    let finished = cgroups
        .map_or(Ok(()), |cgroups| mount_groups(cgroups, trees))
        .and_then(|()| propagation.iter().try_for_each(set_propagation));
    enter(&ours).map_err(InsideError::Leave)?;
    finished
}

/// Moves this process, which has one thread, into the mount namespace of another. Its
/// open files are unaffected.
fn enter(namespace: &File) -> io::Result<()> {
    Ok(move_into_thread_name_spaces(
        namespace.as_fd(),
        ThreadNameSpaceType::MOUNT,
    )?)
}

/// Each of the container's groups, as a detached mount.
fn open_trees(pid: i32) -> Result<Vec<(Hierarchy, OwnedFd)>, InsideError> {
    let open = |hierarchy: Hierarchy| {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        match open_tree(CWD, &hierarchy.path, flags) {
            Ok(tree) => Ok((hierarchy, tree)),
            Err(error) => {
                let (path, source) = (hierarchy.path, error.into());
                Err(InsideError::Group { path, source })
            }
        }
    };
    let found = cgroup::hierarchies_of(pid).map_err(InsideError::Groups)?;
    found.into_iter().map(open).collect()
}

fn mount_groups(cgroups: &Cgroups, trees: Vec<(Hierarchy, OwnedFd)>) -> Result<(), InsideError> {
    let folder = find(&cgroups.destination)?;
    let mounted = || -> io::Result<()> {
        for (hierarchy, tree) in trees {
            let read_only = match cgroups.read_only {
                true => Attributes::RDONLY,
                false => Attributes::NONE,
            };
            set_attributes(&tree, GROUPS.and(read_only), cgroups.propagation, false)?;
            mkdirat(&folder, &hierarchy.name, Mode::from(FOLDER))?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let at = rustix::fs::openat(&folder, &hierarchy.name, flags, Mode::empty())?;
            let flags =
                MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&tree, "", &at, "", flags)?;
            for alias in &hierarchy.aliases {
                symlinkat(&hierarchy.name, &folder, alias)?;
            }
        }
        if cgroups.read_only {
            set_attributes(&folder, Attributes::RDONLY, 0, false)?;
        }
        Ok(())
    };
    mounted().map_err(|source| InsideError::Mount {
        path: cgroups.destination.clone(),
        source,
    })
}

fn set_propagation(propagation: &Propagation) -> Result<(), InsideError> {
    let Propagation {
        destination,
        kind,
        recursive,
    } = propagation;
    let mount = find(destination)?;
    set_attributes(&mount, Attributes::NONE, *kind, *recursive).map_err(|source| {
        InsideError::Propagation {
            path: destination.clone(),
            source,
        }
    })
}

/// Opens a path of the container, which cannot lead out of it.
fn find(path: &Path) -> Result<OwnedFd, InsideError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found =
        rustix::fs::openat(CWD, "/", flags | OFlags::DIRECTORY, Mode::empty()).and_then(|root| {
            let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            openat2(&root, path, flags, Mode::empty(), inside)
        });
    found.map_err(|error| InsideError::Find {
        path: path.to_owned(),
        source: error.into(),
    })
}
