//! Which image a container is made from, and what it gets from the image's configuration.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use skiff_test_support::oci::{self, Descriptor, Image, Layout, Listed};
use skiff_test_support::tools::Version;
use skiff_test_support::{ContainerSpec, http};

use crate::apps::Kind;
use crate::harness::Case;
use crate::node::{Node, guest};
use crate::pods::{Refusal, SOON, Served};

/// The configuration that `oras push` gives to every artifact.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

pub(super) fn cases() -> Vec<Case> {
    crate::cases![
        of_two_artifacts_with_one_configuration_the_pods_own_is_run,
        of_an_index_webassembly_is_run_where_the_pod_asks_for_no_program,
        an_index_without_an_image_for_linux_is_none_to_containerd,
        an_artifact_without_media_types_is_told_how_to_push,
        an_images_environment_reaches_a_guest_that_serves,
        an_index_is_run_by_its_name_beside_its_linux_image,
    ]
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

    // The kubelet creates a container by an image id, and containerd 1.7 does not know
    // the field with the pod's own reference.
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
    // The id alone is ambiguous.
    told(Refusal::of(&node, "oras-id", of(&id)).await?)?;
    Ok(())
}

/// An attestation, as build tools add it to an image.
fn attestation(layout: &Layout) -> anyhow::Result<Descriptor> {
    let statement = layout.blob("application/vnd.in-toto+json", b"{}")?;
    let config = layout.blob(oci::CONFIG, br#"{"architecture":"unknown","os":"unknown"}"#)?;
    Ok(layout.manifest(&config, &[statement])?)
}

/// A Linux image that serves at port 8080. Its configuration is unique for `of`.
fn linux(node: &Node, of: &str) -> anyhow::Result<Image> {
    let image = Image::linux().copy(Path::new(node.native()), "native", 0o755)?;
    Ok(image
        .env("OF", of)
        .entrypoint(&["/native", "serve", "8080"]))
}

/// An index of an attestation, of a Linux image, and of a Wasm package, in this order.
fn index(scratch: &Path, linux: Option<Image>) -> anyhow::Result<Layout> {
    let folder = scratch.join("layout");
    let wasm = oci::wasm_package(&fs::read(guest("hello")?)?, &folder)?.subject()?;
    let linux = match linux {
        Some(image) => Some(image.write(&folder)?.subject()?),
        None => None,
    };
    let layout = Layout::open(folder);
    let attestation = attestation(&layout)?;
    let listed = |manifest: Descriptor, os, architecture| Listed {
        manifest,
        platform: (os, architecture),
        attests: None,
    };
    let mut manifests = vec![Listed {
        attests: Some(&wasm.digest),
        ..listed(attestation, "unknown", "unknown")
    }];
    manifests.extend(linux.map(|linux| listed(linux, "linux", "amd64")));
    manifests.push(listed(wasm.clone(), "wasip1", "wasm"));
    layout.index(&manifests)?;
    Ok(layout)
}

async fn of_an_index_webassembly_is_run_where_the_pod_asks_for_no_program(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let image = node
        .image("index", |scratch| {
            index(scratch, Some(linux(&node, "an index")?))
        })
        .await?;
    let id = node.cri().image_id(&image).await?;
    let spec = Kind::Package.container("app", &image);
    for spec in [spec.clone(), spec.by_id(&id)] {
        let served = Served::start(&node, "index", &spec).await?;
        assert_eq!(served.get("/").await?.text(), "Hello from Wasm\n");
        served.end().await?;
    }
    // containerd gives a container the files and the command of the Linux manifest: if
    // they name a program, WebAssembly was not asked for.
    let pod = node.cri().run_pod("index-of-linux", "skiff").await?;
    pod.run(&ContainerSpec::new("app", &image)).await?;
    let reply = http::get_until_ok(&pod.url(8080, "/"), SOON).await?;
    assert_eq!(reply.text(), "native");
    pod.remove().await?;
    Ok(())
}

async fn an_index_without_an_image_for_linux_is_none_to_containerd(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    const NAME: &str = "localhost/suite/index-of-wasm:1";
    let layout = index(&node.scratch("index-of-wasm")?, None)?;
    let Err(error) = node.containerd().import(&layout, NAME).await else {
        anyhow::bail!("it is imported")
    };
    let error = error.to_string();
    ensure!(
        error.contains("no match for platform in manifest"),
        "{error}"
    );
    let pod = node.cri().run_pod("index-of-wasm", "skiff").await?;
    let created = pod.create(&Kind::Package.container("app", NAME)).await;
    let error = created.err().context("a container of it is made")?;
    ensure!(error.message().contains("not found"), "{error}");
    pod.remove().await?;
    Ok(())
}

async fn an_artifact_without_media_types_is_told_how_to_push(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let wasm = fs::read(guest("hello")?)?;
    let artifact = |scratch: &Path, media_type: &str| {
        let layout = Layout::create(scratch.join("layout"))?;
        let layer = layout.blob(media_type, &wasm)?;
        let config = layout.blob(EMPTY, b"{}")?;
        layout.manifest(&config, &[layer])?;
        anyhow::Ok(layout)
    };
    for (name, media_type) in [("of-bytes", "application/octet-stream"), ("of-nothing", "")] {
        let image = node
            .image(name, |scratch| artifact(scratch, media_type))
            .await?;
        let spec = Kind::Package.container("app", &image);
        let refusal = Refusal::of(&node, name, spec).await?;
        let found = format!("layers are `{media_type}`");
        let cure = "push it as `FILE.wasm:application/wasm`";
        refusal.tells(&[&found, "none says that it is WebAssembly", cure])?;
    }
    // The default media types of `oras push`. containerd takes it for an incomplete
    // image.
    let layout = artifact(&node.scratch("of-an-archive")?, oci::LAYER)?;
    let imported = node
        .containerd()
        .import(&layout, "localhost/suite/archive:1");
    let Err(error) = imported.await else {
        anyhow::bail!("it is imported")
    };
    let error = error.to_string();
    ensure!(
        error.contains("mismatched image rootfs and manifest layers"),
        "{error}"
    );
    Ok(())
}

async fn an_images_environment_reaches_a_guest_that_serves(node: Arc<Node>) -> anyhow::Result<()> {
    let wasm = guest("environment")?;
    let image = node
        .image("environment", |scratch| {
            let image = Image::for_platform("wasm", "wasi").copy(&wasm, "srv/a.wasm", 0o644)?;
            let image = image.directory("/srv").entrypoint(&["a.wasm"]);
            let image = image.env("ONE", "of the image").env("TWO", "of the image");
            Ok(image.write(scratch.join("layout"))?)
        })
        .await?;
    let spec = ContainerSpec::new("app", &image).env("TWO", "of the pod");
    let served = Served::start(&node, "environment", &spec).await?;
    let text = served.get("/").await?.text();
    for line in ["env ONE=of the image", "env TWO=of the pod"] {
        ensure!(text.lines().any(|one| one == line), "no `{line}` in {text}");
    }
    ensure!(!text.contains("TWO=of the image"), "{text}");
    served.end().await?;
    Ok(())
}

async fn an_index_is_run_by_its_name_beside_its_linux_image(node: Arc<Node>) -> anyhow::Result<()> {
    let both = "an index and a name of its own";
    let alone = node
        .image("a-linux-alone", |scratch| {
            Ok(linux(&node, both)?.write(scratch.join("layout"))?)
        })
        .await?;
    let image = node
        .image("index-beside", |scratch| {
            index(scratch, Some(linux(&node, both)?))
        })
        .await?;
    assert_eq!(
        node.cri().image_id(&image).await?,
        node.cri().image_id(&alone).await?
    );
    let spec = Kind::Package.container("app", &image);
    let served = Served::start(&node, "index", &spec).await?;
    assert_eq!(served.get("/").await?.text(), "Hello from Wasm\n");
    served.end().await?;
    Ok(())
}
