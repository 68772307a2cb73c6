//! The operator's defaults for applications, in the node's file.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, ensure};
use skiff_test_support::{ContainerSpec, paths};

use super::settings::with_runtime_config;
use crate::apps::{App, Kind};
use crate::cases;
use crate::harness::Case;
use crate::node::Node;
use crate::pods::{Refusal, SOON, Served};

/// The node's file, which is the run's own.
const FILE: &str = "/var/lib/skiff/defaults.toml";

pub(super) fn cases() -> Vec<Case> {
    let cases = cases![
        a_store_of_the_operator_serves_a_pod_and_both_are_told,
        what_the_operator_has_set_is_not_replaced_by_a_pod,
        defaults_that_others_can_read_start_nothing,
    ];
    // Other pods must not get them.
    cases.into_iter().map(Case::alone).collect()
}

/// The file, until this is dropped.
struct Defaults;

impl Defaults {
    fn write(text: &str, mode: u32) -> anyhow::Result<Self> {
        let written = Self;
        fs::create_dir_all(Path::new(FILE).parent().context("a folder")?)?;
        fs::write(FILE, text)?;
        fs::set_permissions(FILE, Permissions::from_mode(mode))?;
        Ok(written)
    }
}

impl Drop for Defaults {
    fn drop(&mut self) {
        fs::remove_file(FILE).ok();
    }
}

/// In memory for pods of this run, and with a password for those of another namespace.
const TEXT: &str = "
[namespace.suite.key_value_store.default]
type = 'spin'
[namespace.other.key_value_store.default]
type = 'redis'
url = 'redis://:rosebud@cache:6379'
";

async fn keeps(node: &Node) -> anyhow::Result<ContainerSpec> {
    let app = App::of_guest("key-value-v2")?.component("key_value_stores = [\"default\"]");
    let image = node.app_image("keeps", Kind::Spin, &app).await?;
    Ok(Kind::Spin.container("app", &image))
}

async fn a_store_of_the_operator_serves_a_pod_and_both_are_told(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let defaults = Defaults::write(TEXT, 0o600)?;
    let served = Served::start(&node, "defaults", &keeps(&node).await?).await?;
    served.get("/?op=set&value=kept").await?;
    let reply = served.get("/?op=get").await?;
    ensure!(reply.text() == "kept", "it keeps {}", reply.text());
    let told = "key_value_store.default: in memory, from the node's defaults for namespace suite";
    served.container.wait_log(told, SOON).await?;
    let lines = served.container.logs()?;
    let secret = lines.iter().find(|line| line.text.contains("rosebud"));
    ensure!(secret.is_none(), "the log has {secret:?}");

    let bundles = node.containerd().run().state();
    let bundles = bundles.join("io.containerd.runtime.v2.task");
    let inspect = |pod: &str| {
        Command::new(paths::profile_dir().join("skiff"))
            .args(["inspect", "--pod", pod, "--bundles"])
            .arg(&bundles)
            .output()
            .context("inspecting")
    };
    let shown = inspect("suite/defaults")?;
    let text = String::from_utf8_lossy(&shown.stdout);
    ensure!(text == format!("container app\n  {told}\n"), "{shown:?}");
    let shown = inspect("suite/nobody")?;
    let text = String::from_utf8_lossy(&shown.stderr);
    let none = "no application of the pod `suite/nobody` runs on this node";
    ensure!(text.contains(none), "{shown:?}");
    served.end().await?;
    drop(defaults);
    Ok(())
}

async fn what_the_operator_has_set_is_not_replaced_by_a_pod(node: Arc<Node>) -> anyhow::Result<()> {
    let own = "[key_value_store.default]\ntype = 'redis'\nurl = 'redis://127.0.0.1:1'\n";
    let spec = with_runtime_config(&node, "defaults-replaced", keeps(&node).await?, own)?;
    let defaults = Defaults::write(TEXT, 0o600)?;
    let refusal = Refusal::of(&node, "defaults-replaced", spec.clone()).await?;
    refusal.tells(&[
        "/runtime-config.toml",
        "`key_value_store.default` is set by the operator of this node",
    ])?;
    drop(defaults);
    let allowed = format!("may_replace = ['key_value_store']\n{TEXT}");
    let defaults = Defaults::write(&allowed, 0o600)?;
    let served = Served::start(&node, "defaults-replaced", &spec).await?;
    let told = "key_value_store.default: redis://127.0.0.1:1, from the pod's runtime configuration";
    served.container.wait_log(told, SOON).await?;
    served.end().await?;
    drop(defaults);
    Ok(())
}

async fn defaults_that_others_can_read_start_nothing(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = keeps(&node).await?;
    let defaults = Defaults::write(TEXT, 0o644)?;
    let refusal = Refusal::of(&node, "defaults-open", spec).await?;
    drop(defaults);
    refusal.tells(&[FILE, "mode 644"])
}
