//! The programs of a cluster: Kubernetes itself and add-ons.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{GO_HINT, ToolError, go_install, kept, make, run, told, write};

/// The release of Kubernetes that `tests/cluster/kubernetes/go.mod` names. Charts query
/// the server's version, which the binary only has if it is set in the build.
const KUBERNETES: &str = "1.34.4";

/// The module that builds all of Kubernetes as one program.
const KUBERNETES_MODULE: [(&str, &str); 3] = [
    (
        "main.go",
        include_str!("../../../cluster/kubernetes/main.go"),
    ),
    ("go.mod", include_str!("../../../cluster/kubernetes/go.mod")),
    ("go.sum", include_str!("../../../cluster/kubernetes/go.sum")),
];

/// The program that has `etcd`, `kube-apiserver`, `kube-controller-manager`,
/// `kube-scheduler`, `kube-proxy`, `kubelet` and `kubectl` as subcommands. Building it
/// takes about five minutes on two cores and needs the module proxy; after a change to
/// its source, with Go's cache, seconds.
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

/// Helm's command-line program.
///
/// # Errors
///
/// When Go is missing, the build fails, or the cache cannot be written.
pub fn helm() -> Result<PathBuf, ToolError> {
    published("helm", "3.21.4", "helm.sh/helm/v3/cmd/helm")
}

/// The DNS server of a cluster.
///
/// # Errors
///
/// When Go is missing, the build fails, or the cache cannot be written.
pub fn coredns() -> Result<PathBuf, ToolError> {
    published("coredns", "1.14.7", "github.com/coredns/coredns")
}

/// The metrics server, for `kubectl top` and the horizontal autoscaler.
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

/// The enforcer of NetworkPolicies on a node.
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

/// The program `skipper`, an Ingress controller.
///
/// # Errors
///
/// When Go is missing, the build fails, or the cache cannot be written.
pub fn skipper() -> Result<PathBuf, ToolError> {
    const MODULE: Module = Module {
        name: "skipper",
        version: "0.22.0",
        path: "github.com/zalando/skipper",
    };
    let folder = MODULE.build(&["cmd/skipper"], &[])?;
    Ok(folder.join("skipper"))
}

/// KEDA: a folder with the programs `operator`, `adapter` and `webhooks`, and with
/// `config/default`, its manifests for users.
///
/// # Errors
///
/// When Go is missing, the build fails, or the cache cannot be written.
pub fn keda() -> Result<PathBuf, ToolError> {
    const MODULE: Module = Module {
        name: "keda",
        version: "2.20.2",
        path: "github.com/kedacore/keda/v2",
    };
    MODULE.build(
        &["cmd/operator", "cmd/adapter", "cmd/webhooks"],
        &["config"],
    )
}

/// SpinKube's spin-operator: a folder with the program `cmd`, and with `config/default`,
/// its manifests for users.
///
/// # Errors
///
/// When Go is missing, the build fails, or the cache cannot be written.
pub fn spin_operator() -> Result<PathBuf, ToolError> {
    const MODULE: Module = Module {
        name: "spin-operator",
        version: "0.6.1",
        path: "github.com/spinkube/spin-operator",
    };
    MODULE.build(&["cmd"], &["config"])
}

/// SpinKube's runtime-class-manager: a folder with the programs `rcm` and
/// `node-installer`, its chart in `deploy/helm`, and in `images` the other images of its
/// nodes.
///
/// # Errors
///
/// When Go is missing, the build fails, or the cache cannot be written.
pub fn runtime_class_manager() -> Result<PathBuf, ToolError> {
    const MODULE: Module = Module {
        name: "runtime-class-manager",
        version: "0.2.0",
        path: "github.com/spinkube/runtime-class-manager",
    };
    MODULE.build(
        &["cmd/rcm", "cmd/node-installer"],
        &["deploy/helm", "images"],
    )
}

/// A public module that is built as its authors build it: with the versions and
/// replacements of its own `go.mod`, which `go install` refuses.
struct Module {
    name: &'static str,
    version: &'static str,
    path: &'static str,
}

impl Module {
    /// The folder with these programs, each named like its package's folder, and with
    /// these folders of the module.
    fn build(&self, packages: &[&str], folders: &[&str]) -> Result<PathBuf, ToolError> {
        let tool = format!("{}-{}", self.name, self.version);
        kept(&tool, |into| {
            let source = self.source(&tool)?;
            let packages = packages.iter().map(|package| format!("./{package}"));
            let mut build = Command::new("go");
            build
                .current_dir(&source)
                .env("CGO_ENABLED", "0")
                .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"])
                // Their images include time zones, ours do not.
                .args(["-tags", "timetzdata"])
                .arg("-o")
                // With the slash it is a folder, even for one program.
                .arg(into.join(""))
                .args(packages);
            run(&tool, "go", GO_HINT, build)?;
            for folder in folders {
                let to = into.join(folder);
                make(to.parent().unwrap_or(into))?;
                let mut copy = Command::new("cp");
                // Go's module cache is read-only; the copy here can be removed.
                copy.args(["-r", "--no-preserve=mode"])
                    .arg(source.join(folder))
                    .arg(to);
                run(&tool, "cp", "install coreutils", copy)?;
            }
            Ok(())
        })
    }

    /// The folder of the module's source in Go's cache, checked against the public
    /// checksum database.
    fn source(&self, tool: &str) -> Result<PathBuf, ToolError> {
        let module = format!("{}@v{}", self.path, self.version);
        let mut download = Command::new("go");
        download.args(["mod", "download", "-json", &module]);
        let json = told(tool, "go", GO_HINT, download)?;
        let found: Option<Value> = serde_json::from_slice(&json).ok();
        let folder = found.as_ref().and_then(|found| found["Dir"].as_str());
        folder.map(PathBuf::from).ok_or_else(|| ToolError::Build {
            tool: tool.to_owned(),
            step: format!("go mod download -json {module}"),
            output: String::from_utf8_lossy(&json).into_owned(),
        })
    }
}

/// One program of a public module, under Go's name for it.
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
