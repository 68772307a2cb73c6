//! From a container's image to an application whose code is compiled.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use skiff_artifact::{Image, Kind, Limits, Prepared, UnpackError, Unpacked, unpack};

use super::store::Store;
use super::{Reply, Request, image};
use crate::app;
use crate::settings::{self, Settings};
use crate::task::plan::Source;

/// Finds, unpacks, checks and compiles what a container is to run.
///
/// # Errors
/// Everything that is wrong with it, with every cause.
pub(super) fn prepare(request: &Request) -> anyhow::Result<Reply> {
    let environment = variables(&request.environment);
    let var = |name: &str| environment.get(name).cloned();
    let (settings, _) = Settings::read(var, environment.keys().cloned())?;
    let found = find(request)?;
    let (prepared, source, app) = match found {
        Found::Unpacked(unpacked) => {
            let prepared = Prepared::from_unpacked(&unpacked)?;
            (prepared, Source::Unpacked, Some(unpacked.directory))
        }
        Found::RootFs => match Prepared::from_rootfs(&request.rootfs, &request.args) {
            Ok(prepared) => {
                let entrypoint = request.args.clone();
                (prepared, Source::RootFs { entrypoint }, None)
            }
            Err(error) => return Err(error.into()),
        },
    };
    let names = prepared.application.variables.keys().map(AsRef::as_ref);
    let values = settings::variable_values(var, names);
    let codes = app::prepare(&prepared, &settings, &values, &request.cache)?;
    Ok(Reply::Wasm { source, codes, app })
}

/// Where an application is found.
enum Found {
    Unpacked(Unpacked),
    RootFs,
}

fn find(request: &Request) -> anyhow::Result<Found> {
    let store = Store::connect(&request.containerd, &request.namespace)?;
    let Some(target) = store.image(&request.container)? else {
        return Ok(Found::RootFs);
    };
    let manifest = image::manifest(&store, |descriptor| store.has(descriptor), target)?;
    let image = Image::read(&store, &manifest)?;
    if image.kind == Kind::RootFs {
        return Ok(Found::RootFs);
    }
    unpacked(&image, &store, &request.apps).map(Found::Unpacked)
}

/// The image's folder on the node, which is made by whoever needs it first.
fn unpacked(image: &Image, store: &Store, apps: &Path) -> anyhow::Result<Unpacked> {
    fs::create_dir_all(apps).with_context(|| format!("cannot make `{}`", apps.display()))?;
    let directory: PathBuf = apps.join(image.descriptor.digest.hex());
    if directory.is_dir() {
        return Ok(Unpacked { directory });
    }
    match unpack(image, store, &directory, &Limits::default()) {
        Ok(unpacked) => Ok(unpacked),
        // Another pod of the same image was quicker.
        Err(UnpackError::Exists { .. }) => Ok(Unpacked { directory }),
        Err(error) => Err(error).context("cannot unpack the image"),
    }
}

/// A container's environment; of a variable that is there twice the last counts.
fn variables(environment: &[String]) -> BTreeMap<String, String> {
    let pairs = environment.iter().filter_map(|text| text.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_variables_counts() {
        let environment = ["A=1", "B=x=y", "A=2", "nothing"].map(str::to_owned);
        let read = variables(&environment);
        assert_eq!(
            read.into_iter().collect::<Vec<_>>(),
            [("A".to_owned(), "2".to_owned()), ("B".to_owned(), "x=y".to_owned())]
        );
    }
}
