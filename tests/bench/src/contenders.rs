//! The contenders on this host, and how each of them is started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::options::Options;
use crate::server::Line;
use crate::{outbound, skiff, wasmtime};

/// A sample application, by the name of its folder.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its folder's name, which is also its part of a key.
    pub name: &'static str,
    /// Its name in a row.
    pub what: &'static str,
    /// The WASI version of its component.
    pub wasi: Wasi,
}

/// The two generations of WASI that matter to tuning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wasi {
    /// WASI 0.2: a fresh instance for every request unless reuse is enabled.
    P2,
    /// WASI 0.3: instances are reused and called concurrently by default.
    P3,
}

/// The samples whose throughput is measured.
pub const SAMPLES: [Sample; 4] = [
    Sample {
        name: "hello-wasi",
        what: "hello WASI 0.2",
        wasi: Wasi::P2,
    },
    Sample {
        name: "hello-rust",
        what: "hello WASI 0.3",
        wasi: Wasi::P3,
    },
    Sample {
        name: "hello-js",
        what: "JavaScript hello",
        wasi: Wasi::P2,
    },
    Sample {
        name: "hello-python",
        what: "Python hello",
        wasi: Wasi::P3,
    },
];

impl Sample {
    /// The sample's component, as built by `make images`.
    pub fn component(&self, images: &Path) -> PathBuf {
        images.join(self.name).join("app.wasm")
    }
}

/// The command that starts a contender on an address.
pub type Launch = Box<dyn Fn(SocketAddr) -> Vec<Line>>;

/// A server, with the ways to start it; the best one counts.
pub struct Contender {
    /// The last parts of its keys: `who` or `who/sample`.
    pub key: String,
    /// The name of its row.
    pub what: String,
    /// Named ways to start it. With several, a trial picks the fastest.
    pub ways: Vec<(String, Launch)>,
    /// A command to run once before any of the ways works.
    pub before: Option<Line>,
    /// Whether it is started once before, to fill its cache on disk.
    pub prepare: bool,
    /// Whether the time of its processes is not its own, or they are outside the tree of the
    /// started one.
    pub apart: bool,
}

impl Contender {
    /// A contender without a way to start it yet.
    pub fn new(key: String, what: String) -> Self {
        Self {
            key,
            what,
            ways: Vec::new(),
            before: None,
            prepare: false,
            apart: false,
        }
    }

    /// The same with one more way to start it.
    pub fn way(mut self, name: &str, launch: impl Fn(SocketAddr) -> Vec<Line> + 'static) -> Self {
        self.ways.push((name.to_owned(), Box::new(launch)));
        self
    }
}

/// All contenders, the native server first, external ones last. `scratch` is for their
/// files.
pub fn all(
    options: &Options,
    native: &Path,
    scratch: &Path,
    more: Vec<Contender>,
) -> Vec<Contender> {
    let mut all = vec![native_server(native)];
    for sample in &SAMPLES {
        all.extend(skiff::contenders(options, sample, scratch));
    }
    for sample in &SAMPLES {
        all.extend(wasmtime::contenders(options, sample, scratch));
    }
    all.extend(outbound::contenders(options, native, scratch));
    if let Some(binary) = &options.floor {
        for sample in SAMPLES.iter().filter(|sample| sample.wasi == Wasi::P2) {
            all.push(floor(binary, options, sample, scratch));
        }
    }
    all.extend(more);
    all.retain(|contender| {
        let wanted = options.matching.as_deref();
        contender.key == "native" || wanted.is_none_or(|text| contender.key.contains(text))
    });
    all
}

fn native_server(binary: &Path) -> Contender {
    let binary = binary.to_owned();
    Contender::new("native".to_owned(), "native hyper server".to_owned())
        .way("as it is", move |address| {
            vec![Line::new(&binary, [address.to_string()])]
        })
}

/// The floor in its three ways; it has to compile ahead first.
fn floor(binary: &Path, options: &Options, sample: &Sample, scratch: &Path) -> Contender {
    let compile = Line::new(
        binary,
        [
            "compile".to_owned(),
            sample.component(&options.images).display().to_string(),
            code_of(scratch, sample).display().to_string(),
        ],
    );
    let serve = {
        let (binary, code) = (binary.to_owned(), code_of(scratch, sample));
        move |address: SocketAddr, threads: &str| {
            let port = address.port().to_string();
            Line::new(&binary, ["serve", &code.to_string_lossy(), &port]).with("THREADS", threads)
        }
    };
    let (one, two, processes) = (serve.clone(), serve.clone(), serve);
    let mut floor = Contender::new(
        format!("floor-best/{}", sample.name),
        format!("the floor experiment at its best, {}", sample.what),
    )
    .way("one thread", move |address| vec![one(address, "1")])
    .way("two threads", move |address| vec![two(address, "2")])
    .way("two processes", move |address| {
        vec![processes(address, "1"), processes(address, "1")]
    });
    floor.before = Some(compile);
    floor
}

fn code_of(scratch: &Path, sample: &Sample) -> PathBuf {
    scratch.join(format!("floor-{}.cwasm", sample.name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;
    use crate::promises::PROMISES;

    fn keys(arguments: &[&str]) -> Vec<String> {
        let options = Options::parse_from([&["bench"], arguments].concat());
        let everybody = all(&options, Path::new("native"), Path::new("/tmp"), Vec::new());
        everybody
            .into_iter()
            .map(|contender| contender.key)
            .collect()
    }

    #[test]
    fn everybody_has_a_key_of_their_own() {
        let keys = keys(&["--floor", "floor"]);
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    }

    #[test]
    fn every_promise_of_throughput_and_latency_has_its_contenders() {
        let keys = keys(&["--floor", "floor"]);
        let loads = |key: &&str| key.starts_with("throughput/") || key.starts_with("latency/");
        let both = PROMISES
            .iter()
            .flat_map(|promise| [Some(promise.key), promise.base]);
        for key in both.flatten().filter(loads) {
            let (_, contender) = key.split_once('/').expect("a discipline");
            assert!(keys.iter().any(|known| known == contender), "{key}");
        }
    }

    #[test]
    fn a_choice_keeps_the_native_server() {
        let keys = keys(&["--matching", "hello-python"]);
        let expected = [
            "native",
            "skiff/hello-python",
            "wasmtime/hello-python",
            "wasmtime-tuned/hello-python",
        ];
        assert_eq!(keys, expected);
    }
}
