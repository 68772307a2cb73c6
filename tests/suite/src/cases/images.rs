//! Which image a container is of, where containerd cannot tell images apart.

use std::fs;
use std::sync::Arc;

use skiff_test_support::oci::{self, Descriptor, Layout};
use skiff_test_support::tools::Version;

use crate::apps::Kind;
use crate::harness::Case;
use crate::node::{Node, guest};
use crate::pods::{Refusal, Served};

/// The configuration that `oras push` gives to every artifact.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

pub(super) fn cases() -> Vec<Case> {
    crate::cases![of_two_artifacts_with_one_configuration_the_pods_own_is_run]
}

/// An artifact as `oras push` makes it.
async fn pushed(node: &Node, name: &str) -> anyhow::Result<String> {
    let wasm = fs::read(guest(name)?)?;
    node.image(&format!("oras-{name}"), |scratch| {
        let layout = Layout::create(scratch.join("layout"))?;
        let layer = layout.blob(oci::WASM_LAYER, &wasm)?;
        let config = layout.blob(EMPTY, b"{}")?;
        layout.manifest(&config, &[layer])?;
        Ok(layout)
    })
    .await
}

async fn of_two_artifacts_with_one_configuration_the_pods_own_is_run(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let right = pushed(&node, "hello").await?;
    let wrong = pushed(&node, "unknown-import").await?;
    let of = |image: &str| Kind::Package.container("app", image);
    let served = Served::start(&node, "oras-hello", &of(&right)).await?;
    assert_eq!(served.get("/").await?.status, 200);
    served.end().await?;
    let refusal = Refusal::of(&node, "oras-other", of(&wrong)).await?;
    refusal.tells(&["nowhere:land/teapot@1.2.3"])?;

    // The kubelet asks for a container of an id, and containerd 1.7 does not know the
    // field in which it repeats what the pod's owner wrote.
    let id = Descriptor::of(EMPTY, b"{}").digest;
    let told = |refusal: Refusal| {
        let words = [right.as_str(), wrong.as_str(), "the same configuration"];
        refusal.tells(&words)
    };
    match node.version() {
        Version::V2 => {
            let spec = of(&right).by_id(&id);
            let served = Served::start(&node, "oras-by-id", &spec).await?;
            assert_eq!(served.get("/").await?.status, 200);
            served.end().await?;
            let refusal = Refusal::of(&node, "oras-other-by-id", of(&wrong).by_id(&id)).await?;
            refusal.tells(&["nowhere:land/teapot@1.2.3"])?;
        }
        Version::V1_7 => {
            told(Refusal::of(&node, "oras-by-id", of(&right).by_id(&id)).await?)?;
        }
    }
    // Named by the id alone nobody can tell.
    told(Refusal::of(&node, "oras-id", of(&id)).await?)?;
    Ok(())
}
