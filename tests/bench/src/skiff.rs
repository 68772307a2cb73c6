//! How Skiff itself is started for the bench: the names of its options and settings live here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::contenders::{Contender, Sample, Wasi};
use crate::options::Options;
use crate::server::Line;

/// Where `skiff run` keeps compiled code.
const CACHE: &str = "SKIFF_CACHE_DIR";

/// Whether WASI 0.2 instances are reused.
const REUSE: &str = "SKIFF_INSTANCE_REUSE";

/// containerd's type of the runtime.
pub const RUNTIME: &str = "io.containerd.skiff.v1";

/// Where the shim keeps what outlives a pod, compiled code among it.
pub const STATE_ON_NODE: &str = "/var/lib/skiff";

/// `skiff run` on a sample.
pub fn run(options: &Options, sample: &Sample, cache: &Path, address: SocketAddr) -> Line {
    Line::new(
        &options.skiff,
        [
            "run".to_owned(),
            format!("--listen={address}"),
            "--quiet".to_owned(),
            source(options, sample).display().to_string(),
        ],
    )
    .with(CACHE, cache.display().to_string())
}

/// The sample's folder where its manifest was built into it, otherwise its component.
fn source(options: &Options, sample: &Sample) -> PathBuf {
    let folder = options.images.join(sample.name);
    match folder.join("spin.toml").exists() {
        true => folder,
        false => sample.component(&options.images),
    }
}

/// Skiff as it comes and, for WASI 0.2, with reuse asked for.
pub fn contenders(options: &Options, sample: &Sample, scratch: &Path) -> Vec<Contender> {
    let line = {
        let (options, sample) = (options.clone(), sample.clone());
        // One cache for all: the code is the same, and a node has one.
        let cache = scratch.join("cache");
        move |address| run(&options, &sample, &cache, address)
    };
    let reuse = line.clone();
    let manner = match sample.wasi {
        Wasi::P2 => "fresh instance",
        Wasi::P3 => "default reuse",
    };
    let mut ours = vec![
        Contender::new(
            format!("skiff/{}", sample.name),
            format!("skiff, {}, {manner}", sample.what),
        )
        .way("as it comes", move |address| vec![line(address)]),
    ];
    if sample.name == "hello-wasi" {
        ours.push(
            Contender::new(
                format!("skiff-reuse/{}", sample.name),
                format!("skiff, {}, instance reused", sample.what),
            )
            .way("reuse asked for", move |address| {
                vec![reuse(address).with(REUSE, "true")]
            }),
        );
    }
    for contender in &mut ours {
        contender.prepare = true;
    }
    ours
}
