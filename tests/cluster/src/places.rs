//! Paths on the node. They are those of any node, so that the installer and the charts
//! find what they would find elsewhere; the run's own mount namespace protects the
//! machine's folders.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::mount::{MountFlags, mount, mount_bind};

use crate::inside::Scope;

/// containerd's configuration.
pub(crate) const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";
/// Its drop-in files.
pub(crate) const CONTAINERD_DROP_INS: &str = "/etc/containerd/conf.d";
/// The mirrors of registries.
pub(crate) const REGISTRIES: &str = "/etc/containerd/certs.d";
/// Its CNI networks.
pub(crate) const CNI_CONFIG: &str = "/etc/cni/net.d";
/// Where Debian's package puts the CNI plugins.
pub(crate) const CNI_PLUGINS: &str = "/usr/lib/cni";
/// Where host-local records addresses.
pub(crate) const ADDRESSES: &str = "/var/lib/cni/networks";
/// containerd's socket.
pub(crate) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// containerd's debug socket.
pub(crate) const CONTAINERD_DEBUG: &str = "/run/containerd/debug.sock";
/// kubelet's folder.
pub(crate) const KUBELET: &str = "/var/lib/kubelet";
/// containerd's data.
pub(crate) const CONTAINERD: &str = "/var/lib/containerd";
/// Where kubelet keeps the logs of pods.
pub(crate) const POD_LOGS: &str = "/var/log/pods";
/// A folder in which containerd looks for shims.
pub(crate) const PROGRAMS: &str = "/usr/local/bin";

/// The shim's state folder.
const STATE: &str = "/var/lib/skiff";

/// Folders of the machine that a node's programs write to: the run sees their content,
/// and its writes land in its own folder.
const WRITTEN: [&str; 5] = ["/etc", "/opt", "/usr/local", "/var/lib", "/var/log"];

/// Folders below them that hold overlays themselves, and so cannot be on an overlay.
const PLAIN: [&str; 2] = [CONTAINERD, KUBELET];

/// Makes the node's folders the run's own. To be called in the run's own
/// mount namespace.
///
/// # Errors
///
/// When the kernel refuses a mount.
pub(crate) fn enter(scope: &Scope) -> anyhow::Result<()> {
    for place in WRITTEN {
        let folder = layer(scope, place);
        let (upper, work) = (folder.join("written"), folder.join("work"));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        let options = format!(
            "lowerdir={place},upperdir={},workdir={}",
            upper.display(),
            work.display()
        );
        let options = CString::new(options)?;
        mount(
            "overlay",
            place,
            "overlay",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )
        .with_context(|| format!("mounting an overlay on {place}"))?;
    }
    for place in PLAIN {
        let folder = scope.folder().join(place.trim_start_matches('/'));
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(place)?;
        mount_bind(&folder, place).with_context(|| format!("mounting {place}"))?;
    }
    // The node is new, but the machine may have Skiff.
    if Path::new(STATE).exists() {
        fs::remove_dir_all(STATE).with_context(|| format!("hiding {STATE}"))?;
    }
    Ok(())
}

/// Where writes below one of the machine's folders land.
pub(crate) fn written(scope: &Scope, place: &str) -> PathBuf {
    layer(scope, place).join("written")
}

/// The folders of the machine under an overlay of the run.
pub(crate) fn layers() -> impl Iterator<Item = &'static str> {
    WRITTEN.into_iter()
}

fn layer(scope: &Scope, place: &str) -> PathBuf {
    let name = place.trim_start_matches('/').replace('/', "-");
    scope.folder().join("layers").join(name)
}

/// Writes a file and creates its parent folders.
///
/// # Errors
///
/// When it cannot be written.
pub(crate) fn write(path: impl AsRef<Path>, text: &str) -> anyhow::Result<()> {
    let path = path.as_ref();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
