//! Separate namespaces for a run.
//!
//! With its own network namespace a run may use any address and port, and its bridge and
//! interfaces disappear with its last process. With its own mount namespace the fixed
//! paths that containerd, its shims and CNI write to (`/run/containerd`, `/run/netns`,
//! `/var/lib/cni`) are private.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::network;

/// What can go wrong when entering them.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// The kernel gives no namespaces, mostly because root is missing.
    #[error("cannot make namespaces")]
    Unshare(#[source] io::Error),
    /// A private folder cannot be mounted.
    #[error("cannot mount `{}`", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The loopback interface cannot be brought up.
    #[error("cannot bring the loopback interface up")]
    Loopback(#[source] io::Error),
}

/// Moves this thread, and all that it starts, into new network and mount namespaces,
/// where `/run` is empty and writes below `/var/lib` land in `folder`.
///
/// Call it before any other thread is started: existing threads stay outside. Sockets
/// bound before keep listening where they were.
///
/// # Errors
///
/// Without root, or when the kernel refuses one of the mounts.
pub fn enter(folder: &Path) -> Result<(), IsolationError> {
    // SAFETY: what makes unsharing unsafe is a file table that is no longer
    // shared between threads; it is not among these flags.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) }
        .map_err(|error| IsolationError::Unshare(error.into()))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(failed("/"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", "/run", "tmpfs", flags, Some(c"mode=755")).map_err(failed("/run"))?;
    overlay("/var/lib", folder)?;
    network::loopback_up().map_err(IsolationError::Loopback)
}

/// Puts an overlay on a folder of the system: reads go through, writes stay in `folder`,
/// on disk, because compiled code may be large.
fn overlay(place: &'static str, folder: &Path) -> Result<(), IsolationError> {
    let upper = folder.join("written");
    let work = folder.join("work");
    for made in [&upper, &work] {
        fs::create_dir_all(made).map_err(|source| IsolationError::Mount {
            path: made.clone(),
            source,
        })?;
    }
    let options = format!(
        "lowerdir={place},upperdir={},workdir={}",
        escaped(&upper),
        escaped(&work)
    );
    let options = std::ffi::CString::new(options)
        .map_err(|error| failed(place)(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    mount(
        "overlay",
        place,
        "overlay",
        MountFlags::NOSUID,
        Some(options.as_c_str()),
    )
    .map_err(failed(place))
}

/// Overlay's options are separated by commas, and its folders by colons.
fn escaped(path: &Path) -> String {
    path.display()
        .to_string()
        .replace('\\', r"\\")
        .replace(',', r"\,")
        .replace(':', r"\:")
}

fn failed<E: Into<io::Error>>(path: &'static str) -> impl Fn(E) -> IsolationError {
    move |source| IsolationError::Mount {
        path: path.into(),
        source: source.into(),
    }
}
