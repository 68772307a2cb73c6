//! The containerd under test and the images the cases share.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use skiff_test_support::containerd::{Containerd, Settings, Version};
use skiff_test_support::guard::Run;
use skiff_test_support::leftovers::Leftover;
use skiff_test_support::oci::{Image, Layout};
use skiff_test_support::{Cri, paths, processes};
use tokio::sync::OnceCell;

/// The first port of tasks. They share the run's own network namespace, in which no one
/// else uses ports.
const FIRST_PORT: u16 = 20_000;

/// How long optimising compilers may take to notice that their pods have ended.
const COMPILED_WITHIN: Duration = Duration::from_secs(60);

/// The runtime type of the shim.
pub const SKIFF: &str = "io.containerd.skiff.v1";

/// One containerd and its images so far.
#[derive(Debug)]
pub struct Node {
    containerd: Containerd,
    native: &'static str,
    images: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
    port: AtomicU16,
}

impl Node {
    /// Starts it. `native` is the program of Linux containers.
    ///
    /// # Errors
    ///
    /// When containerd does not start.
    pub async fn start(
        run: Run,
        settings: &Settings,
        native: &'static str,
    ) -> anyhow::Result<Self> {
        let containerd = Containerd::start(run, settings).await?;
        let port = AtomicU16::new(FIRST_PORT);
        Ok(Self {
            containerd,
            native,
            images: Mutex::default(),
            port,
        })
    }

    /// The containerd.
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// Its runtime service.
    pub fn cri(&self) -> &Cri {
        self.containerd.cri()
    }

    /// Its release.
    pub fn version(&self) -> Version {
        self.containerd.version()
    }

    /// The program of Linux containers.
    pub fn native(&self) -> &'static str {
        self.native
    }

    /// A port that no other task of the run has.
    pub fn port(&self) -> u16 {
        self.port.fetch_add(1, Ordering::Relaxed)
    }

    /// A folder for one case; names must differ.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn scratch(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.containerd.run().folder().join("scratch").join(name);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(folder)
    }

    /// The full name of an image, made and imported on first use. Concurrent cases wait
    /// for the one that makes it.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or containerd refuses it.
    pub async fn image(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> anyhow::Result<Layout>,
    ) -> anyhow::Result<String> {
        let full = format!("localhost/suite/{name}:1");
        self.named_image(&full, name, make).await?;
        Ok(full)
    }

    /// The same under a given name. `name` is that of its folder.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or containerd refuses it.
    pub async fn named_image(
        &self,
        full: &str,
        name: &str,
        make: impl FnOnce(&Path) -> anyhow::Result<Layout>,
    ) -> anyhow::Result<()> {
        let cell = {
            let mut images = self.images.lock().expect("no holder of this lock panics");
            Arc::clone(images.entry(full.to_owned()).or_default())
        };
        cell.get_or_try_init(|| async {
            let layout = make(&self.scratch(&format!("image-{name}"))?)?;
            self.containerd
                .import(&layout, full)
                .await
                .map_err(anyhow::Error::from)
        })
        .await
        .with_context(|| format!("image {name}"))?;
        Ok(())
    }

    /// The image of a Linux container: one static program.
    ///
    /// # Errors
    ///
    /// When it cannot be made or imported.
    pub async fn native_image(&self) -> anyhow::Result<String> {
        self.image("native", |folder| {
            let image = Image::linux().copy(Path::new(self.native), "native", 0o755)?;
            Ok(image
                .entrypoint(&["/native"])
                .write(folder.join("layout"))?)
        })
        .await
    }

    /// Shuts containerd down and returns leftovers.
    pub async fn shut_down(self) -> Vec<Leftover> {
        let groups = self.containerd.run().cgroups();
        let compilers = || {
            let compiles = |pid: &u32| {
                let process = processes::look_up(*pid);
                process.is_some_and(|process| process.command.contains("internal optimize"))
            };
            groups.processes().into_iter().filter(compiles).collect()
        };
        // They end with their pods, but nothing has waited for that yet.
        processes::wait_gone(compilers, COMPILED_WITHIN);
        self.containerd.shut_down().await
    }
}

/// A guest of `tests/guests`, as its file; the error says how to build it.
///
/// # Errors
///
/// When it was not built.
pub fn guest(name: &str) -> anyhow::Result<PathBuf> {
    built(paths::guest(name))
}

/// The built folder of a sample application; the error says how to build it.
///
/// # Errors
///
/// When it was not built.
pub fn sample(name: &str) -> anyhow::Result<PathBuf> {
    built(paths::sample(name))
}

fn built(path: PathBuf) -> anyhow::Result<PathBuf> {
    anyhow::ensure!(
        path.exists(),
        "`{}` does not exist; run `make images` first",
        path.display()
    );
    Ok(path)
}
