//! The entrants in containers: Skiff, the native server under runc, and other shims on
//! PATH.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use skiff_test_support::containerd::RuntimeHandler;
use skiff_test_support::oci::{Image, ImageError, Layout};

use super::PATIENCE;
use super::tasks::Recipe;
use crate::contenders::{SAMPLES, Sample};
use crate::options::Options;
use crate::{proc, skiff};

/// containerd's type of the runtime to compare with.
const RUNC: &str = "io.containerd.runc.v2";

/// Names, runtime types and programs of shims that run the same samples, and whether they
/// accept Spin's artifacts.
const PEERS: [(&str, &str, &str, bool); 2] = [
    (
        "wasmtime-shim",
        "io.containerd.wasmtime.v1",
        "containerd-shim-wasmtime-v1",
        false,
    ),
    (
        "spin-shim",
        "io.containerd.spin.v2",
        "containerd-shim-spin-v2",
        true,
    ),
];

/// The path of the native server in its image.
const NATIVE: &str = "/native";

/// The path of a component in an image of files.
const COMPONENT: &str = "/app.wasm";

/// Why an image cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// Its files cannot be read or written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// `skiff push` cannot be executed.
    #[error("cannot execute `{}`", program.display())]
    Execute {
        /// Skiff.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `skiff push` failed.
    #[error("skiff push: {0}")]
    Push(String),
}

/// The content of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Payload {
    /// The native server.
    Program(PathBuf),
    /// A component as a file, for shims that expect one.
    File(PathBuf),
    /// Spin's artifact of an application's folder, made by that `skiff`.
    Artifact { skiff: PathBuf, folder: PathBuf },
}

/// Something that can be started as a container.
#[derive(Debug, Clone)]
pub struct Entrant {
    /// `runc`, or `who/sample`.
    pub key: String,
    /// The name of its row.
    pub what: String,
    /// The name of its imported image.
    pub image: String,
    /// Whether its code is so large that fewer containers of it are started.
    pub large: bool,
    /// The handler of its runtime in pods.
    pub handler: &'static str,
    runtime: String,
    program: Option<PathBuf>,
    payload: Payload,
}

/// All entrants whose program exists, runc first. Others are left out silently, except
/// Skiff itself, whose failure to start gets a line.
pub fn all(options: &Options, native: &Path) -> Vec<Entrant> {
    let mut all = vec![Entrant {
        key: "runc".to_owned(),
        what: "native server under runc".to_owned(),
        image: "localhost/bench/native:1".to_owned(),
        large: false,
        handler: "runc",
        runtime: RUNC.to_owned(),
        program: None,
        payload: Payload::Program(native.to_owned()),
    }];
    let ours = skiff::shim(options);
    for sample in SAMPLES.iter().filter(|sample| in_containers(sample)) {
        let artifact = Payload::Artifact {
            skiff: options.skiff.clone(),
            folder: options.images.join(sample.name),
        };
        let file = Payload::File(sample.component(&options.images));
        all.push(wasm("skiff", skiff::RUNTIME, sample, &ours, &artifact));
        for (name, kind, program, spin) in PEERS {
            if let found @ Some(_) = &on_path(program) {
                let payload = if spin { &artifact } else { &file };
                all.push(wasm(name, kind, sample, found, payload));
            }
        }
    }
    all
}

/// The samples of the promises about containers.
fn in_containers(sample: &Sample) -> bool {
    matches!(sample.name, "hello-wasi" | "hello-js")
}

fn wasm(
    who: &'static str,
    runtime: &str,
    sample: &Sample,
    program: &Option<PathBuf>,
    payload: &Payload,
) -> Entrant {
    let kind = match payload {
        Payload::Artifact { .. } => "artifact",
        Payload::Program(_) | Payload::File(_) => "file",
    };
    Entrant {
        key: format!("{who}/{}", sample.name),
        what: format!("{who}, {}", sample.what),
        image: format!("localhost/bench/{}-{kind}:1", sample.name),
        large: sample.name != "hello-wasi",
        handler: who,
        runtime: runtime.to_owned(),
        program: program.clone(),
        payload: payload.clone(),
    }
}

/// The runtimes to configure in containerd besides runc.
pub fn runtimes(options: &Options) -> Vec<RuntimeHandler> {
    let ours = skiff::shim(options);
    let ours = ours.map(|program| ("skiff", skiff::RUNTIME, program));
    let peers = PEERS
        .into_iter()
        .filter_map(|(name, kind, program, _)| Some((name, kind, on_path(program)?)));
    let known = ours.into_iter().chain(peers);
    known
        .map(|(handler, kind, program)| RuntimeHandler {
            handler: handler.to_owned(),
            kind: kind.to_owned(),
            program: Some(program),
        })
        .collect()
}

/// The path at which the shell would find a program.
fn on_path(program: &str) -> Option<PathBuf> {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", program])
        .output()
        .ok()?;
    let path = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    (found.status.success() && !path.is_empty()).then(|| PathBuf::from(path))
}

impl Entrant {
    /// Whether it is Skiff, whose state on the node the bench may remove.
    pub fn is_ours(&self) -> bool {
        self.handler == "skiff"
    }

    /// Waits until no process of its shim has work left. Compilers may run outside any
    /// container's process tree, so all processes of the file count.
    pub fn settle(&self) {
        if let Some(program) = &self.program {
            proc::settle(|| proc::executing(program), PATIENCE);
        }
    }

    /// Writes its image into a folder, which must not exist yet.
    ///
    /// # Errors
    /// If the payload cannot be read or packed, or the folder not written.
    pub fn layout(&self, folder: &Path) -> Result<Layout, LayoutError> {
        let image = match &self.payload {
            Payload::Program(program) => Image::linux()
                .copy(program, NATIVE, 0o755)?
                .entrypoint(&[NATIVE]),
            Payload::File(component) => Image::linux()
                .copy(component, COMPONENT, 0o644)?
                .entrypoint(&[COMPONENT]),
            Payload::Artifact {
                skiff,
                folder: application,
            } => return push(skiff, application, folder),
        };
        Ok(image.write(folder)?)
    }

    /// Its container, listening there.
    pub fn recipe(&self, address: SocketAddr) -> Recipe {
        let address = address.to_string();
        let names = ["SPIN_HTTP_LISTEN_ADDR", "WASMTIME_HTTP_PROXY_SOCKET_ADDR"];
        let variables = names.map(|name| (name.to_owned(), address.clone()));
        let (arguments, environment) = match &self.payload {
            Payload::Program(_) => (vec![NATIVE.to_owned(), address], Vec::new()),
            Payload::File(_) => (vec![COMPONENT.to_owned()], variables.to_vec()),
            // containerd requires arguments; a serving application has none.
            Payload::Artifact { .. } => (vec!["/".to_owned()], variables.to_vec()),
        };
        Recipe {
            runtime: self.runtime.clone(),
            image: self.image.clone(),
            arguments,
            environment,
        }
    }
}

/// Packs an application with Skiff.
fn push(skiff: &Path, application: &Path, layout: &Path) -> Result<Layout, LayoutError> {
    let output = Command::new(skiff)
        .arg("push")
        .arg(application)
        .arg("--to-layout")
        .arg(layout)
        .output()
        .map_err(|source| LayoutError::Execute {
            program: skiff.to_owned(),
            source,
        })?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(LayoutError::Push(told.trim().to_owned()));
    }
    Ok(Layout::open(layout))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use clap::Parser;

    use super::*;

    fn entrants() -> Vec<Entrant> {
        let options = Options::parse_from(["bench", "--skiff", "/no/such/skiff"]);
        all(&options, Path::new("/native"))
    }

    #[test]
    fn skiff_takes_part_even_when_it_is_missing_so_that_its_rows_tell() {
        let keys: Vec<_> = entrants().into_iter().map(|entrant| entrant.key).collect();
        assert_eq!(keys[0], "runc");
        assert!(keys.contains(&"skiff/hello-wasi".to_owned()));
        assert!(keys.contains(&"skiff/hello-js".to_owned()));
    }

    #[test]
    fn an_artifact_without_skiff_tells_what_is_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = entrants();
        let ours = all.iter().find(|entrant| entrant.is_ours()).expect("ours");
        let error = ours
            .layout(&folder.path().join("new"))
            .expect_err("no program");
        assert!(
            matches!(error, LayoutError::Execute { program, .. } if program.ends_with("skiff"))
        );
    }

    #[test]
    fn everybody_is_told_where_to_listen() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8123));
        for entrant in entrants() {
            let words = entrant.recipe(address).words("id").join(" ");
            assert!(words.contains("127.0.0.1:8123"), "{words}");
            let end = words.split_once(&entrant.image).map(|(_, end)| end);
            assert!(end.is_some_and(|end| end.starts_with(" id ")), "{words}");
        }
    }
}
