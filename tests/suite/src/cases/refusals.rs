//! Starts that must fail: the reason is the error of the call, a line of the log, and the
//! termination message.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use skiff_test_support::ContainerSpec;
use skiff_test_support::oci::{self, Descriptor, Layout};

use crate::apps::{App, Kind};
use crate::harness::Case;
use crate::node::{Node, guest};
use crate::pods::{Refusal, Served};

/// Media types of a Spin application's parts.
const SPIN_WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
const SPIN_APP: &str = "application/vnd.fermyon.spin.application.v1+config";

/// Sixteen bytes that begin like native code of this machine.
const NATIVE: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = crate::cases![
        a_variable_without_a_value_is_named,
        an_interface_that_is_not_offered_yet_is_named,
        an_unknown_label_is_named,
        mistakes_in_a_manifest_are_named_with_their_lines,
        an_unknown_trigger_type_is_named,
        a_digest_without_a_layer_is_named,
        a_layer_that_was_changed_is_named,
        a_layer_that_was_cut_off_is_named,
        a_layer_that_is_not_wasm_is_named,
        native_code_in_a_layer_is_refused,
        two_layers_in_a_package_are_refused,
        an_archive_with_a_wrong_digest_is_not_imported,
        a_refused_container_leaves_its_pod_usable,
    ];
    for kind in Kind::ALL {
        let name = format!("refusals::an_unknown_import_is_named_in_{}", kind.word());
        cases.push(Case::new(name, move |node| unknown_import(node, kind)));
    }
    cases
}

async fn refused(node: &Node, name: &str, image: &str, words: &[&str]) -> anyhow::Result<()> {
    // Some of these are handmade and have no command.
    let spec = ContainerSpec::new("app", image).command(&["/"]);
    let refusal = Refusal::of(node, name, spec).await?;
    refusal.tells(words)
}

async fn unknown_import(node: Arc<Node>, kind: Kind) -> anyhow::Result<()> {
    let image = node.guest_image(kind, "unknown-import").await?;
    let name = format!("unknown-import-{}", kind.word());
    let mut words = vec!["nowhere:land/teapot@1.2.3"];
    if matches!(kind, Kind::Spin | Kind::Manifest) {
        words.push("`unknown-import`");
    }
    let refusal = Refusal::of(&node, &name, kind.container("app", &image)).await?;
    refusal.tells(&words)
}

async fn a_variable_without_a_value_is_named(node: Arc<Node>) -> anyhow::Result<()> {
    let app = App::of_guest("hello")?
        .manifest("[variables]\nfirst_one = { required = true }\nsecond_one = { required = true }");
    let image = node.app_image("no-value", Kind::Spin, &app).await?;
    refused(&node, "no-value", &image, &["first_one", "second_one"]).await
}

async fn an_interface_that_is_not_offered_yet_is_named(node: Arc<Node>) -> anyhow::Result<()> {
    let app = App::of_guest("python-3-4")?.named("model");
    let app = app.component("ai_models = [\"llama2-chat\"]");
    let image = node.app_image("model", Kind::Spin, &app).await?;
    let words = ["fermyon:spin/llm@2.0.0", "component `model`"];
    refused(&node, "model", &image, &words).await
}

async fn an_unknown_label_is_named(node: Arc<Node>) -> anyhow::Result<()> {
    let app = App::of_guest("hello")?.component("key_value_stores = [\"cellar\"]");
    let image = node.app_image("label", Kind::Spin, &app).await?;
    refused(&node, "label", &image, &["cellar", "hello"]).await
}

async fn mistakes_in_a_manifest_are_named_with_their_lines(node: Arc<Node>) -> anyhow::Result<()> {
    let app = App::of_guest("hello")?
        .manifest("[[trigger.http]]\nroute = 5\ncomponent = \"hello\"\n")
        .component("colour = \"red\"");
    let image = node.app_image("mistakes", Kind::Manifest, &app).await?;
    refused(
        &node,
        "mistakes",
        &image,
        &["spin.toml:12", "colour", "spin.toml:1"],
    )
    .await
}

async fn an_unknown_trigger_type_is_named(node: Arc<Node>) -> anyhow::Result<()> {
    let app = App::of_guest("hello")?
        .manifest("[[trigger.telegram]]\ncomponent = \"hello\"\nwire = \"red\"\n");
    let image = node.app_image("telegram", Kind::Spin, &app).await?;
    refused(&node, "telegram", &image, &["telegram"]).await
}

/// A Spin application whose component has this digest, with these layers.
fn artifact(
    folder: &Path,
    digest: &str,
    layers: &[Descriptor],
    layout: &Layout,
) -> anyhow::Result<()> {
    let locked = json!({
        "spin_lock_version": 0,
        "metadata": { "name": "crafted", "triggers": {}, "trigger": { "type": "http" } },
        "triggers": [{
            "id": "trigger--crafted",
            "trigger_type": "http",
            "trigger_config": { "component": "crafted", "route": "/..." },
        }],
        "components": [{
            "id": "crafted",
            "source": { "content_type": "application/wasm", "digest": digest },
        }],
    });
    let locked = layout.blob(SPIN_APP, locked.to_string().as_bytes())?;
    // The CRI identifies images by their configuration.
    let digests: Vec<_> = layers.iter().map(|layer| &layer.digest).collect();
    let made_for = format!("{digest} {digests:?}");
    let config = json!({
        "architecture": "wasm",
        "os": "Wasip1",
        "config": { "Labels": { "made-for": made_for } },
    });
    let config = layout.blob(oci::CONFIG, config.to_string().as_bytes())?;
    let mut all = layers.to_vec();
    all.push(locked);
    layout
        .manifest(&config, &all)
        .with_context(|| format!("in {}", folder.display()))?;
    Ok(())
}

/// The image of such an application with one Wasm layer of these bytes, to which its
/// component refers.
async fn with_layer(node: &Node, name: &str, bytes: &[u8]) -> anyhow::Result<(String, Descriptor)> {
    let descriptor = Descriptor::of(SPIN_WASM, bytes);
    let image = node
        .image(name, |scratch| {
            let layout = Layout::create(scratch.join("layout"))?;
            let layer = layout.blob(SPIN_WASM, bytes)?;
            artifact(
                scratch,
                &layer.digest,
                std::slice::from_ref(&layer),
                &layout,
            )?;
            Ok(layout)
        })
        .await?;
    Ok((image, descriptor))
}

async fn a_digest_without_a_layer_is_named(node: Arc<Node>) -> anyhow::Result<()> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let image = node
        .image("no-layer", |scratch| {
            let layout = Layout::create(scratch.join("layout"))?;
            artifact(scratch, &digest, &[], &layout)?;
            Ok(layout)
        })
        .await?;
    refused(&node, "no-layer", &image, &[&digest, "crafted"]).await
}

/// A guest with unique bytes, so that damaging it affects no other image.
fn own_bytes(note: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = fs::read(guest("hello")?)?;
    // A custom section: its id, its size, the size of its name, its name.
    let size = u8::try_from(note.len())?;
    bytes.extend([0, size + 1, size]);
    bytes.extend(note.as_bytes());
    Ok(bytes)
}

async fn a_layer_that_was_changed_is_named(node: Arc<Node>) -> anyhow::Result<()> {
    let (image, layer) = with_layer(&node, "changed", &own_bytes("to be changed")?).await?;
    let blob = node.containerd().blob(&layer.digest);
    let mut bytes = fs::read(&blob)?;
    let last = bytes.last_mut().context("the layer is empty")?;
    *last ^= 1;
    fs::write(&blob, bytes)?;
    refused(&node, "changed", &image, &[&layer.digest]).await
}

async fn a_layer_that_was_cut_off_is_named(node: Arc<Node>) -> anyhow::Result<()> {
    let (image, layer) = with_layer(&node, "cut-off", &own_bytes("to be cut off")?).await?;
    let blob = node.containerd().blob(&layer.digest);
    let bytes = fs::read(&blob)?;
    fs::write(&blob, &bytes[..bytes.len() / 2])?;
    refused(&node, "cut-off", &image, &[&layer.digest]).await
}

async fn a_layer_that_is_not_wasm_is_named(node: Arc<Node>) -> anyhow::Result<()> {
    let (image, layer) = with_layer(&node, "not-wasm", b"#!/bin/sh\necho no\n").await?;
    let words = [layer.digest.as_str(), "not WebAssembly"];
    refused(&node, "not-wasm", &image, &words).await
}

async fn native_code_in_a_layer_is_refused(node: Arc<Node>) -> anyhow::Result<()> {
    let (image, layer) = with_layer(&node, "native-code", NATIVE).await?;
    let words = [layer.digest.as_str(), "compiled"];
    refused(&node, "native-code", &image, &words).await
}

async fn two_layers_in_a_package_are_refused(node: Arc<Node>) -> anyhow::Result<()> {
    let image = node
        .image("two-layers", |scratch| {
            let layout = Layout::create(scratch.join("layout"))?;
            let first = layout.blob(oci::WASM_LAYER, &own_bytes("first")?)?;
            let second = layout.blob(oci::WASM_LAYER, &own_bytes("second")?)?;
            let config = json!({
                "architecture": "wasm",
                "os": "wasip2",
                "layerDigests": [first.digest, second.digest],
            });
            let config = layout.blob(oci::WASM_CONFIG, config.to_string().as_bytes())?;
            layout.manifest(&config, &[first, second])?;
            Ok(layout)
        })
        .await?;
    refused(&node, "two-layers", &image, &["2 layers"]).await
}

async fn an_archive_with_a_wrong_digest_is_not_imported(node: Arc<Node>) -> anyhow::Result<()> {
    let folder = node.scratch("wrong-digest")?;
    let layout = oci::wasm_package(&own_bytes("wrong digest")?, folder.join("layout"))?;
    let index: Value = serde_json::from_slice(&fs::read(layout.folder().join("index.json"))?)?;
    let manifest = index["manifests"][0]["digest"]
        .as_str()
        .context("no manifest")?;
    let path = layout.folder().join(oci::blob_name(manifest));
    let text = fs::read_to_string(&path)?;
    fs::write(&path, text.replace("schemaVersion", "schemaversion"))?;
    let outcome = node
        .containerd()
        .import(&layout, "localhost/suite/wrong-digest:1")
        .await;
    let Err(error) = outcome else {
        anyhow::bail!("it is imported")
    };
    ensure!(error.to_string().contains(manifest), "{error}");
    Ok(())
}

async fn a_refused_container_leaves_its_pod_usable(node: Arc<Node>) -> anyhow::Result<()> {
    let wrong = node.guest_image(Kind::Spin, "unknown-import").await?;
    let right = node.guest_image(Kind::Spin, "hello").await?;
    let pod = node.cri().run_pod("second-try", "skiff").await?;
    for _ in 0..2 {
        let refusal = Refusal::within(&pod, Kind::Spin.container("app", &wrong)).await?;
        refusal.tells(&["nowhere:land/teapot@1.2.3"])?;
    }
    let container = pod.run(&Kind::Spin.container("app", &right)).await?;
    let served = Served { pod, container };
    served.healthy(80).await?;
    assert_eq!(served.get("/").await?.status, 200);
    served.end().await?;
    Ok(())
}
