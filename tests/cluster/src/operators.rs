//! Operators that act on Skiff's pods: an Ingress controller, KEDA and SpinKube's
//! operators, with their own programs and manifests. Each runs, as pods, for as long as
//! its case needs it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use skiff_test_support::oci::Image;
use skiff_test_support::tools;

use crate::identity::Certified;
use crate::images::{busybox, with_programs};
use crate::kubectl::Clients;
use crate::manifests::{deployment, service, spec};
use crate::space::{SOON, Space};

/// The namespace and the release of runtime-class-manager.
pub(crate) const MANAGER: &str = "rcm";

/// The separator of two YAML documents.
const PARTED: &str = "\n---\n";

/// The user of their processes, as in their official images.
const NOBODY: &str = "65532:65532";

/// Their programs.
#[derive(Debug, Clone)]
pub(crate) struct Operators {
    skipper: PathBuf,
    keda: PathBuf,
    spin_operator: PathBuf,
    runtime_class_manager: PathBuf,
}

impl Operators {
    /// Finds them, and builds those that are missing.
    ///
    /// # Errors
    ///
    /// When one cannot be built.
    pub(crate) fn find() -> anyhow::Result<Self> {
        Ok(Self {
            skipper: tools::skipper()?,
            keda: tools::keda()?,
            spin_operator: tools::spin_operator()?,
            runtime_class_manager: tools::runtime_class_manager()?,
        })
    }

    /// Starts a controller for the Ingresses of the case's namespace, and returns its
    /// address. It is deleted with the namespace.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub(crate) async fn ingress_controller(&self, space: &Space) -> anyhow::Result<SocketAddr> {
        const NAME: &str = "controller";
        let image = offer(space, "registry.test/skipper:1", &self.skipper, "skipper")?;
        let container = json!({
            "name": NAME,
            "image": image,
            "args": [
                "-address=:80",
                "-kubernetes",
                "-kubernetes-in-cluster",
                format!("-kubernetes-namespace={}", space.name()),
                "-enable-kubernetes-endpointslices",
                "-wait-first-route-load",
            ],
            "readinessProbe": {
                "httpGet": { "path": "/kube-system/healthz", "port": 80 },
                "periodSeconds": 1,
            },
        });
        let mut spec = spec(None, &[container]);
        spec["serviceAccountName"] = NAME.into();
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": NAME },
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": { "name": NAME },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "view",
            },
            "subjects": [{ "kind": "ServiceAccount", "name": NAME }],
        });
        space
            .apply(&[account, binding, deployment(NAME, 1, spec), service(NAME)])
            .await?;
        space
            .rolled_out(&format!("deployment/{NAME}"), SOON)
            .await?;
        space.service(NAME).await
    }

    /// Installs KEDA.
    ///
    /// # Errors
    ///
    /// When a part of it does not become ready.
    pub(crate) async fn keda<'a>(&self, space: &'a Space) -> anyhow::Result<Operator<'a>> {
        for (program, inside, image) in [
            ("operator", "keda", "keda"),
            ("adapter", "keda-adapter", "keda-metrics-apiserver"),
            (
                "webhooks",
                "keda-admission-webhooks",
                "keda-admission-webhooks",
            ),
        ] {
            let image = format!("ghcr.io/kedacore/{image}:main");
            offer(space, &image, &self.keda.join(program), inside)?;
        }
        let clients = space.cluster().clients();
        let manifests = kustomized(clients, &self.keda.join("config/default")).await?;
        let parts = ["keda-operator", "keda-metrics-apiserver", "keda-admission"];
        Operator::install(clients, manifests, "keda", &parts).await
    }

    /// Installs spin-operator. Its one certificate is made here instead of by
    /// cert-manager.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub(crate) async fn spin_operator<'a>(&self, space: &'a Space) -> anyhow::Result<Operator<'a>> {
        const NAMESPACE: &str = "spin-operator";
        const SECRET: &str = "webhook-server-cert";
        let image = "ghcr.io/spinframework/spin-operator:latest";
        offer(space, image, &self.spin_operator.join("cmd"), "manager")?;
        let clients = space.cluster().clients();
        let folder = self.spin_operator.join("config/default");
        let manifests = kustomized(clients, &folder).await?;
        let host = format!("spin-operator-webhook-service.{NAMESPACE}.svc");
        let certified = Certified::server(&host)?;
        let mut manifests = certifies(&manifests, &certified.authority);
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": SECRET, "namespace": NAMESPACE },
            "type": "kubernetes.io/tls",
            "stringData": { "tls.crt": certified.certificate, "tls.key": certified.key },
        });
        manifests.push_str(&format!("{PARTED}{secret}"));
        let parts = ["spin-operator-controller-manager"];
        Operator::install(clients, manifests, NAMESPACE, &parts).await
    }

    /// Installs runtime-class-manager by its chart, with the images that its Jobs run.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub(crate) async fn runtime_class_manager(&self, space: &Space) -> anyhow::Result<()> {
        const REGISTRY: &str = "ghcr.io/spinframework";
        let programs = &self.runtime_class_manager;
        let image = format!("{REGISTRY}/runtime-class-manager:latest");
        offer(space, &image, &programs.join("rcm"), "manager")?;
        let installer = busybox()?
            .copy(&programs.join("node-installer"), "node-installer", 0o755)?
            .entrypoint(&["/node-installer"]);
        let script = programs.join("images/downloader/download_shim.sh");
        let downloader = with_programs(busybox()?, &["/bin/bash", "/bin/curl"])?
            .copy(&script, "download_shim.sh", 0o755)?
            .entrypoint(&["bash", "/download_shim.sh"]);
        for (name, image) in [
            ("node-installer", installer),
            ("shim-downloader", downloader),
        ] {
            let layout = image.write(space.cluster().scratch().join(name))?;
            let name = format!("{REGISTRY}/{name}:latest");
            space.cluster().registry().offer(&name, layout.folder());
        }
        let chart = programs.join("deploy/helm");
        let chart = chart.to_str().context("a path in UTF-8")?;
        let args = ["install", MANAGER, chart, "--namespace", MANAGER];
        let wait = ["--create-namespace", "--wait", "--timeout=3m"];
        let clients = space.cluster().clients();
        clients.helm(&[&args[..], &wait].concat()).await.map(drop)
    }
}

/// Uninstalls runtime-class-manager.
///
/// # Errors
///
/// When something does not go.
pub(crate) async fn remove_runtime_class_manager(clients: &Clients) -> anyhow::Result<()> {
    let args = ["uninstall", MANAGER, "--namespace", MANAGER, "--wait"];
    clients.helm(&args).await?;
    for left in [
        ["namespace", MANAGER],
        // Helm leaves definitions.
        ["customresourcedefinition", "shims.runtime.spinkube.dev"],
    ] {
        let delete = [&["delete", "--timeout=180s"][..], &left].concat();
        clients.kubectl(&delete).await?;
    }
    Ok(())
}

/// An operator that is installed.
#[derive(Debug)]
pub(crate) struct Operator<'a> {
    clients: &'a Clients,
    manifests: String,
}

impl<'a> Operator<'a> {
    /// Applies its manifests and waits for its Deployments.
    async fn install(
        clients: &'a Clients,
        manifests: String,
        namespace: &str,
        deployments: &[&str],
    ) -> anyhow::Result<Self> {
        // Some definitions are larger than an annotation may be.
        let apply = ["apply", "--server-side", "-f", "-"];
        clients.kubectl_with(&apply, &manifests).await?;
        let operator = Self { clients, manifests };
        for deployment in deployments {
            let deployment = format!("deployment/{deployment}");
            let timeout = format!("--timeout={}s", SOON.as_secs());
            let args = ["-n", namespace, "rollout", "status", &deployment, &timeout];
            if let Err(error) = clients.kubectl(&args).await {
                let logs = ["-n", namespace, "logs", &deployment, "--tail=20"];
                let told = clients.kubectl(&logs).await;
                let told = told.unwrap_or_else(|error| format!("{error:#}"));
                operator.remove().await?;
                return Err(error.context(told));
            }
        }
        Ok(operator)
    }

    /// Uninstalls it with all its objects. Objects of its own kinds must be gone before.
    ///
    /// # Errors
    ///
    /// When something does not go.
    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        let delete = ["delete", "--timeout=180s", "-f", "-"];
        let told = self.clients.kubectl_with(&delete, &self.manifests).await;
        told.map(drop)
    }
}

/// Offers a program as an image under a full name, and returns its image reference.
fn offer(space: &Space, image: &str, program: &Path, inside: &str) -> anyhow::Result<String> {
    space.cluster().registry().offer_once(image, || {
        let layout = Image::linux()
            .copy(program, inside, 0o755)?
            .entrypoint(&[&format!("/{inside}")])
            .user(NOBODY)
            .write(space.cluster().scratch().join(inside))?;
        Ok(layout.folder().to_owned())
    })
}

/// The manifests that `kubectl apply -k` would apply.
async fn kustomized(clients: &Clients, folder: &Path) -> anyhow::Result<String> {
    let folder = folder.to_str().context("a path in UTF-8")?;
    clients.kubectl(&["kustomize", folder]).await
}

/// Replaces cert-manager: removes its objects from manifests, and makes callers of
/// webhooks trust the authority.
fn certifies(manifests: &str, authority: &str) -> String {
    const CLIENT: &str = "clientConfig:";
    let authority = BASE64.encode(authority);
    let documents = manifests.split(PARTED);
    let documents = documents.filter(|text| !text.contains("apiVersion: cert-manager.io/"));
    let lines = documents.map(|text| {
        let mut certified = String::new();
        for line in text.lines() {
            certified.push_str(line);
            certified.push('\n');
            if let Some(before) = line.strip_suffix(CLIENT) {
                let indent = " ".repeat(before.len());
                certified.push_str(&format!("{indent}  caBundle: {authority}\n"));
            }
        }
        certified
    });
    lines.collect::<Vec<_>>().join(PARTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_trust_the_authority_and_cert_managers_objects_leave() {
        let manifests = "kind: A\nwebhooks:\n- clientConfig:\n    service: s\n---\n\
                         apiVersion: cert-manager.io/v1\nkind: Issuer\n---\nkind: B\n";
        let expected = "kind: A\nwebhooks:\n- clientConfig:\n    caBundle: UEVN\n    service: s\n\
                        \n---\nkind: B\n";
        assert_eq!(certifies(manifests, "PEM"), expected);
    }
}
