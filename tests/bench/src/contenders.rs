//! Who is measured on this host, and how each of them is started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::options::Options;
use crate::server::Line;
use crate::skiff;

/// A sample application, by the name of its folder.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its folder's name, which is also its part of a key.
    pub name: &'static str,
    /// What a row calls it.
    pub what: &'static str,
    /// Which WASI its component is for.
    pub wasi: Wasi,
}

/// The two generations of WASI that matter to tuning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wasi {
    /// WASI 0.2: a fresh instance for every request unless reuse is asked for.
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
    /// The sample's component, as `make images` leaves it.
    pub fn component(&self, images: &Path) -> PathBuf {
        images.join(self.name).join("app.wasm")
    }
}

/// What starts a contender on an address.
pub type Launch = Box<dyn Fn(SocketAddr) -> Vec<Line>>;

/// Something that serves, in the ways it may be started; the best one counts.
pub struct Contender {
    /// The last parts of its keys: `who` or `who/sample`.
    pub key: String,
    /// What its row is called.
    pub what: String,
    /// Named ways to start it. With several, a trial picks the fastest.
    pub ways: Vec<(String, Launch)>,
    /// What has to be executed once before any of the ways works.
    pub before: Option<Line>,
    /// Whether it is started once before, so that what it keeps on disk is there.
    pub prepare: bool,
    /// Whether its processes are not below the one that is started.
    pub apart: bool,
}

impl Contender {
    /// Somebody who cannot be started in any way yet.
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

/// Everybody, the native server first, with those who come from elsewhere in the
/// end. `scratch` is for what they keep on disk.
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
        all.extend(wasmtime(options, sample));
    }
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

/// `wasmtime serve` as it comes, and in the ways its documentation offers to make
/// it faster.
fn wasmtime(options: &Options, sample: &Sample) -> Vec<Contender> {
    let component = sample.component(&options.images);
    let line = {
        let binary = options.wasmtime.clone();
        let component = component.to_string_lossy().into_owned();
        move |flags: &[&str], address: SocketAddr| {
            let mut arguments = vec!["serve".to_owned(), format!("--addr={address}")];
            arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
            arguments.push(component.clone());
            Line::new(&binary, arguments)
        }
    };
    let default = line.clone();
    let mut tuned = Contender::new(
        format!("wasmtime-tuned/{}", sample.name),
        format!("wasmtime serve, best-tuned, {}", sample.what),
    );
    for (name, flags, one_thread) in tunings(sample.wasi) {
        let line = line.clone();
        tuned = tuned.way(&name, move |address| {
            let line = line(&flags, address);
            vec![match one_thread {
                true => line.with("TOKIO_WORKER_THREADS", "1"),
                false => line,
            }]
        });
    }
    let default = Contender::new(
        format!("wasmtime/{}", sample.name),
        format!("wasmtime serve as it comes, {}", sample.what),
    )
    .way("as it comes", move |address| vec![default(&[], address)]);
    vec![default, tuned]
}

/// What makes instances cheap: everything comes from a pool, pages are kept and
/// only what was written is reset.
const POOL: [&str; 5] = [
    "-Opooling-allocator=y",
    "-Opooling-pagemap-scan=auto",
    "-Opooling-memory-keep-resident=1048576",
    "-Opooling-table-keep-resident=65536",
    "-Opooling-async-stack-keep-resident=65536",
];

/// A WASI 0.2 component needs none of the machinery for concurrent calls.
const NO_CONCURRENCY: [&str; 2] = ["-Wconcurrency-support=n", "-Sp3=n"];

/// As many requests as an instance may ever take before it is replaced.
const LONG_REUSE: [&str; 2] = [
    "--max-instance-reuse-count=1000000",
    "--max-instance-concurrent-reuse-count=64",
];

/// Names, flags, and whether tokio gets one worker thread only, which is faster
/// where threads make each other flush their TLBs.
fn tunings(wasi: Wasi) -> Vec<(String, Vec<&'static str>, bool)> {
    let more: &[(&str, &[&'static str])] = match wasi {
        Wasi::P2 => &[("pool", &[]), ("pool, no concurrency", &NO_CONCURRENCY)],
        Wasi::P3 => &[("pool", &[]), ("pool, long reuse", &LONG_REUSE)],
    };
    let mut tunings = Vec::new();
    for (name, flags) in more {
        let flags: Vec<&'static str> = POOL.iter().chain(*flags).copied().collect();
        tunings.push(((*name).to_owned(), flags.clone(), false));
        tunings.push((format!("{name}, one thread"), flags, true));
    }
    tunings
}

/// The floor in its three ways; it compiles ahead, so that comes first.
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
