//! `wasmtime serve`, with defaults and with the options that its documentation offers to
//! make it faster.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::contenders::{Contender, Sample, Wasi};
use crate::options::Options;
use crate::server::Line;

/// The cache's configuration in the scratch folder.
const CACHE_CONFIG: &str = "wasmtime-cache.toml";

/// Options that make instances cheap: everything comes from a pool, and only written
/// pages are reset.
const POOL: [&str; 4] = [
    "-Opooling-allocator=y",
    "-Opooling-pagemap-scan=auto",
    "-Opooling-table-keep-resident=65536",
    "-Opooling-async-stack-keep-resident=65536",
];

/// Memory that stays resident between instances: that of a small component, and that of a
/// language runtime.
const RESIDENT: [(&str, &str); 2] = [
    ("1 MiB resident", "-Opooling-memory-keep-resident=1048576"),
    ("32 MiB resident", "-Opooling-memory-keep-resident=33554432"),
];

/// The maximum number of requests before an instance is replaced.
const LONG_REUSE: [&str; 2] = [
    "--max-instance-reuse-count=1000000",
    "--max-instance-concurrent-reuse-count=64",
];

/// Gives wasmtime a cache in the scratch folder, so that repeated starts are quick and
/// nothing is written to a home folder.
///
/// # Errors
/// If the scratch folder cannot be written to.
pub fn prepare(scratch: &Path) -> io::Result<()> {
    let folder = scratch.join("wasmtime-cache");
    fs::create_dir_all(&folder)?;
    let text = format!("[cache]\ndirectory = {:?}\n", folder.display().to_string());
    fs::write(scratch.join(CACHE_CONFIG), text)
}

/// `wasmtime serve` on a sample; it compiles whatever its cache lacks.
pub fn serve(options: &Options, sample: &Sample, flags: &[&str], address: SocketAddr) -> Line {
    // The imports of all languages' standard libraries.
    let cli = "-Scli=y".to_owned();
    let mut arguments = vec!["serve".to_owned(), format!("--addr={address}"), cli];
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    arguments.push(component(options, sample).display().to_string());
    Line::new(&options.wasmtime, arguments)
}

fn component(options: &Options, sample: &Sample) -> PathBuf {
    sample.component(&options.images)
}

/// With defaults, and best-tuned, for one sample.
pub fn contenders(options: &Options, sample: &Sample, scratch: &Path) -> [Contender; 2] {
    let cache = format!("-Ccache-config={}", scratch.join(CACHE_CONFIG).display());
    let line = {
        let (options, sample) = (options.clone(), sample.clone());
        move |flags: &[&str], address| {
            let flags: Vec<&str> = flags.iter().copied().chain([cache.as_str()]).collect();
            serve(&options, &sample, &flags, address)
        }
    };
    let mut tuned = Contender::new(
        format!("wasmtime-tuned/{}", sample.name),
        format!("wasmtime serve, best-tuned, {}", sample.what),
    );
    for tuning in tunings(sample.wasi) {
        let line = line.clone();
        tuned = tuned.way(&tuning.name.clone(), move |address| {
            let line = line(&tuning.flags, address);
            vec![match tuning.one_thread {
                true => line.with("TOKIO_WORKER_THREADS", "1"),
                false => line,
            }]
        });
    }
    let default = Contender::new(
        format!("wasmtime/{}", sample.name),
        format!("wasmtime serve as it comes, {}", sample.what),
    )
    .way("as it comes", move |address| vec![line(&[], address)]);
    [default, tuned]
}

/// One way to make it faster.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tuning {
    name: String,
    flags: Vec<&'static str>,
    /// Whether tokio gets a single worker thread, which is faster if threads make each
    /// other flush their TLBs.
    one_thread: bool,
}

/// Its concurrency stays on: `serve` calls components of WASI 0.2 by it, too.
fn tunings(wasi: Wasi) -> Vec<Tuning> {
    let reuse: &[(&str, &[&str])] = match wasi {
        Wasi::P2 => &[("", &[])],
        Wasi::P3 => &[("", &[]), ("long reuse", &LONG_REUSE)],
    };
    let mut tunings = Vec::new();
    for (resident, keep) in RESIDENT {
        for &(extra, flags) in reuse {
            for (threads, one_thread) in [("", false), ("one thread", true)] {
                let words = ["pool", resident, extra, threads];
                let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
                let pool = POOL.iter().chain([&keep]).chain(flags);
                tunings.push(Tuning {
                    name: words.join(", "),
                    flags: pool.copied().collect(),
                    one_thread,
                });
            }
        }
    }
    tunings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wasi_0_3_is_given_longer_reuse() {
        let flags = |wasi| {
            let tunings = tunings(wasi).into_iter();
            tunings.flat_map(|tuning| tuning.flags).collect::<Vec<_>>()
        };
        assert!(!flags(Wasi::P2).contains(&LONG_REUSE[0]));
        assert!(flags(Wasi::P3).contains(&LONG_REUSE[0]));
    }

    #[test]
    fn every_tuning_has_a_name_of_its_own() {
        let names: Vec<_> = tunings(Wasi::P3).into_iter().map(|t| t.name).collect();
        let mut once = names.clone();
        once.sort();
        once.dedup();
        assert_eq!((names.len(), once.len()), (8, 8), "{names:?}");
    }

    #[test]
    fn the_cache_lies_in_the_scratch_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        prepare(folder.path()).expect("it can be written");
        let text = fs::read_to_string(folder.path().join(CACHE_CONFIG)).expect("it is there");
        let path = folder.path().join("wasmtime-cache");
        assert_eq!(
            text,
            format!("[cache]\ndirectory = \"{}\"\n", path.display())
        );
    }
}
