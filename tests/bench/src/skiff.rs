//! How Skiff itself is started for the bench: the names of its options and settings are
//! here.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::contenders::{Contender, Sample, Wasi};
use crate::options::Options;
use crate::server::Line;

/// The setting for `skiff run`'s folder of compiled code.
const CACHE: &str = "SKIFF_CACHE_DIR";

/// Whether WASI 0.2 instances are reused.
const REUSE: &str = "SKIFF_INSTANCE_REUSE";

/// containerd's type of the runtime.
pub const RUNTIME: &str = "io.containerd.skiff.v1";

/// The folder in which the shim keeps what outlives a pod, such as compiled code.
pub const STATE_ON_NODE: &str = "/var/lib/skiff";

/// The file name by which containerd finds that runtime.
const SHIM: &str = "containerd-shim-skiff-v1";

/// The shim: the same file under its other name, beside the given one. It is a hard link
/// instead of a symbolic one, because the shim finds its role by its own path. None if
/// there is no such file or it cannot be linked.
pub fn shim(options: &Options) -> Option<PathBuf> {
    let skiff = options.skiff.canonicalize().ok()?;
    let shim = skiff.with_file_name(SHIM);
    if !same_file(&skiff, &shim) {
        // It is mostly absent; a failure to remove it shows when linking.
        fs::remove_file(&shim).ok();
        fs::hard_link(&skiff, &shim).ok()?;
    }
    Some(shim)
}

fn same_file(one: &Path, other: &Path) -> bool {
    let number = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
    number(one).is_some() && number(one) == number(other)
}

/// `skiff run` on a sample.
pub fn run(options: &Options, sample: &Sample, cache: &Path, address: SocketAddr) -> Line {
    serve(options, &source(options, sample), cache, address)
}

/// `skiff run` on an application.
pub fn serve(options: &Options, application: &Path, cache: &Path, address: SocketAddr) -> Line {
    Line::new(
        &options.skiff,
        [
            "run".to_owned(),
            format!("--listen={address}"),
            "--quiet".to_owned(),
            application.display().to_string(),
        ],
    )
    .with(CACHE, cache.display().to_string())
}

/// The sample's folder if it has a manifest, otherwise its component.
fn source(options: &Options, sample: &Sample) -> PathBuf {
    let folder = options.images.join(sample.name);
    match folder.join("spin.toml").exists() {
        true => folder,
        false => sample.component(&options.images),
    }
}

/// Skiff with defaults and, for WASI 0.2, with reuse enabled.
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn options(skiff: &Path) -> Options {
        let skiff = skiff.display().to_string();
        Options::parse_from(["bench", "--skiff", &skiff])
    }

    #[test]
    fn the_shim_is_the_same_file_also_after_a_new_build() {
        let folder = tempfile::tempdir().expect("a folder");
        let skiff = folder.path().join("skiff");
        for text in ["old", "new"] {
            fs::remove_file(&skiff).ok();
            fs::write(&skiff, text).expect("it can be written");
            let shim = shim(&options(&skiff)).expect("it gets its second name");
            assert_eq!(fs::read_to_string(&shim).expect("it can be read"), text);
        }
    }

    #[test]
    fn without_skiff_there_is_no_shim() {
        assert_eq!(shim(&options(Path::new("/no/such/skiff"))), None);
    }
}
