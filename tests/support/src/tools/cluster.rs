//! The programs of a cluster: Kubernetes itself and what users run beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::{GO_HINT, ToolError, go_install, kept, make, run, write};

/// The release of Kubernetes that `tests/cluster/kubernetes/go.mod` names.
/// Charts ask the server for it, and it is not in the binary unless told.
const KUBERNETES: &str = "1.34.4";

/// The module that is all of Kubernetes in one program.
const KUBERNETES_MODULE: [(&str, &str); 3] = [
    (
        "main.go",
        include_str!("../../../cluster/kubernetes/main.go"),
    ),
    ("go.mod", include_str!("../../../cluster/kubernetes/go.mod")),
    ("go.sum", include_str!("../../../cluster/kubernetes/go.sum")),
];

/// The program that has `etcd`, `kube-apiserver`, `kube-controller-manager`,
/// `kube-scheduler`, `kube-proxy`, `kubelet` and `kubectl` as subcommands.
/// Building it takes about five minutes on two cores and the module proxy;
/// after a change to its source, Go's own cache makes that seconds.
///
/// # Errors
///
/// When Go is missing, the build fails, or the cache cannot be written.
pub fn kubernetes() -> Result<PathBuf, ToolError> {
    let mut stamp = Sha256::new();
    for (_, text) in KUBERNETES_MODULE {
        stamp.update(text);
    }
    let stamp = hex::encode(&stamp.finalize()[..6]);
    let folder = kept(
        &format!("kubernetes-{KUBERNETES}-{stamp}"),
        build_kubernetes,
    )?;
    Ok(folder.join("kubernetes"))
}

/// Helm's command line.
///
/// # Errors
///
/// When Go is missing, the build fails, or the cache cannot be written.
pub fn helm() -> Result<PathBuf, ToolError> {
    published("helm", "3.21.4", "helm.sh/helm/v3/cmd/helm")
}

/// The name server of a cluster.
///
/// # Errors
///
/// When Go is missing, the build fails, or the cache cannot be written.
pub fn coredns() -> Result<PathBuf, ToolError> {
    published("coredns", "1.14.7", "github.com/coredns/coredns")
}

/// What answers `kubectl top` and feeds the horizontal autoscaler.
///
/// # Errors
///
/// When Go is missing, the build fails, or the cache cannot be written.
pub fn metrics_server() -> Result<PathBuf, ToolError> {
    published(
        "metrics-server",
        "0.9.0",
        "sigs.k8s.io/metrics-server/cmd/metrics-server",
    )
}

/// What keeps NetworkPolicies on a node.
///
/// # Errors
///
/// When Go is missing, the build fails, or the cache cannot be written.
pub fn kube_router() -> Result<PathBuf, ToolError> {
    published(
        "kube-router",
        "2.1.0",
        "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
    )
}

/// One program of a public module, by the name that Go gives it.
fn published(program: &str, version: &str, package: &str) -> Result<PathBuf, ToolError> {
    let folder = kept(&format!("{program}-{version}"), |partial| {
        let tool = format!("{program} {version}");
        go_install(&tool, &[format!("{package}@v{version}")], "", partial)
    })?;
    Ok(folder.join(program))
}

fn build_kubernetes(into: &Path) -> Result<(), ToolError> {
    let source = into.join("module");
    make(&source)?;
    for (name, text) in KUBERNETES_MODULE {
        write(&source.join(name), text.as_bytes())?;
    }
    let (major, rest) = KUBERNETES.split_once('.').unwrap_or((KUBERNETES, ""));
    let minor = rest.split('.').next().unwrap_or_default();
    let package = "k8s.io/component-base/version";
    let flags = format!(
        "-s -w -X {package}.gitVersion=v{KUBERNETES} -X {package}.gitMajor={major} \
         -X {package}.gitMinor={minor}"
    );
    let mut build = Command::new("go");
    build
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        .args(["build", "-trimpath", "-ldflags", &flags, "-o"])
        .arg(into.join("kubernetes"))
        .arg(".");
    run("kubernetes", "go", GO_HINT, build)?;
    std::fs::remove_dir_all(&source).map_err(|error| ToolError::Write {
        path: source,
        source: error,
    })
}
