//! From a container's image to an application whose code is compiled.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use skiff_artifact::{Apps, Held, Image, Kind, Limits, PrepareError, Prepared};
use skiff_engine::Cache;
use skiff_manifest::runtime::Defaults;
use skiff_task::application::{Answer, Folder, Ready, Request};

use super::store::Store;
use super::{defaults, image};
use crate::app::slots::{Slot, Slots};
use crate::app::{self, Configuration};
use crate::pod::outcome::{Outcome, Source};
use crate::pod::{RUNTIME_CONFIG, STORES};
use crate::settings::{self, NodeSettings, Settings};

/// How long to wait for a turn: less than the total time allowed, so that a process that
/// gets none can still report it. What others did meanwhile makes the next try shorter.
const PATIENCE: Duration = Duration::from_secs(90);

/// From this size on, reading an application takes enough memory to need a turn.
const LARGE_APPLICATION: u64 = 1 << 20;

/// Finds, unpacks, checks and compiles a container's application. At most `at_once`
/// processes of a node do the memory-intensive part at the same time.
///
/// # Errors
/// Everything that is wrong with the application, with every cause.
pub(super) fn prepare(
    request: &Request,
    node: &NodeSettings,
    at_once: usize,
) -> anyhow::Result<Answer> {
    let environment = variables(&request.environment);
    let var = |name: &str| environment.get(name).cloned();
    let (settings, _) = Settings::read(var, environment.keys().cloned())?;
    let is_partial = has_more_inside(request, &settings);
    make_state_folder(&node.state)?;
    let cache = Cache::open(&node.cache())?.with_limit(node.cache_size);
    let turns = Turns::new(node, at_once);
    let turn = || turns.wait();
    let found = find(request, node, &turns)?;
    // Locked, so that the application is not removed while this process reads it.
    let (prepared, source, bare, files) = match &found {
        Found::Unpacked { app, bare } => {
            let directory = app.directory();
            if app_size(directory) > LARGE_APPLICATION {
                turns.wait()?;
            }
            let prepared = Prepared::from_unpacked(directory)?;
            let files = Folder {
                path: directory.to_owned(),
                locked: true,
            };
            (prepared, Source::Unpacked, *bare, files)
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
                    let files = Folder {
                        path: request.rootfs.clone(),
                        locked: false,
                    };
                    (prepared, source, bare, files)
                }
                // It may be a program that only the container can find.
                Err(error @ PrepareError::NothingToRun { .. }) => {
                    let reason = error.to_string();
                    return Ok(Answer::Nothing { reason });
                }
                Err(error) => {
                    let (_, configuration) = defaults_for(request, node)?;
                    let setup = |rest: &Prepared| setup_of(rest, var, configuration, is_partial);
                    let (error, cache) = (error.into(), cache.folder());
                    return Err(app::with_rest(error, &settings, setup, cache, &turn));
                }
            }
        }
    };
    let (defaults, configuration) = defaults_for(request, node)?;
    let setup = setup_of(&prepared, var, configuration, is_partial);
    let compiled = app::prepare(&prepared, &settings, &setup, &cache, &turn)?;
    let outcome = Outcome {
        source,
        codes: compiled.codes,
        bare,
        defaults: defaults.map(|defaults| defaults.to_json().to_owned()),
    };
    let optimize = compiled.optimize.map(serde_json::to_value).transpose();
    let code = Folder {
        path: node.cache(),
        locked: false,
    };
    Ok(Answer::Ready(Ready {
        application: serde_json::to_value(outcome).context("cannot write the answer")?,
        folders: vec![code, files],
        own_folder: app::keeps_default(&prepared.application).then(|| STORES.into()),
        assist: optimize.context("cannot write the answer")?,
    }))
}

/// Removes leftovers of killed processes, and the least recently used entries.
///
/// # Errors
/// If the node's folders cannot be used.
pub(super) fn tidy(node: &NodeSettings) -> anyhow::Result<()> {
    // One process at a time is enough.
    let slots = Slots::new(&node.cache(), "tidy", 1);
    let Some(_turn) = slots.try_take().context("cannot tidy")? else {
        return Ok(());
    };
    Cache::open(&node.cache())?
        .with_limit(node.cache_size)
        .tidy();
    let apps = node.apps();
    if apps.is_dir() {
        make_room(&apps, node.apps_size)?;
    }
    Ok(())
}

fn make_room(apps: &Path, keep: u64) -> anyhow::Result<()> {
    let tidied = Apps::new(apps, "").tidy(keep);
    let tidied = tidied.with_context(|| format!("cannot tidy `{}`", apps.display()))?;
    // The shim writes this to its log.
    for path in &tidied.leftovers {
        eprintln!("removed `{}`, left by a killed process", path.display());
    }
    for path in &tidied.evicted {
        eprintln!("removed `{}`, used longest ago", path.display());
    }
    Ok(())
}

/// The turns of this node; a process takes at most one.
struct Turns {
    slots: Slots,
    taken: OnceCell<Slot>,
}

impl Turns {
    fn new(node: &NodeSettings, at_once: usize) -> Self {
        let set = node.prepares.map(|count| count.get() as usize);
        Turns {
            slots: Slots::new(&node.cache(), "prepare", set.unwrap_or(at_once)),
            taken: OnceCell::new(),
        }
    }

    fn wait(&self) -> anyhow::Result<()> {
        if self.taken.get().is_some() {
            return Ok(());
        }
        let slot = self
            .slots
            .take(PATIENCE)
            .context("cannot wait for a turn")?;
        let slot = slot.with_context(|| {
            format!("the node is busy preparing other applications, and no turn was free within {PATIENCE:?}; {} sets how many it prepares at once", NodeSettings::PREPARES)
        })?;
        self.taken.set(slot).ok();
        Ok(())
    }
}

fn app_size(directory: &Path) -> u64 {
    fs::metadata(directory.join("app.json")).map_or(0, |metadata| metadata.len())
}

/// The operator's defaults for the container's pod, alone and as a configuration.
fn defaults_for(
    request: &Request,
    node: &NodeSettings,
) -> anyhow::Result<(Option<Defaults>, Configuration)> {
    let defaults = defaults::read(&node.defaults(), request.pod_namespace.as_deref())?;
    let configuration = match &defaults {
        Some(defaults) => Configuration::default().with_defaults(defaults)?.0,
        None => Configuration::default(),
    };
    Ok((defaults, configuration))
}

/// What the application starts with, as far as it is known outside its container.
fn setup_of(
    prepared: &Prepared,
    var: impl Fn(&str) -> Option<String>,
    configuration: Configuration,
    is_partial: bool,
) -> app::Setup {
    let names = prepared.application.variables.keys().map(AsRef::as_ref);
    app::Setup::known(
        settings::variable_values(var, names),
        configuration,
        is_partial,
    )
}

/// Whether there may be a runtime configuration or variables inside the container, where
/// this process cannot read them: the one that serves checks what depends on them.
fn has_more_inside(request: &Request, settings: &Settings) -> bool {
    let file = Path::new(RUNTIME_CONFIG);
    let in_image = request.rootfs.join(file.strip_prefix("/").unwrap_or(file));
    settings.variables.is_some()
        || request.mounts.iter().any(|mount| mount == file)
        || in_image.symlink_metadata().is_ok()
}

/// Where an application was found.
enum Found {
    /// In a folder of the node.
    Unpacked {
        app: Held,
        /// Whether the image holds a component without a manifest.
        bare: bool,
    },
    /// In the container's own files, if anywhere.
    RootFs,
}

fn find(request: &Request, node: &NodeSettings, turns: &Turns) -> anyhow::Result<Found> {
    let store = Store::connect(&request.containerd, &request.namespace)?;
    let Some(named) = store.image(&request.container)? else {
        return Ok(Found::RootFs);
    };
    let image = image::read(&store, &named)?;
    if image.kind == Kind::RootFs {
        return Ok(Found::RootFs);
    }
    let app = unpacked(&image, &store, node, turns)?;
    let bare = matches!(image.kind, Kind::Component { .. });
    Ok(Found::Unpacked { app, bare })
}

/// Creates the node's folder for root only, because it may hold the content of private
/// images. Containers receive open handles to what they need.
fn make_state_folder(path: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.with_context(|| format!("cannot make the state folder `{}`", path.display()))
}

/// The image's folder on the node, created on first use.
fn unpacked(
    image: &Image,
    store: &Store,
    node: &NodeSettings,
    turns: &Turns,
) -> anyhow::Result<Held> {
    let folder = node.apps();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let apps = Apps::new(&folder, &boot());
    if let Some(app) = apps.find(&image.descriptor.digest)? {
        return Ok(app);
    }
    turns.wait()?;
    let layers = image.manifest.layers.iter();
    let size: u64 = layers.fold(0, |size, layer| size.saturating_add(layer.size));
    make_room(&folder, node.apps_size.saturating_sub(size))?;
    Ok(apps.get(image, store, &Limits::default())?)
}

/// Identifies this boot of the node. If it cannot be read, every application is verified
/// each time it is used.
fn boot() -> String {
    let read = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.unwrap_or_default().trim().to_owned()
}

/// A container's environment; for a repeated variable the last value counts.
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
