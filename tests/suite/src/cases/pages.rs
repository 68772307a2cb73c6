//! The pods that the README and the pages of `docs/` show run as they stand.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use skiff_test_support::{ContainerSpec, pages};

use crate::apps::push;
use crate::harness::Case;
use crate::node::{Node, sample};
use crate::pods::Served;

/// The images on the pages, and the samples that replace them.
const IMAGES: [(&str, &str, &str); 2] = [
    (
        "registry.example/hello:1",
        "hello-rust",
        "Hello from Rust\n",
    ),
    ("registry.example/app:1", "hello-wasi", "Hello from WASI\n"),
];

pub(super) fn cases() -> Vec<Case> {
    crate::cases![pods_run_as_they_stand]
}

async fn pods_run_as_they_stand(node: Arc<Node>) -> anyhow::Result<()> {
    let mut pods = 0;
    for (page, text) in pages::all()? {
        let page = page.display();
        for block in pages::blocks(&text, "yaml") {
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(block).with_context(|| format!("{page}: {block}"))?;
            for document in documents {
                if document["kind"] == "Pod" {
                    pods += 1;
                    let ran = run(&node, &document, pods).await;
                    ran.with_context(|| format!("{page}: {block}"))?;
                }
            }
        }
    }
    ensure!(pods > 0, "the README has no pod");
    Ok(())
}

/// Runs a pod as kubelet would, exactly as written.
async fn run(node: &Node, pod: &Value, number: usize) -> anyhow::Result<()> {
    let containers = pod["spec"]["containers"].as_array();
    let [container] = containers.map_or(&[][..], Vec::as_slice) else {
        bail!("it does not have exactly one container");
    };
    let fields = container.as_object().context("a container")?.keys();
    for field in fields {
        let known = [
            "name",
            "image",
            "ports",
            "command",
            "args",
            "env",
            "volumeMounts",
        ];
        let known = known.contains(&field.as_str());
        ensure!(known, "this test does not support `{field}`");
    }
    ensure!(pod["spec"]["runtimeClassName"] == "skiff", "it is not ours");
    let text = |key: &str| container[key].as_str().with_context(|| format!("no {key}"));
    let image = text("image")?;
    let known = IMAGES.into_iter().find(|(name, ..)| *name == image);
    let (_, of_sample, greeting) = known.with_context(|| format!("no sample replaces {image}"))?;
    let folder = sample(of_sample)?;
    let name = format!("readme-{number}");
    node.named_image(image, &name, |scratch| {
        push(&folder, &scratch.join("layout"))
    })
    .await?;
    let words = |key: &str| -> Vec<String> {
        let words = container[key].as_array().into_iter().flatten();
        words
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect()
    };
    let (command, args) = (words("command"), words("args"));
    let borrowed: [Vec<&str>; 2] = [&command, &args].map(|all| all.iter().map(|w| &**w).collect());
    let spec = ContainerSpec::new(text("name")?, image);
    let mut spec = spec.command(&borrowed[0]).args(&borrowed[1]);
    let user = pod["spec"]["securityContext"]["runAsUser"].as_u64();
    let user = user.map(u32::try_from).transpose()?;
    if let Some(user) = user {
        spec = spec.user(user);
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let text = |key: &str| variable[key].as_str().context("a variable's text");
        spec = spec.env(text("name")?, text("value")?);
    }
    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
        let path = mount["mountPath"].as_str().context("a path")?;
        let folder = node.scratch(&format!("{name}-volume"))?;
        // As the kubelet does it for `fsGroup`.
        std::os::unix::fs::chown(&folder, None, user)?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o2770))?;
        spec = spec.mount(&folder, path);
    }
    let served = Served::start(node, &name, &spec).await?;
    let reply = served.get("/").await?;
    ensure!(reply.text() == greeting, "it answers {:?}", reply.text());
    ensure!(served.end().await? == 0, "SIGTERM does not end it well");
    Ok(())
}
