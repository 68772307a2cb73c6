//! Selects an image of a layout that holds several.

use std::path::Path;

use anyhow::bail;
use clap::Args;
use skiff_artifact::{Descriptor, Layout, LayoutError, Wanted};

#[derive(Args, Default)]
pub(super) struct Which {
    /// The image of an OCI layout, by name or digest, where it holds several
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// The platform of an image for several, such as wasip1/wasm or linux/arm64
    /// [default: WebAssembly, then Linux on this processor]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Wanted>,
}

impl Which {
    /// The selected manifest.
    pub(super) fn manifest(&self, layout: &Layout) -> Result<Descriptor, LayoutError> {
        layout.manifest_for(self.image.as_deref(), self.platform.as_ref())
    }

    /// Rejects these options for a path that is not a layout.
    pub(super) fn refuse(&self, path: &Path) -> anyhow::Result<()> {
        let given = [
            ("--image", self.image.is_some()),
            ("--platform", self.platform.is_some()),
        ];
        if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
            bail!(
                "{option} chooses in an OCI layout, but `{}` is not one",
                path.display()
            );
        }
        Ok(())
    }
}
