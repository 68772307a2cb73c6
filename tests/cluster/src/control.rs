//! The control plane: etcd, the API server, controllers and scheduler.

use std::path::Path;

use crate::addresses::Addresses;
use crate::identity::Identity;
use crate::program::Line;

/// The node's name.
pub(crate) const NODE_NAME: &str = "node-1";
/// Where the API server listens.
pub(crate) const SERVER_PORT: u16 = 6443;

/// etcd, for a server on the same machine.
pub(crate) fn etcd(kubernetes: &Path, data: &Path) -> Line {
    let data = data.display().to_string();
    Line::new("etcd", kubernetes, &["etcd", "--data-dir", &data])
}

/// The API server. Its certificates and tokens are the suite's own, and it
/// asks aggregated servers as clusters do.
pub(crate) fn apiserver(kubernetes: &Path, identity: &Identity, addresses: &Addresses) -> Line {
    let file = |flag: &str, path: std::path::PathBuf| format!("--{flag}={}", path.display());
    let files = [
        file("tls-cert-file", identity.certificate("server")),
        file("tls-private-key-file", identity.key("server")),
        file("token-auth-file", identity.tokens()),
        file("service-account-signing-key-file", identity.key("accounts")),
        file("service-account-key-file", identity.accounts_public()),
        file(
            "proxy-client-cert-file",
            identity.certificate("front-proxy"),
        ),
        file("proxy-client-key-file", identity.key("front-proxy")),
        file("requestheader-client-ca-file", identity.authority()),
    ];
    let plain = [
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        format!("--advertise-address={}", addresses.node),
        format!("--secure-port={SERVER_PORT}"),
        format!("--service-cluster-ip-range={}", addresses.services),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
        // The node's name does not resolve.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--requestheader-allowed-names=front-proxy".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
    ];
    let mut args = vec!["kube-apiserver"];
    args.extend(plain.iter().chain(&files).map(String::as_str));
    Line::new("kube-apiserver", kubernetes, &args)
}

/// The controllers. The autoscaler decides every few seconds instead of minutes, so that
/// a test sees a workload both grow and shrink.
pub(crate) fn controller_manager(kubernetes: &Path, identity: &Identity) -> Line {
    let kubeconfig = format!(
        "--kubeconfig={}",
        identity.kubeconfig("controller-manager").display()
    );
    let key = format!(
        "--service-account-private-key-file={}",
        identity.key("accounts").display()
    );
    let authority = format!("--root-ca-file={}", identity.authority().display());
    Line::new(
        "kube-controller-manager",
        kubernetes,
        &[
            "kube-controller-manager",
            &kubeconfig,
            &key,
            &authority,
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--horizontal-pod-autoscaler-sync-period=5s",
            "--horizontal-pod-autoscaler-cpu-initialization-period=15s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
            "--horizontal-pod-autoscaler-downscale-stabilization=10s",
        ],
    )
}

/// The scheduler.
pub(crate) fn scheduler(kubernetes: &Path, identity: &Identity) -> Line {
    let kubeconfig = format!(
        "--kubeconfig={}",
        identity.kubeconfig("scheduler").display()
    );
    Line::new(
        "kube-scheduler",
        kubernetes,
        &[
            "kube-scheduler",
            &kubeconfig,
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ],
    )
}
