//! Errors are explained in an event, in the termination message and in the log, which is
//! all that a user with `kubectl` sees.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use skiff_suite::apps::App;
use skiff_test_support::oci::{self, Layout};

use crate::cases;
use crate::harness::Case;
use crate::manifests::{SKIFF, pod, spec, wasm};
use crate::space::{SOON, Space};
use crate::wait::{Look, wait_until};

/// Media type of a locked Spin application.
const SPIN_APP: &str = "application/vnd.fermyon.spin.application.v1+config";

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_wrong_manifest_explains_itself,
        a_missing_layer_explains_itself,
        a_missing_variable_explains_itself,
        an_import_that_nobody_offers_explains_itself,
        a_setting_that_does_not_parse_explains_itself,
    ]
}

/// Runs a container that cannot start and looks for each word in each place.
async fn explains(space: &Space, container: Value, words: &[&str]) -> anyhow::Result<()> {
    space
        .apply(&[pod("wrong", spec(Some(SKIFF), &[container]))])
        .await?;
    let tells = |text: &str| words.iter().all(|word| text.contains(word));
    let status = wait_until("the termination message", SOON, || async {
        let pod = space.get(&["pod", "wrong"]).await?;
        let status = &pod["status"]["containerStatuses"][0];
        let message = |state: &str| {
            let message = &status[state]["terminated"]["message"];
            message.as_str().unwrap_or_default().to_owned()
        };
        let told = tells(&message("state")) || tells(&message("lastState"));
        match told {
            true => Ok(Look::Yes(status.clone())),
            false => Ok(Look::NotYet(status.to_string())),
        }
    })
    .await?;
    ensure!(status["ready"] == false, "it is ready: {status}");
    wait_until("`kubectl describe`", SOON, || async {
        let text = space.kubectl(&["describe", "pod", "wrong"]).await?;
        let events = text.split_once("\nEvents:").unwrap_or_default().1;
        Ok(Look::at(tells(events), events))
    })
    .await?;
    wait_until("`kubectl logs`", SOON, || async {
        let log = space.kubectl(&["logs", "wrong"]).await?;
        Ok(Look::at(tells(&log), log))
    })
    .await
    .context("of the current or last container")
}

async fn a_wrong_manifest_explains_itself(space: Space) -> anyhow::Result<()> {
    let app = App::of_guest("hello")?.component("colour = \"red\"");
    let folder = space.cluster().scratch().join("wrong-manifest");
    app.write(&folder.join("app"))?;
    let image = oci::Image::linux().copy_folder(&folder.join("app"), "")?;
    let layout = image.entrypoint(&["/"]).write(folder.join("layout"))?;
    let name = space.offer("wrong-manifest", layout.folder());
    let container = json!({ "name": "app", "image": name });
    explains(&space, container, &["spin.toml", "colour"]).await
}

async fn a_missing_layer_explains_itself(space: Space) -> anyhow::Result<()> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let layout = Layout::create(space.cluster().scratch().join("missing-layer"))?;
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
    let config =
        json!({ "architecture": "wasm", "os": "Wasip1", "config": { "Entrypoint": ["/"] } });
    let config = layout.blob(oci::CONFIG, config.to_string().as_bytes())?;
    layout.manifest(&config, &[locked])?;
    let name = space.offer("missing-layer", layout.folder());
    explains(&space, wasm("app", &name), &[&digest, "crafted"]).await
}

async fn a_missing_variable_explains_itself(space: Space) -> anyhow::Result<()> {
    let app = App::of_guest("hello")?.manifest("[variables]\nfirst_one = { required = true }");
    let image = space.app("missing-variable", &app)?;
    explains(&space, wasm("app", &image), &["first_one"]).await
}

async fn an_import_that_nobody_offers_explains_itself(space: Space) -> anyhow::Result<()> {
    let image = space.guest("unknown-import")?;
    let words = ["nowhere:land/teapot@1.2.3", "unknown-import"];
    explains(&space, wasm("app", &image), &words).await
}

async fn a_setting_that_does_not_parse_explains_itself(space: Space) -> anyhow::Result<()> {
    let mut container = wasm("app", &space.guest("hello")?);
    container["env"] = json!([{ "name": "SKIFF_DRAIN_TIMEOUT", "value": "a while" }]);
    explains(&space, container, &["SKIFF_DRAIN_TIMEOUT", "a while"]).await
}
