//! Stores that exist without configuration: where a pod keeps them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::sync::Arc;

use anyhow::ensure;
use skiff_test_support::{ContainerSpec, http};

use crate::apps::{App, Kind};
use crate::cases;
use crate::harness::Case;
use crate::node::Node;
use crate::pods::{Refusal, Served};

/// The user of the samples for PodSecurity's `restricted`.
const USER: u32 = 65532;

/// A port that every user may listen on, also under containerd 1.7.
const PORT: u16 = 8080;

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_store_needs_no_configuration_in_a_pod,
        a_store_belongs_to_the_containers_user,
        a_restricted_pod_keeps_its_store_in_a_volume,
        a_pod_that_can_keep_nothing_is_told_what_to_mount,
    ]
}

/// An application with a store.
async fn keeps(node: &Node) -> anyhow::Result<ContainerSpec> {
    let app = App::of_guest("key-value-v2")?.component("key_value_stores = [\"default\"]");
    let image = node.app_image("stores", Kind::Spin, &app).await?;
    let spec = Kind::Spin.container("app", &image);
    Ok(spec.env("SKIFF_HTTP_LISTEN_ADDR", "[::]:8080"))
}

/// Starts a pod that listens on [`PORT`].
async fn start(node: &Node, name: &str, spec: &ContainerSpec) -> anyhow::Result<Served> {
    let pod = node.cri().run_pod(name, "skiff").await?;
    let container = pod.run(spec).await?;
    let served = Served { pod, container };
    served.healthy(PORT).await?;
    Ok(served)
}

async fn ask(served: &Served, path: &str) -> anyhow::Result<String> {
    Ok(http::get(&served.pod.url(PORT, path)).await?.text())
}

/// Sets a value and reads it.
async fn kept(served: &Served) -> anyhow::Result<()> {
    let set = ask(served, "/?op=set&value=kept").await?;
    let read = ask(served, "/?op=get").await?;
    ensure!((&*set, &*read) == ("set", "kept"), "{set:?}, then {read:?}");
    Ok(())
}

async fn a_store_needs_no_configuration_in_a_pod(node: Arc<Node>) -> anyhow::Result<()> {
    let served = start(&node, "store", &keeps(&node).await?).await?;
    kept(&served).await?;
    served.end().await?;
    Ok(())
}

async fn a_store_belongs_to_the_containers_user(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = keeps(&node).await?.user(USER).without_capabilities();
    let served = start(&node, "store-user", &spec).await?;
    kept(&served).await?;
    served.end().await?;
    Ok(())
}

async fn a_restricted_pod_keeps_its_store_in_a_volume(node: Arc<Node>) -> anyhow::Result<()> {
    let folder = node.scratch("store-volume")?;
    // As the kubelet does it for `fsGroup`.
    chown(&folder, None, Some(USER))?;
    fs::set_permissions(&folder, Permissions::from_mode(0o2770))?;
    let restricted = |spec: ContainerSpec| spec.user(USER).read_only_root().without_capabilities();
    let spec = restricted(keeps(&node).await?)
        .mount(&folder, "/data")
        .env("SKIFF_STORE_DIR", "/data");
    let served = start(&node, "store-volume", &spec).await?;
    kept(&served).await?;
    served.end().await?;
    let file = fs::metadata(folder.join("key_value.db"))?;
    ensure!(file.uid() == USER, "the file belongs to {}", file.uid());
    // The next pod has what this one has kept.
    let served = start(&node, "store-volume-again", &spec).await?;
    let read = ask(&served, "/?op=get").await?;
    ensure!(read == "kept", "{read:?}");
    served.end().await?;
    Ok(())
}

async fn a_pod_that_can_keep_nothing_is_told_what_to_mount(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = keeps(&node).await?.read_only_root();
    let refusal = Refusal::of(&node, "store-nowhere", spec).await?;
    refusal.tells(&["`default`", "/.skiff", "mount a volume", "SKIFF_STORE_DIR"])
}
