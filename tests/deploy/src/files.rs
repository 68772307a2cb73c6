//! Files of the checkout, by their paths below its root.

use std::fs;
use std::path::{Path, PathBuf};

/// A file's path below the checkout's root, which tests use as its name.
pub type Name = String;

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate lies two folders below the root")
}

/// The files that match a pattern below the root, in order.
pub fn find(pattern: &str) -> Vec<Name> {
    let full = root().join(pattern);
    let full = full.to_str().expect("paths here are Unicode");
    let mut found: Vec<Name> = glob::glob(full)
        .expect("patterns of tests are well-formed")
        .map(|path| name(&path.expect("folders here can be read")))
        .collect();
    found.sort();
    found
}

/// The content of a text file.
pub fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A file's absolute path.
pub fn path(name: &str) -> PathBuf {
    root().join(name)
}

/// Every YAML file of `deploy/`.
pub fn yaml() -> Vec<Name> {
    find("deploy/**/*.yaml")
}

/// Every YAML file that is applied with kubectl, without those of other tools.
pub fn applied() -> Vec<Name> {
    let others = |name: &Name| name.ends_with("/kustomization.yaml") || name.contains("/talos/");
    yaml().into_iter().filter(|name| !others(name)).collect()
}

/// A file's name without folders and extension.
pub fn stem(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split('.').next().unwrap_or(last)
}

fn name(path: &Path) -> Name {
    let inside = path.strip_prefix(root()).expect("it was found below");
    inside.to_str().expect("paths here are Unicode").to_owned()
}
