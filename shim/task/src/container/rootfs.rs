//! The container's root file system.

use std::path::Path;

use anyhow::Context;
use containerd_shim::protos::types::mount::Mount;
use containerd_shimkit::sandbox::Error;

/// Mounts it if containerd leaves that to the shim.
///
/// # Errors
/// If it cannot be mounted.
pub(crate) fn mount(root: &Path, mounts: &[Mount]) -> Result<(), Error> {
    if !root.exists() {
        std::fs::create_dir_all(root)
            .with_context(|| format!("cannot make `{}`", root.display()))?;
    }
    for mount in mounts {
        let (kind, source) = (given(&mount.type_), given(&mount.source));
        containerd_shim::mount::mount_rootfs(kind, source, &mount.options, root)?;
    }
    Ok(())
}

/// Missing fields arrive as empty text.
fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
