//! The node: its network, containerd, kubelet and kube-proxy.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::json;

use crate::addresses::Addresses;
use crate::control::NODE_NAME;
use crate::identity::Identity;
use crate::images::PAUSE;
use crate::inside::Scope;
use crate::places::{
    ADDRESSES, CNI_CONFIG, CNI_PLUGINS, CONTAINERD, CONTAINERD_CONFIG, CONTAINERD_DEBUG,
    CONTAINERD_DROP_INS, CONTAINERD_SOCKET, KUBELET, POD_LOGS, PROGRAMS, REGISTRIES, write,
};
use crate::program::Line;

/// How many pods the node takes.
const MOST_PODS: u32 = 250;

/// The bridge of pods, with the node's address, and the route to Services.
///
/// # Errors
///
/// When the kernel or `ip` refuses.
pub(crate) fn network(scope: &Scope, addresses: &Addresses) -> anyhow::Result<()> {
    let bridge = scope.bridge();
    let (_, bits) = addresses
        .pods
        .split_once('/')
        .context("a range has a length")?;
    ip(&["link", "add", bridge, "type", "bridge"])?;
    let address = format!("{}/{bits}", addresses.node);
    // No one else can have this address, and it is needed at once.
    ip(&["addr", "add", &address, "dev", bridge, "nodad"])?;
    ip(&["link", "set", bridge, "up"])?;
    // kube-proxy rewrites packets to a Service only if they have a route.
    ip(&["route", "add", addresses.services, "dev", bridge])?;
    write(
        Path::new(CNI_CONFIG).join("10-pods.conflist"),
        &cni(bridge, addresses).to_string(),
    )
}

fn cni(bridge: &str, addresses: &Addresses) -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isGateway": true,
                "hairpinMode": true,
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": ADDRESSES,
                    "ranges": [[{ "subnet": addresses.pods }]],
                    "routes": [{ "dst": addresses.all }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    let done = Command::new("ip")
        .args(args)
        .output()
        .context("running `ip`; install iproute2")?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.success(),
        "ip {}: {}",
        args.join(" "),
        stderr.trim()
    );
    Ok(())
}

/// Puts containerd and its tools where nodes have them.
///
/// # Errors
///
/// When a link cannot be made.
pub(crate) fn programs(built: &Path) -> anyhow::Result<()> {
    for name in ["containerd", "containerd-shim-runc-v2", "ctr"] {
        let link = Path::new(PROGRAMS).join(name);
        symlink(built.join(name), &link).with_context(|| format!("making {}", link.display()))?;
    }
    Ok(())
}

/// containerd with the configuration of a node without Skiff. Every registry is the one
/// at this address.
///
/// # Errors
///
/// When its configuration cannot be written.
pub(crate) fn containerd(registry: &str) -> anyhow::Result<Line> {
    let config = format!(
        r#"version = 3
imports = ["{CONTAINERD_DROP_INS}/*.toml"]
root = "{CONTAINERD}"
state = "/run/containerd"

[grpc]
address = "{CONTAINERD_SOCKET}"

[debug]
address = "{CONTAINERD_DEBUG}"

# Its socket has a fixed place.
[plugins."io.containerd.nri.v1.nri"]
disable = true

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"

[plugins."io.containerd.cri.v1.images".registry]
config_path = "{REGISTRIES}"

[plugins."io.containerd.cri.v1.runtime"]
# If root may not lower a score, runc fails without a message.
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{CNI_PLUGINS}"]
conf_dir = "{CNI_CONFIG}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
    );
    write(CONTAINERD_CONFIG, &config)?;
    fs::create_dir_all(CONTAINERD_DROP_INS)?;
    let hosts = format!(
        "server = \"http://{registry}\"\n\n[host.\"http://{registry}\"]\n\
         capabilities = [\"pull\", \"resolve\"]\n"
    );
    write(Path::new(REGISTRIES).join("_default/hosts.toml"), &hosts)?;
    let line = Line::new(
        "containerd",
        &Path::new(PROGRAMS).join("containerd"),
        &["--config", CONTAINERD_CONFIG],
    );
    Ok(line.revived())
}

/// Follows the page on setting up a node by hand: installs the program under both names
/// where containerd looks for it, and the handler. containerd has to be started
/// afterwards.
///
/// # Errors
///
/// When a file cannot be written.
pub(crate) fn handler_by_hand(skiff: &Path) -> anyhow::Result<()> {
    let [program, shim, config] = by_hand();
    fs::copy(skiff, &program).with_context(|| format!("copying {}", skiff.display()))?;
    symlink("skiff", &shim).with_context(|| format!("making {}", shim.display()))?;
    write(
        &config,
        "version = 3\n\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.skiff]\n\
         runtime_type = \"io.containerd.skiff.v1\"\n",
    )
}

/// containerd's file with the handler.
pub(crate) fn by_hand_file() -> PathBuf {
    let [_, _, config] = by_hand();
    config
}

/// Removes the handler again, as far as it was added.
///
/// # Errors
///
/// When a file cannot be removed.
pub(crate) fn no_handler_by_hand() -> anyhow::Result<()> {
    for file in by_hand() {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The files of a handler by hand.
fn by_hand() -> [PathBuf; 3] {
    let programs = Path::new(PROGRAMS);
    let config = Path::new(CONTAINERD_DROP_INS).join("skiff.toml");
    [
        programs.join("skiff"),
        programs.join("containerd-shim-skiff-v1"),
        config,
    ]
}

/// kubelet. All cgroups of pods are below the run's cgroup.
///
/// # Errors
///
/// When its configuration cannot be written.
pub(crate) fn kubelet(
    scope: &Scope,
    kubernetes: &Path,
    identity: &Identity,
    addresses: &Addresses,
) -> anyhow::Result<Line> {
    cgroup_root(scope)?;
    let folder = scope.folder().join("kubelet-own");
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // Only this run is on its network.
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", scope.name()),
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDNS": [addresses.names],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "podLogsDir": POD_LOGS,
        "volumePluginDir": folder.join("plugins"),
        "maxPods": MOST_PODS,
        "serializeImagePulls": false,
        "registryPullQPS": 0,
        // The suite must not depend on the machine's disk and memory.
        "evictionHard": { "memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "shutdownGracePeriod": "0s",
    });
    let path = folder.join("config.json");
    write(&path, &config.to_string())?;
    let args = [
        "kubelet".to_owned(),
        format!("--config={}", path.display()),
        format!("--kubeconfig={}", identity.kubeconfig("kubelet").display()),
        format!("--hostname-override={NODE_NAME}"),
        format!("--node-ip={}", addresses.node),
        format!("--root-dir={KUBELET}"),
        format!("--cert-dir={}", folder.join("certificates").display()),
    ];
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    Ok(Line::new("kubelet", kubernetes, &args).revived())
}

/// kubelet needs its root in every hierarchy before it starts.
fn cgroup_root(scope: &Scope) -> anyhow::Result<()> {
    let mounts = Path::new("/sys/fs/cgroup");
    if mounts.join("cgroup.procs").exists() {
        fs::create_dir_all(mounts.join(scope.name()))?;
        return Ok(());
    }
    for entry in fs::read_dir(mounts)? {
        let hierarchy = entry?.path();
        // Links are other names of a hierarchy.
        if hierarchy.join("cgroup.procs").exists() && !hierarchy.is_symlink() {
            fs::create_dir_all(hierarchy.join(scope.name()))
                .with_context(|| format!("making a cgroup in {}", hierarchy.display()))?;
        }
    }
    Ok(())
}

/// kube-proxy, which routes Services to pods with nftables. With the rules of
/// iptables-nft, a new connection to a Service sometimes matched none of them during
/// rolling restarts (Linux 6.18, iptables 1.8.9).
pub(crate) fn proxy(kubernetes: &Path, identity: &Identity, addresses: &Addresses) -> Line {
    let kubeconfig = format!("--kubeconfig={}", identity.kubeconfig("proxy").display());
    let pods = format!("--cluster-cidr={}", addresses.pods);
    let name = format!("--hostname-override={NODE_NAME}");
    let mut args = vec![
        "kube-proxy",
        &kubeconfig,
        &pods,
        &name,
        "--proxy-mode=nftables",
        // These are the machine's settings.
        "--conntrack-max-per-core=0",
        "--conntrack-min=0",
    ];
    if !Path::new("/proc/sys/net/bridge").exists() {
        // Answers between pods of one bridge would bypass the rules.
        args.push("--masquerade-all");
    }
    Line::new("kube-proxy", kubernetes, &args)
}
