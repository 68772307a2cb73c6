//! The configuration files of the private containerd.

use std::path::{Path, PathBuf};

use crate::tools::Version;

/// A runtime that pods and tasks can name.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The handler, as in a pod's RuntimeClass.
    pub handler: String,
    /// containerd's type, for example `io.containerd.skiff.v1`.
    pub kind: String,
    /// The shim's program. `None` if containerd finds it beside itself.
    pub program: Option<PathBuf>,
}

impl Runtime {
    /// The file name by which containerd looks for the shim of this type.
    pub(crate) fn program_name(&self) -> String {
        let short = self
            .kind
            .trim_start_matches("io.containerd.")
            .replace('.', "-");
        format!("containerd-shim-{short}")
    }
}

/// The paths in a configuration.
pub(crate) struct Places<'a> {
    pub(crate) root: &'a Path,
    pub(crate) state: &'a Path,
    pub(crate) cni: &'a Path,
    pub(crate) registries: &'a Path,
}

/// Where Debian's package puts the CNI plugins.
const CNI_PLUGINS: &str = "/usr/lib/cni";

/// The name under which the pause image is imported.
pub(crate) const PAUSE_IMAGE: &str = "localhost/skiff/pause:1";

/// The configuration of a containerd of that version.
///
/// `restrict_oom_score_adj` is for machines whose root may not lower a score, where runc
/// fails without a message. NRI and the like are off because their sockets have fixed
/// paths.
pub(crate) fn containerd(version: Version, places: &Places<'_>, runtimes: &[Runtime]) -> String {
    let (format, cri) = match version {
        Version::V1_7 => (2, cri_in_one(places)),
        Version::V2 => (3, cri_in_two(places)),
    };
    let table = match version {
        Version::V1_7 => "io.containerd.grpc.v1.cri",
        Version::V2 => "io.containerd.cri.v1.runtime",
    };
    let handlers: String = runtimes
        .iter()
        .map(|runtime| handler(table, runtime))
        .collect();
    let (root, state) = (places.root.display(), places.state.display());
    format!(
        r#"version = {format}
root = "{root}/data"
state = "{state}"

[grpc]
address = "{state}/containerd.sock"

[ttrpc]
address = "{state}/containerd.sock.ttrpc"

[debug]
level = "debug"

[plugins."io.containerd.internal.v1.opt"]
path = "{root}/opt"

[plugins."io.containerd.nri.v1.nri"]
disable = true

{cri}
{handlers}"#
    )
}

fn cri_in_one(places: &Places<'_>) -> String {
    format!(
        r#"[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{registries}"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{cni}"
"#,
        registries = places.registries.display(),
        cni = places.cni.display(),
    )
}

fn cri_in_two(places: &Places<'_>) -> String {
    format!(
        r#"[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.images".registry]
config_path = "{registries}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{CNI_PLUGINS}"]
conf_dir = "{cni}"
"#,
        registries = places.registries.display(),
        cni = places.cni.display(),
    )
}

fn handler(table: &str, runtime: &Runtime) -> String {
    let Runtime { handler, kind, .. } = runtime;
    format!(
        r#"
[plugins."{table}".containerd.runtimes.{handler}]
runtime_type = "{kind}"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_looked_for_by_the_name_its_type_gives() {
        let runtime = Runtime {
            handler: "skiff".into(),
            kind: "io.containerd.skiff.v1".into(),
            program: None,
        };
        assert_eq!(runtime.program_name(), "containerd-shim-skiff-v1");
    }
}
