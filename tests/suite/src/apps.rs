//! Applications in each of the four kinds of image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use skiff_test_support::oci::{self, Image, Layout};
use skiff_test_support::{ContainerSpec, paths};

use crate::node::{Node, guest, sample};

/// How an application is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As `spin registry push` and `skiff push` do.
    Spin,
    /// As `wkg oci push` does: only one component.
    Package,
    /// A container image with `/spin.toml`.
    Manifest,
    /// A container image whose entrypoint is a component.
    Component,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Spin, Self::Package, Self::Manifest, Self::Component];

    /// The container of an image of this kind. Packages of other tools have no
    /// entrypoint, so a pod has to name one, by convention `/`.
    pub fn container(self, name: &str, image: &str) -> ContainerSpec {
        let spec = ContainerSpec::new(name, image);
        match self {
            Self::Package => spec.command(&["/"]),
            Self::Spin | Self::Manifest | Self::Component => spec,
        }
    }

    /// A word for names of cases and images.
    pub fn word(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Package => "package",
            Self::Manifest => "manifest",
            Self::Component => "component",
        }
    }
}

/// An application of one guest, in a `spin.toml`.
#[derive(Debug, Clone)]
pub struct App {
    name: String,
    wasm: PathBuf,
    top: String,
    component: String,
    files: Vec<(String, Vec<u8>)>,
}

impl App {
    /// An application that serves a guest of `tests/guests` under every path.
    /// Its component has the guest's name.
    ///
    /// # Errors
    ///
    /// When the guest was not built.
    pub fn of_guest(name: &str) -> anyhow::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            wasm: guest(name)?,
            top: String::new(),
            component: String::new(),
            files: Vec::new(),
        })
    }

    /// Gives the application and its component another name than the guest's.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let name = name.to_owned();
        Self { name, ..self }
    }

    /// Adds lines to the manifest, before its component.
    #[must_use]
    pub fn manifest(mut self, lines: &str) -> Self {
        self.top.push_str(lines);
        self.top.push('\n');
        self
    }

    /// Adds lines to the component's table.
    #[must_use]
    pub fn component(mut self, lines: &str) -> Self {
        self.component.push_str(lines);
        self.component.push('\n');
        self
    }

    /// Adds a file to the folder of the application.
    #[must_use]
    pub fn file(mut self, path: &str, content: &str) -> Self {
        self.files
            .push((path.to_owned(), content.as_bytes().to_vec()));
        self
    }

    /// Writes the folder as a user would write it by hand.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let Self {
            name,
            top,
            component,
            ..
        } = self;
        let manifest = format!(
            r#"spin_manifest_version = 2

[application]
name = "{name}"
version = "0.1.0"

[[trigger.http]]
route = "/..."
component = "{name}"

{top}
[component.{name}]
source = "{name}.wasm"
{component}"#
        );
        let mut files = self.files.clone();
        files.push(("spin.toml".into(), manifest.into_bytes()));
        files.push((format!("{name}.wasm"), fs::read(&self.wasm)?));
        for (path, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

impl Node {
    /// The image of an application, as a Spin application or an image with a manifest.
    /// The name must be unique.
    ///
    /// # Errors
    ///
    /// When it cannot be packed or imported.
    pub async fn app_image(&self, name: &str, kind: Kind, app: &App) -> anyhow::Result<String> {
        self.image(&format!("{}-{name}", kind.word()), |scratch| {
            let folder = scratch.join("app");
            app.write(&folder)?;
            pack(kind, &folder, &scratch.join("layout"))
        })
        .await
    }

    /// The image of a guest with no grants at all, in any kind.
    ///
    /// # Errors
    ///
    /// When it was not built, or cannot be packed or imported.
    pub async fn guest_image(&self, kind: Kind, name: &str) -> anyhow::Result<String> {
        match kind {
            Kind::Spin | Kind::Manifest => self.app_image(name, kind, &App::of_guest(name)?).await,
            Kind::Package | Kind::Component => {
                let wasm = guest(name)?;
                self.wasm_image(&format!("{}-{name}", kind.word()), kind, &wasm)
                    .await
            }
        }
    }

    /// The image of a guest for `ctr run`: it refuses the configuration of a Wasm
    /// package, so a package has an image's configuration instead.
    ///
    /// # Errors
    ///
    /// When it was not built, or cannot be packed or imported.
    pub async fn guest_task_image(&self, kind: Kind, name: &str) -> anyhow::Result<String> {
        if kind != Kind::Package {
            return self.guest_image(kind, name).await;
        }
        let wasm = fs::read(guest(name)?)?;
        self.image(&format!("package-image-{name}"), |scratch| {
            Ok(oci::wasm_image(&wasm, scratch.join("layout"))?)
        })
        .await
    }

    /// The image of a sample application. The kinds without a manifest contain only the
    /// sample's component.
    ///
    /// # Errors
    ///
    /// When it was not built, or cannot be packed or imported.
    pub async fn sample_image(&self, kind: Kind, name: &str) -> anyhow::Result<String> {
        let folder = sample(name)?;
        let image = format!("{}-{name}", kind.word());
        match kind {
            Kind::Spin | Kind::Manifest => {
                self.image(&image, |scratch| {
                    pack(kind, &folder, &scratch.join("layout"))
                })
                .await
            }
            Kind::Package | Kind::Component => {
                self.wasm_image(&image, kind, &folder.join("app.wasm"))
                    .await
            }
        }
    }

    async fn wasm_image(&self, image: &str, kind: Kind, wasm: &Path) -> anyhow::Result<String> {
        self.image(image, |scratch| {
            let layout = scratch.join("layout");
            match kind {
                Kind::Package => Ok(oci::wasm_package(&fs::read(wasm)?, layout)?),
                _ => {
                    let image =
                        Image::for_platform("wasm", "wasi").copy(wasm, "app.wasm", 0o644)?;
                    Ok(image.entrypoint(&["/app.wasm"]).write(layout)?)
                }
            }
        })
        .await
    }
}

/// Packs the folder of an application.
fn pack(kind: Kind, folder: &Path, layout: &Path) -> anyhow::Result<Layout> {
    if kind == Kind::Spin {
        return push(folder, layout);
    }
    let image = Image::for_platform("wasm", "wasi").copy_folder(folder, "")?;
    Ok(image.entrypoint(&["/"]).write(layout)?)
}

/// Packs with our own program, as a user would.
///
/// # Errors
///
/// The program's output, when it fails.
pub fn push(folder: &Path, layout: &Path) -> anyhow::Result<Layout> {
    let program = paths::skiff();
    let done = Command::new(&program)
        .arg("push")
        .arg("--to-layout")
        .arg(layout)
        .arg(folder)
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.success(),
        "skiff push {}: {stderr}",
        folder.display()
    );
    Ok(Layout::open(layout))
}
