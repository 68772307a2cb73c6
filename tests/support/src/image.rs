//! Images of plain files, as `docker build` would make them `FROM scratch`.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::oci::{CONFIG, ImageError, LAYER, Layout, append, files_below, read};

/// An image made of files, as `FROM scratch` and `COPY` would make it.
#[derive(Debug, Clone)]
pub struct Image {
    platform: (&'static str, &'static str),
    entrypoint: Vec<String>,
    env: Vec<String>,
    user: &'static str,
    directory: &'static str,
    files: Vec<(String, u32, Vec<u8>)>,
}

impl Image {
    /// An empty image for this machine.
    pub fn linux() -> Self {
        Self::for_platform("amd64", "linux")
    }

    /// An empty image for that architecture and system, for example `wasm`
    /// and `wasi`, as `docker build --platform wasi/wasm` labels it.
    pub fn for_platform(architecture: &'static str, os: &'static str) -> Self {
        let platform = (architecture, os);
        Self {
            platform,
            entrypoint: Vec::new(),
            env: Vec::new(),
            user: "",
            directory: "",
            files: Vec::new(),
        }
    }

    /// Adds a file. The path is relative to the image's root.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), mode, content.into()));
        self
    }

    /// Adds a file of this machine.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn copy(self, from: &Path, to: &str, mode: u32) -> Result<Self, ImageError> {
        let content = read(from)?;
        Ok(self.file(to, mode, content))
    }

    /// Adds a folder of this machine with its content.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn copy_folder(mut self, from: &Path, to: &str) -> Result<Self, ImageError> {
        let mut found = Vec::new();
        files_below(from, &mut found)?;
        for file in found {
            let inner = file.strip_prefix(from).unwrap_or(&file);
            let path = Path::new(to).join(inner).display().to_string();
            self = self.copy(&file, &path, 0o644)?;
        }
        Ok(self)
    }

    /// Sets the entrypoint.
    #[must_use]
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.entrypoint = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Adds a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// Sets the working directory, the root by default.
    #[must_use]
    pub fn directory(mut self, path: &'static str) -> Self {
        self.directory = path;
        self
    }

    /// Sets the user of a container's process, root by default.
    #[must_use]
    pub fn user(mut self, ids: &'static str) -> Self {
        self.user = ids;
        self
    }

    /// Writes it as a layout with one layer.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written.
    pub fn write(&self, folder: impl Into<PathBuf>) -> Result<Layout, ImageError> {
        let layout = Layout::create(folder)?;
        let layer = layout.blob(LAYER, &self.layer()?)?;
        let config = json!({
            "architecture": self.platform.0,
            "os": self.platform.1,
            "config": { "Entrypoint": self.entrypoint, "Env": self.env, "User": self.user, "WorkingDir": self.directory },
            "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
        });
        let config = layout.blob(CONFIG, config.to_string().as_bytes())?;
        layout.manifest(&config, &[layer])?;
        Ok(layout)
    }

    fn layer(&self) -> Result<Vec<u8>, ImageError> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, mode, content) in &self.files {
            append(&mut archive, path, *mode, content)?;
        }
        archive.into_inner().map_err(|source| ImageError::Archive {
            name: "layer".into(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_image() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = Image::linux()
            .file("a/b", 0o755, "hello")
            .entrypoint(&["/a/b"]);
        image.write(folder.path().join("one")).expect("written");
        image.write(folder.path().join("two")).expect("written");
        let index =
            |name: &str| std::fs::read(folder.path().join(name).join("index.json")).expect("read");
        assert_eq!(index("one"), index("two"));
    }
}
