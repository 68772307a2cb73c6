//! From a container's image to an application whose code is compiled.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use skiff_artifact::{Image, Kind, Limits, PrepareError, Prepared, UnpackError, unpack};

use super::store::Store;
use super::{Reply, Request, image};
use crate::app;
use crate::settings::{self, NodeSettings, Settings};
use crate::task::plan::Source;

/// Finds, unpacks, checks and compiles what a container is to run.
///
/// # Errors
/// Everything that is wrong with it, with every cause.
pub(super) fn prepare(request: &Request) -> anyhow::Result<Reply> {
    let environment = variables(&request.environment);
    let var = |name: &str| environment.get(name).cloned();
    let (settings, _) = Settings::read(var, environment.keys().cloned())?;
    let node = NodeSettings {
        state: request.state.clone(),
    };
    make_state_folder(&node.state)?;
    let found = find(request, &node.apps())?;
    let (prepared, source, bare, app) = match found {
        Found::Unpacked { directory, bare } => {
            let prepared = Prepared::from_unpacked(&directory)?;
            (prepared, Source::Unpacked, bare, Some(directory))
        }
        Found::RootFs => {
            match Prepared::from_rootfs(&request.rootfs, &request.args, &request.directory) {
                Ok(prepared) => {
                    let entrypoint = request.args.clone();
                    let directory = request.directory.clone();
                    let bare = prepared.command.is_some();
                    let source = Source::RootFs {
                        entrypoint,
                        directory,
                    };
                    (prepared, source, bare, None)
                }
                // Perhaps a program that only the container can find.
                Err(error @ PrepareError::NothingToRun { .. }) => {
                    let reason = error.to_string();
                    return Ok(Reply::NotWasm { reason });
                }
                Err(error) => {
                    let values = |rest: &Prepared| values_of(rest, var);
                    let cache = node.cache();
                    return Err(app::with_rest(error.into(), &settings, values, &cache));
                }
            }
        }
    };
    let values = values_of(&prepared, var);
    let codes = app::prepare(&prepared, &settings, &values, &node.cache())?;
    Ok(Reply::Wasm {
        source,
        codes,
        bare,
        app,
    })
}

fn values_of(prepared: &Prepared, var: impl Fn(&str) -> Option<String>) -> app::Values {
    let names = prepared.application.variables.keys().map(AsRef::as_ref);
    settings::variable_values(var, names)
}

/// Where an application is found.
enum Found {
    /// In a folder of the node.
    Unpacked {
        directory: PathBuf,
        /// Whether the image holds a component and no manifest.
        bare: bool,
    },
    /// In the container's own files, if at all.
    RootFs,
}

fn find(request: &Request, apps: &Path) -> anyhow::Result<Found> {
    let store = Store::connect(&request.containerd, &request.namespace)?;
    let Some(target) = store.image(&request.container)? else {
        return Ok(Found::RootFs);
    };
    let manifest = image::manifest(&store, |descriptor| store.has(descriptor), target)?;
    let image = Image::read(&store, &manifest)?;
    if image.kind == Kind::RootFs {
        return Ok(Found::RootFs);
    }
    let directory = unpacked(&image, &store, apps)?;
    let bare = matches!(image.kind, Kind::Component { .. });
    Ok(Found::Unpacked { directory, bare })
}

/// Makes the node's folder so that only root comes in: what is in it may be of
/// private images. Containers are handed what they need of it open.
fn make_state_folder(path: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.with_context(|| format!("cannot make the state folder `{}`", path.display()))
}

/// The image's folder on the node, which is made by whoever needs it first.
fn unpacked(image: &Image, store: &Store, apps: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(apps).with_context(|| format!("cannot make `{}`", apps.display()))?;
    let directory = apps.join(image.descriptor.digest.hex());
    if directory.is_dir() {
        return Ok(directory);
    }
    match unpack(image, store, &directory, &Limits::default()) {
        // In the latter case another pod of the same image was quicker.
        Ok(_) | Err(UnpackError::Exists { .. }) => Ok(directory),
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
            [
                ("A".to_owned(), "2".to_owned()),
                ("B".to_owned(), "x=y".to_owned())
            ]
        );
    }
}
