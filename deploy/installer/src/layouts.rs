//! Where each distribution keeps things: one row each, tried in order.

use std::path::Path;

use crate::host::{Host, HostError};

/// A folder for shims that is on the system's search path.
const SYSTEM_LINKS: &str = "/usr/local/bin";

/// The default folder of versions.
const HOME: &str = "/opt/skiff";

/// The shim's state on the node: unpacked applications and compiled code.
pub const STATE: &str = "/var/lib/skiff";

/// Where containerd's own package and most distributions put it.
const SYSTEM_CONTAINERD: &[&str] = &[
    "/usr/bin/containerd",
    "/usr/local/bin/containerd",
    "/bin/containerd",
    "/opt/bin/containerd",
];

/// Why a node is not supported.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It is known not to work.
    #[error("{name} is not served: {reason}")]
    Refused {
        /// The distribution.
        name: &'static str,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// No known distribution matches.
    #[error(
        "no containerd where a known distribution has it; \
         the node's root must be mounted completely, at the folder that --host-root names"
    )]
    Unknown,
    /// Its configuration exists, but containerd's program does not.
    #[error("{name} is recognised, but none of its programs exists: {}", programs.join(", "))]
    NoContainerd {
        /// The distribution.
        name: &'static str,
        /// Where containerd was looked for.
        programs: &'static [&'static str],
    },
    /// A file that identifies distributions cannot be read.
    #[error("cannot determine the node's distribution")]
    Unreadable(#[from] HostError),
}

/// How a node is recognised: all of its marks must be there.
#[derive(Debug, Clone, Copy)]
enum Mark {
    /// The value of `ID` in `/etc/os-release`.
    Os(&'static str),
    /// A file or folder.
    File(&'static str),
    /// One of these files.
    AnyFile(&'static [&'static str]),
}

/// Where containerd's configuration comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A file that containerd reads unchanged.
    File(&'static str),
    /// A file that the distribution writes at each start, from a template that an
    /// administrator may put beside it.
    Rendered {
        /// What containerd reads.
        result: &'static str,
        /// The template for configurations of version 3.
        template_v3: &'static str,
        /// The template for those of version 2.
        template_v2: &'static str,
    },
    /// A file that the distribution writes at each start, including the files of a
    /// folder, as long as its first line is as the distribution writes it.
    Collected {
        /// What containerd reads.
        result: &'static str,
        /// The folder.
        folder: &'static str,
        /// The first line of a file that the distribution writes.
        marker: &'static str,
    },
}

/// How containerd is made to read its configuration again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The first of these units of systemd that is active is restarted.
    Units(&'static [&'static str]),
    /// The distribution watches the folder and restarts containerd. If it does not, the
    /// first active unit is restarted.
    Watched(&'static [&'static str]),
    /// The node is a container: its first process is terminated, and the container engine
    /// starts the node again.
    FirstProcess,
}

/// How containerd finds the shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// By its search path, which contains the folder of the links.
    ByName,
    /// By a path in the handler, as its search path may lack the folder.
    ByPath,
}

/// The facts of a distribution.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Its name.
    pub name: &'static str,
    marks: &'static [Mark],
    refused: Option<&'static str>,
    /// Where containerd's configuration comes from.
    pub source: Source,
    /// Where versions are kept. Programs can be executed from there.
    pub home: &'static str,
    /// Where the stable links are.
    pub links: &'static str,
    /// Whether containerd searches there.
    pub search: Search,
    /// Where the shim's state really is, if not in the default folder.
    pub state: Option<&'static str>,
    /// The socket, if the configuration does not name it.
    pub socket: Option<&'static str>,
    programs: &'static [&'static str],
    /// How containerd is restarted.
    pub service: Service,
}

/// Most nodes: containerd from a package, run by systemd. Other rows state what differs.
const SYSTEMD: Layout = Layout {
    name: "containerd under systemd",
    marks: &[Mark::AnyFile(SYSTEM_CONTAINERD)],
    refused: None,
    source: Source::File("/etc/containerd/config.toml"),
    home: HOME,
    links: SYSTEM_LINKS,
    search: Search::ByName,
    state: None,
    socket: None,
    programs: SYSTEM_CONTAINERD,
    service: Service::Units(&["containerd.service"]),
};

const K3S: Layout = Layout {
    name: "k3s",
    marks: &[Mark::File("/var/lib/rancher/k3s/agent/etc/containerd")],
    source: Source::Rendered {
        result: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        template_v3: "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl",
        template_v2: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml.tmpl",
    },
    socket: Some("/run/k3s/containerd/containerd.sock"),
    programs: &["/var/lib/rancher/k3s/data/current/bin/containerd"],
    service: Service::Units(&["k3s.service", "k3s-agent.service"]),
    ..SYSTEMD
};

/// The table. More specific rows come first: a k3s node may well have Docker's containerd
/// beside its own.
const LAYOUTS: &[Layout] = &[
    Layout {
        name: "Talos",
        marks: &[Mark::Os("talos")],
        refused: Some(
            "its root is read-only and its containerd is configured by the machine's \
             configuration. Add Skiff as a system extension, which puts the shim and the \
             handler into the system image; see deploy/clusters/talos.md",
        ),
        ..SYSTEMD
    },
    Layout {
        name: "Bottlerocket",
        marks: &[Mark::Os("bottlerocket")],
        refused: Some(
            "its root is read-only and verified, its containerd's configuration is \
             made from settings that allow no further runtimes, and SELinux keeps containers \
             from changing either. Use a node group of Amazon Linux 2023 or Ubuntu for pods \
             of this RuntimeClass, and leave Bottlerocket out by nodeSelector",
        ),
        ..SYSTEMD
    },
    Layout {
        name: "MicroK8s",
        marks: &[Mark::File(
            "/var/snap/microk8s/current/args/containerd-template.toml",
        )],
        // A script replaces variables in it at each start; it is TOML before and after.
        source: Source::File("/var/snap/microk8s/current/args/containerd-template.toml"),
        // snapd sets the search path of a snap.
        search: Search::ByPath,
        socket: Some("/var/snap/microk8s/common/run/containerd.sock"),
        programs: &["/snap/microk8s/current/bin/containerd"],
        service: Service::Units(&["snap.microk8s.daemon-containerd.service"]),
        ..SYSTEMD
    },
    Layout {
        name: "k0s",
        marks: &[Mark::AnyFile(&[
            "/etc/k0s/containerd.toml",
            "/var/lib/k0s/bin/containerd",
        ])],
        source: Source::Collected {
            result: "/etc/k0s/containerd.toml",
            folder: "/etc/k0s/containerd.d",
            marker: "# k0s_managed=true",
        },
        socket: Some("/run/k0s/containerd.sock"),
        programs: &["/var/lib/k0s/bin/containerd"],
        service: Service::Watched(&["k0sworker.service", "k0scontroller.service"]),
        ..SYSTEMD
    },
    Layout {
        name: "RKE2",
        marks: &[Mark::File("/var/lib/rancher/rke2/agent/etc/containerd")],
        source: Source::Rendered {
            result: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
            template_v3: "/var/lib/rancher/rke2/agent/etc/containerd/config-v3.toml.tmpl",
            template_v2: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml.tmpl",
        },
        programs: &["/var/lib/rancher/rke2/bin/containerd"],
        service: Service::Units(&["rke2-server.service", "rke2-agent.service"]),
        ..K3S
    },
    Layout {
        name: "k3d",
        marks: &[
            Mark::File("/var/lib/rancher/k3s/agent/etc/containerd"),
            Mark::File("/bin/k3d-entrypoint.sh"),
        ],
        // The image has no /usr/local, but /bin is searched.
        links: "/bin",
        programs: &[
            "/var/lib/rancher/k3s/data/current/bin/containerd",
            "/bin/containerd",
        ],
        service: Service::FirstProcess,
        ..K3S
    },
    K3S,
    Layout {
        name: "GKE with Container-Optimized OS",
        marks: &[Mark::Os("cos")],
        // Nearly every writable folder is mounted noexec. GKE mounts this one for its own
        // programs, and compiled code must be there too.
        home: "/home/kubernetes/bin/skiff-versions",
        links: "/home/kubernetes/bin",
        search: Search::ByPath,
        state: Some("/home/kubernetes/bin/skiff-state"),
        ..SYSTEMD
    },
    Layout {
        name: "Flatcar",
        marks: &[Mark::Os("flatcar")],
        // /usr is read-only, and /opt/bin is on every search path but systemd's.
        links: "/opt/bin",
        search: Search::ByPath,
        ..SYSTEMD
    },
    Layout {
        name: "minikube",
        marks: &[
            Mark::File("/var/lib/minikube"),
            Mark::AnyFile(SYSTEM_CONTAINERD),
        ],
        ..SYSTEMD
    },
    Layout {
        name: "kind",
        marks: &[Mark::File("/kind"), Mark::AnyFile(SYSTEM_CONTAINERD)],
        ..SYSTEMD
    },
    SYSTEMD,
    Layout {
        name: "CRI-O",
        marks: &[Mark::File("/etc/crio")],
        refused: Some(
            "the shim is one for containerd, and CRI-O runs none. Use nodes with \
             containerd for pods of this RuntimeClass",
        ),
        ..SYSTEMD
    },
];

impl Layout {
    /// The row that matches a node.
    ///
    /// # Errors
    ///
    /// If no row matches, or the matching one is refused.
    pub fn detect(host: &Host) -> Result<&'static Self, LayoutError> {
        let os = os_id(host)?;
        let row = LAYOUTS
            .iter()
            .find(|row| row.marks.iter().all(|mark| mark.is_on(host, &os)))
            .ok_or(LayoutError::Unknown)?;
        match row.refused {
            Some(reason) => Err(LayoutError::Refused {
                name: row.name,
                reason,
            }),
            None => Ok(row),
        }
    }

    /// containerd's program on the node.
    ///
    /// # Errors
    ///
    /// If it is in none of its places.
    pub fn containerd(&self, host: &Host) -> Result<&'static Path, LayoutError> {
        let there = self.programs.iter().find(|path| host.exists(path));
        there
            .map(|path| Path::new(*path))
            .ok_or(LayoutError::NoContainerd {
                name: self.name,
                programs: self.programs,
            })
    }
}

impl Mark {
    fn is_on(self, host: &Host, os: &str) -> bool {
        match self {
            Self::Os(id) => id == os,
            Self::File(path) => host.exists(path),
            Self::AnyFile(paths) => paths.iter().any(|path| host.exists(path)),
        }
    }
}

/// The `ID` of `/etc/os-release`, or of the file that it links to on systems that
/// recreate `/etc` at each start.
fn os_id(host: &Host) -> Result<String, HostError> {
    for path in ["/etc/os-release", "/usr/lib/os-release"] {
        if let Some(text) = host.read_text(Path::new(path))? {
            let id = text.lines().find_map(|line| line.strip_prefix("ID="));
            return Ok(id.unwrap_or_default().trim_matches(['"', '\'']).to_owned());
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<_> = LAYOUTS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LAYOUTS.len());
    }

    #[test]
    fn an_empty_root_says_what_to_look_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Layout::detect(&Host::new(folder.path())).expect_err("nothing there");
        assert!(error.to_string().contains("--host-root"), "{error}");
    }
}
