//! The programs that a run needs, built before it starts.

use std::path::PathBuf;

use anyhow::ensure;
use skiff_test_support::{Version, paths, tools};

use crate::addons::Addons;
use crate::options::Options;

/// The programs of any run, and those of a cluster of the run's own.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    /// All of Kubernetes, `kubectl` among it.
    pub(crate) kubernetes: PathBuf,
    /// Helm.
    pub(crate) helm: PathBuf,
    /// The program under test.
    pub(crate) skiff: PathBuf,
    /// For a cluster of the run's own.
    pub(crate) node: Option<NodeTools>,
}

/// The programs of a node.
#[derive(Debug, Clone)]
pub(crate) struct NodeTools {
    /// The folder of containerd's programs.
    pub(crate) containerd: PathBuf,
    /// The add-ons, which the short version does not use.
    pub(crate) addons: Option<Addons>,
}

impl Tools {
    /// Finds them, and builds those that are missing, which takes the module proxy
    /// and minutes.
    ///
    /// # Errors
    ///
    /// When one cannot be built.
    pub(crate) fn find(options: &Options) -> anyhow::Result<Self> {
        let skiff = options.skiff.clone().unwrap_or_else(paths::skiff);
        ensure!(
            skiff.exists(),
            "`{}` does not exist; run `make build` first",
            skiff.display()
        );
        let node = match options.kubeconfig {
            Some(_) => None,
            None => Some(NodeTools {
                containerd: tools::containerd(Version::V2)?,
                addons: (!options.short).then(Addons::find).transpose()?,
            }),
        };
        Ok(Self {
            kubernetes: tools::kubernetes()?,
            helm: tools::helm()?,
            skiff: std::path::absolute(skiff)?,
            node,
        })
    }
}
