//! The specification of a container, field by field: according to the kernel, the first
//! process of a Linux and of a Wasm container under the shim is as under runc;
//! unsupported fields are refused by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};

use skiff_test_support::Version;

use crate::harness::Case;
use crate::node::{Node, guest};
use crate::pods::Subject;
use fields::{Expect, Field};

mod fields;
mod look;

/// How long a killed container may take to disappear.
const SOON: Duration = Duration::from_secs(20);

/// Makes the names of containers unique.
static NEXT: AtomicU32 = AtomicU32::new(0);

pub(super) fn cases() -> Vec<Case> {
    let case = |field: Field| {
        Case::new(format!("containers::{}", field.name), move |node| {
            holds(node, field)
        })
    };
    fields::all().into_iter().map(case).collect()
}

async fn holds(node: Arc<Node>, field: Field) -> anyhow::Result<()> {
    match field.expect {
        Expect::Same => {
            let wanted = seen(&node, Subject::Runc, &field).await?;
            for subject in [Subject::Linux, Subject::Wasm] {
                let found = seen(&node, subject, &field).await?;
                let wanted = as_it_serves(subject, wanted.clone());
                let other = differences(&wanted, &found);
                ensure!(other.is_empty(), "{subject:?}, beside runc:\n{other}");
            }
        }
        // It is newer than `ctr` of 1.7, which leaves it out.
        Expect::Has("memory policy", _) if node.version() == Version::V1_7 => {}
        Expect::Has(name, wanted) => {
            for subject in [Subject::Linux, Subject::Wasm] {
                let found = seen(&node, subject, &field).await?;
                let found = found.get(name).map_or("-", String::as_str);
                ensure!(found == wanted, "{subject:?}: {name} is {found}");
            }
        }
        Expect::Refused(word) => {
            for subject in [Subject::Linux, Subject::Wasm] {
                let container = Container::new(&node, subject, &field)?;
                let error = match container.run(&node).await {
                    Ok(()) => {
                        container.remove(&node).await?;
                        anyhow::bail!("{subject:?} is not refused");
                    }
                    Err(error) => format!("{error:#}"),
                };
                container.remove(&node).await?;
                ensure!(error.contains(word), "{subject:?}: {error}");
            }
        }
    }
    Ok(())
}

async fn seen(
    node: &Node,
    subject: Subject,
    field: &Field,
) -> anyhow::Result<BTreeMap<String, String>> {
    let container = Container::new(node, subject, field)?;
    let ran = container.run(node).await;
    let looked = match ran {
        Ok(()) => container.look(node).await,
        Err(error) => Err(error),
    };
    container.remove(node).await?;
    looked.with_context(|| format!("{subject:?}"))
}

fn differences(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> String {
    let names = wanted.keys().chain(found.keys());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.dedup();
    let none = "-".to_owned();
    names
        .into_iter()
        .map(|name| {
            (
                name,
                wanted.get(name).unwrap_or(&none),
                found.get(name).unwrap_or(&none),
            )
        })
        .filter(|(_, wanted, found)| wanted != found)
        .filter(|(name, _, found)| !is_stricter(name, found))
        .map(|(name, wanted, found)| format!("  {name}: runc has {wanted}, here {found}\n"))
        .collect()
}

/// The serving process raises its limit of open files as far as it may.
fn as_it_serves(subject: Subject, mut seen: BTreeMap<String, String>) -> BTreeMap<String, String> {
    if subject == Subject::Wasm
        && let Some(files) = seen.get_mut("limit Max open files")
        && let Some((_, most)) = files.split_once(' ')
    {
        *files = format!("{most} {most}");
    }
    seen
}

/// runc 1.1 omits the parent folder of the control groups when they are read-only.
fn is_stricter(name: &str, found: &str) -> bool {
    name == "mount /sys/fs/cgroup" && found.ends_with(",ro")
}

/// A container with its own specification, outside any pod.
struct Container {
    id: String,
    runtime: &'static str,
    config: PathBuf,
}

impl Container {
    fn new(node: &Node, subject: Subject, field: &Field) -> anyhow::Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("field-{number}");
        let folder = node.scratch(&id)?;
        let root = folder.join("rootfs");
        std::fs::create_dir_all(&root)?;
        let args: &[&str] = match subject {
            Subject::Wasm => {
                std::fs::copy(guest("hello")?, root.join("app.wasm"))?;
                &["/app.wasm"]
            }
            _ => {
                std::fs::copy(node.native(), root.join("native"))?;
                &["/native", "serve", "8080"]
            }
        };
        let group = format!("/{}/{id}", node.containerd().run().name());
        let mut spec = fields::base(&root, args, &group);
        let data = folder.join("data");
        std::fs::create_dir_all(data.join("below"))?;
        (field.change)(&mut spec, &data);
        let config = folder.join("config.json");
        std::fs::write(&config, serde_json::to_vec(&spec)?)?;
        Ok(Self {
            id,
            runtime: subject.runtime(),
            config,
        })
    }

    async fn run(&self, node: &Node) -> anyhow::Result<()> {
        let config = self.config.display().to_string();
        let args = ["run", "--detach", "--null-io", "--runtime", self.runtime];
        let args = args.into_iter().chain(["--config", &config, &self.id]);
        node.containerd().ctr(&args.collect::<Vec<_>>()).await?;
        Ok(())
    }

    async fn look(&self, node: &Node) -> anyhow::Result<BTreeMap<String, String>> {
        let listed = node.containerd().ctr(&["tasks", "list"]).await?;
        let pid = listed.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let id = words.next()?;
            let pid = words.next()?;
            (id == self.id).then_some(pid)
        });
        let pid: u32 = pid.context("the task is not listed")?.parse()?;
        look::of(pid)
    }

    async fn remove(&self, node: &Node) -> anyhow::Result<()> {
        let containerd = node.containerd();
        // There is no task if it was refused.
        containerd
            .ctr(&["tasks", "delete", "--force", &self.id])
            .await
            .ok();
        let delete = ["containers", "delete", &self.id];
        let removed = containerd.ctr(&delete);
        tokio::time::timeout(SOON, removed).await??;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::path::Path;

    const PAGE: &str = include_str!("../../../../docs/containers.md");

    /// The last column of the table of fields.
    fn named() -> Vec<&'static str> {
        let rows = PAGE
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| field"));
        let last = rows.filter_map(|row| row.trim_end_matches(" |").rsplit("| ").next());
        last.flat_map(|names| names.split(", "))
            .map(|name| name.trim_matches('`'))
            .collect()
    }

    fn sources(folder: &Path) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                text += &sources(&path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                text += &std::fs::read_to_string(path).unwrap();
            }
        }
        text
    }

    #[test]
    fn every_row_of_the_page_names_its_test_and_every_field_has_a_row() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let sources = sources(&workspace.join("shim/src/task"))
            + &sources(&workspace.join("tests/suite/src"));
        let named = named();
        assert!(!named.is_empty());
        let fields: Vec<_> = fields::all().into_iter().map(|field| field.name).collect();
        for name in &named {
            let is_field = fields.contains(name);
            assert!(
                is_field || sources.contains(&format!("fn {name}(")),
                "no test `{name}`"
            );
        }
        for field in fields {
            assert!(named.contains(&field), "no row names `{field}`");
        }
    }

    #[test]
    fn a_specification_is_the_base_but_for_its_field() {
        let spec = fields::base(Path::new("/r"), &["/native"], "/g");
        assert_eq!(spec["linux"]["cgroupsPath"], Value::from("/g"));
    }
}
