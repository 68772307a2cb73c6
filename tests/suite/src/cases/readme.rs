//! What the README and the pages of `docs/` show is run as it stands: their pods under
//! the CRI, their commands for a node on a node's folders.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use skiff_test_support::{ContainerSpec, paths};

use crate::apps::push;
use crate::harness::Case;
use crate::node::{Node, sample};
use crate::pods::Served;

/// What the pages call images of their readers, and the samples that stand for them.
const IMAGES: [(&str, &str, &str); 1] = [(
    "registry.example/hello:1",
    "hello-rust",
    "Hello from Rust\n",
)];

pub(super) fn cases() -> Vec<Case> {
    crate::cases![
        pods_run_as_they_stand,
        a_node_is_set_up_as_the_commands_stand,
    ]
}

/// The README and every page of `docs/`.
fn pages() -> anyhow::Result<Vec<(String, String)>> {
    let root = paths::target_dir();
    let root = root
        .parent()
        .context("the target folder is in the checkout")?;
    let mut files: Vec<PathBuf> = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("docs")).into_iter().flatten() {
        files.push(entry?.path());
    }
    let pages = files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "md"));
    pages
        .map(|file| {
            let text = fs::read_to_string(&file)?;
            Ok((file.display().to_string(), text))
        })
        .collect()
}

/// The fenced blocks of a page in one language.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("```{language}\n");
    let rest = page.split(&*fence).skip(1);
    rest.filter_map(|text| Some(text.split_once("```")?.0))
        .collect()
}

async fn pods_run_as_they_stand(node: Arc<Node>) -> anyhow::Result<()> {
    let mut pods = 0;
    for (page, text) in pages()? {
        for block in blocks(&text, "yaml") {
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

/// Runs a pod as kubelet would, with nothing more than what is written.
async fn run(node: &Node, pod: &Value, number: usize) -> anyhow::Result<()> {
    let containers = pod["spec"]["containers"].as_array();
    let [container] = containers.map_or(&[][..], Vec::as_slice) else {
        bail!("it has not one container");
    };
    let fields = container.as_object().context("a container")?.keys();
    for field in fields {
        let known = ["name", "image", "ports", "command", "args"].contains(&field.as_str());
        ensure!(known, "nobody here does what `{field}` says");
    }
    ensure!(pod["spec"]["runtimeClassName"] == "skiff", "it is not ours");
    let text = |key: &str| container[key].as_str().with_context(|| format!("no {key}"));
    let image = text("image")?;
    let known = IMAGES.into_iter().find(|(name, ..)| *name == image);
    let (_, of_sample, greeting) =
        known.with_context(|| format!("no sample stands for {image}"))?;
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
    let spec = spec.command(&borrowed[0]).args(&borrowed[1]);
    let served = Served::start(node, &name, &spec).await?;
    let reply = served.get("/").await?;
    ensure!(reply.text() == greeting, "it answers {:?}", reply.text());
    ensure!(served.end().await? == 0, "SIGTERM does not end it well");
    Ok(())
}

/// The lines that put the program where containerd finds it, in a namespace of mounts
/// where that folder is empty and goes away.
async fn a_node_is_set_up_as_the_commands_stand(node: Arc<Node>) -> anyhow::Result<()> {
    let mut ran = 0;
    for (page, text) in pages()? {
        for block in blocks(&text, "sh") {
            if !block.contains("/usr/local/bin") {
                continue;
            }
            ran += 1;
            let folder = node.scratch(&format!("by-hand-{ran}"))?;
            fs::copy(paths::skiff(), folder.join("skiff"))?;
            let script = format!(
                "mount -t tmpfs tmpfs /usr/local/bin\n{block}\n/usr/local/bin/containerd-shim-skiff-v1 -v\n"
            );
            let done = Command::new("unshare")
                .args(["--mount", "sh", "-ec", &script])
                .current_dir(&folder)
                .output()?;
            let told = String::from_utf8_lossy(&done.stdout);
            ensure!(
                done.status.success() && told.contains("Wasmtime:"),
                "{page}: {block}: {told}{}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
    }
    ensure!(ran > 0, "the README has no commands for a node");
    Ok(())
}
