//! `make run`: a pod of a Wasm application, from its source folder to its answer, under a
//! temporary containerd. Where containerd cannot run, `skiff run` serves the same
//! artifact.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use skiff_suite::apps::{self, Kind};
use skiff_suite::node::sample;
use skiff_test_support::containerd::{Containerd, Settings, Version};
use skiff_test_support::guard::{self, Run};
use skiff_test_support::oci::Layout;
use skiff_test_support::{http, paths};

/// The sample, and its name in its manifest.
const SAMPLE: &str = "hello-rust";

/// Its image reference in containerd.
const IMAGE: &str = "localhost/hello-rust:1";

/// How long any step may take; a debug build takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    guard::run_if_asked();
    match show() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("make run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> anyhow::Result<()> {
    let folder = sample(SAMPLE)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let path = scratch.path().join("artifact");
    let layout = apps::push(&folder, &path)?;
    println!("made an artifact of images/{SAMPLE}: `skiff push --to-layout`");
    println!(
        "containerd {}: built once, in some minutes",
        Version::V2.number()
    );
    let ready = Settings::new(Version::V2)
        .map_err(anyhow::Error::from)
        .and_then(|settings| Ok((settings.with_skiff(), Run::isolated()?)));
    match ready {
        Ok((settings, run)) => in_a_pod(run, &settings, &layout),
        Err(reason) => {
            println!("no containerd here: {reason:#}");
            println!("serving the same artifact with `skiff run` instead");
            without_containerd(&path)
        }
    }
}

fn in_a_pod(run: Run, settings: &Settings, layout: &Layout) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let containerd = Containerd::start(run, settings).await?;
        println!("started containerd {}", containerd.version().number());
        let shown = pod(&containerd, layout).await;
        let left = containerd.shut_down().await;
        shown?;
        let left: Vec<_> = left.iter().map(ToString::to_string).collect();
        ensure!(left.is_empty(), "this was left behind: {}", left.join(", "));
        println!("removed the pod and containerd; nothing is left");
        Ok(())
    })
}

async fn pod(containerd: &Containerd, layout: &Layout) -> anyhow::Result<()> {
    containerd.import(layout, IMAGE).await?;
    // The first start compiles; the second is the usual case on a node.
    for (time, name) in [("first", "hello-1"), ("second", "hello-2")] {
        let pod = containerd.cri().run_pod(name, "skiff").await?;
        let began = Instant::now();
        let container = pod.run(&Kind::Spin.container("hello", IMAGE)).await?;
        let reply = http::get_until_ok(&pod.url(80, "/"), PATIENCE).await?;
        println!(
            "{time} pod, runtime class `skiff`, {}: answered {} `{}` {:.0} ms after its container was asked for",
            pod.ip(),
            reply.status,
            reply.text().trim(),
            began.elapsed().as_secs_f64() * 1000.0
        );
        container.stop(PATIENCE).await?;
        let code = container.status().await?.exit_code;
        ensure!(code == 0, "it ended with exit code {code} after SIGTERM");
        pod.remove().await?;
    }
    Ok(())
}

/// Ends its process when dropped.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // On SIGTERM it removes what it has unpacked.
        if kill_process(Pid::from_child(&self.0), Signal::TERM).is_err() {
            self.0.kill().ok();
        }
        self.0.wait().ok();
    }
}

fn without_containerd(layout: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    let child = Command::new(paths::skiff())
        .args(["run", "--listen", "127.0.0.1:0"])
        .arg(layout)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start skiff")?;
    let mut serving = Serving(child);
    let stdout = serving.0.stdout.take().context("skiff has no stdout")?;
    let mut lines = BufReader::new(stdout).lines();
    let first = lines.next().context("skiff ended at once")??;
    let Some(url) = first.strip_prefix("Serving ") else {
        bail!("skiff says {first:?}");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let reply = runtime.block_on(http::get_until_ok(&format!("{url}/"), PATIENCE))?;
    println!(
        "{url}: answered {} `{}` {:.0} ms after `skiff run`",
        reply.status,
        reply.text().trim(),
        began.elapsed().as_secs_f64() * 1000.0
    );
    Ok(())
}
