//! `skiff run`: the same engine and trigger as in a pod, without containerd and root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use rustix::process::geteuid;
use skiff_artifact::{FetchError, Image, Kind, Layout, Limits, Prepared, Scratch, sweep, unpack};
use skiff_engine::Cache;
use skiff_host::Output;

use super::which::Which;
use crate::app::{self, App, CompileRequest, Configuration, Given, Optimizer, Places, Setup};
use crate::process::{self, Process, Serving};
use crate::settings::{self, LISTEN_ON_LAPTOP, Settings};

/// The folder of an application's stores, beside it.
const STORES: &str = ".skiff";

/// There is only one application, so it never has to wait for a turn.
const AT_ONCE: app::Turn<'static> = &|| Ok(());

#[derive(Args)]
pub(super) struct Run {
    /// A folder with a spin.toml, a manifest, a .wasm file, or an OCI layout
    #[arg(default_value = ".")]
    application: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Address and port to listen on [default: 127.0.0.1:3000]
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Set an environment variable of every guest
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Set a variable of the application: NAME=VALUE, NAME=@FILE, @FILE.json or @FILE.toml
    #[arg(long, value_name = "NAME=VALUE")]
    variable: Vec<String>,
    /// Read where stores, variables and limits come from
    #[arg(long, value_name = "FILE")]
    runtime_config_file: Option<PathBuf>,
    /// Run only this component (may be given several times)
    #[arg(long, value_name = "ID")]
    component: Vec<String>,
    /// Print neither routes nor what guests print
    #[arg(long)]
    quiet: bool,
    /// Arguments of a component that is run to its end
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<i32> {
        let (mut settings, warnings) = Settings::from_environment()?;
        process::start_logging(settings.process.log_level);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        if !self.component.is_empty() {
            settings.retain = Some(BTreeSet::from_iter(self.component.iter().cloned()));
        }
        let mut set = BTreeMap::new();
        for argument in &self.variable {
            set.extend(app::from_argument(argument).context("--variable")?);
        }
        let file = self.runtime_config_file.as_deref();
        let configuration = file.map(Configuration::read).transpose()?;
        let configuration = configuration.unwrap_or_default();
        configuration.complete(&mut settings);
        let scratch = scratch()?;
        let opened = open(&self.application, &self.which, &scratch.path());
        let opened = opened.map_err(|error| {
            let setup = |rest: &Prepared| {
                let names = rest.application.variables.keys().map(AsRef::as_ref);
                let mut values = settings::variable_values(settings::environment, names);
                values.extend(set.clone());
                let may_be_more = file.is_some() || settings.variables.is_some();
                Setup::known(values, Configuration::default(), may_be_more)
            };
            match cache_folder() {
                Ok(cache) => app::with_rest(error, &settings, setup, &cache, AT_ONCE),
                Err(_) => error,
            }
        });
        let Opened {
            prepared,
            command,
            environment,
            bare,
        } = opened?;
        super::warn(&prepared.warnings);
        for name in set.keys() {
            if !prepared.application.variables.contains_key(name.as_str()) {
                bail!("--variable {name}: the application has no variable of that name");
            }
        }
        // A person's variables override those of the image.
        let var =
            |name: &str| settings::environment(name).or_else(|| environment.get(name).cloned());
        let names = prepared.application.variables.keys().map(AsRef::as_ref);
        let places = Places {
            set,
            folder: settings.variables.as_deref(),
            environment: &var,
            usual: settings::variable_values(var, names),
            dotenv: Some(Path::new(".env")),
        };
        let setup = Setup::new(&prepared.application, configuration, places)?;
        let cache = Cache::open(&cache_folder()?)?;
        let (sound, compiled) = app::all_wrong(
            &prepared,
            &settings,
            &setup,
            cache.folder(),
            AT_ONCE,
            || {
                let sound = app::check(&prepared, &settings, &setup)?;
                let request = app::request(&prepared, &sound, &settings, &cache);
                Ok((sound, app::compile_apart(request)?))
            },
        )?;
        let checked = sound.with_code(&compiled.codes, &cache, &settings, &setup)?;
        let command = command.unwrap_or_else(|| vec![prepared.application.name.clone()]);
        // As in a pod: a component without a manifest is a program like any other.
        let environment = bare.then(|| settings::for_programs(environment));
        let environment = environment.into_iter().flatten().chain(self.env);
        let stores = beside(&self.application).join(STORES);
        let process = Process::new(&settings.process, &settings.http, settings.engine.instances)?;
        let mut given = Given {
            setup,
            environment: environment.collect(),
            stores: Some(stores),
            arguments: command.into_iter().chain(self.arguments).collect(),
            ..process.given()
        };
        if self.quiet {
            given.stdout = Output::nowhere();
            given.stderr = Output::nowhere();
        }
        let app = App::new(checked, &prepared, cache, &settings, given)?;
        // The optimiser ends with the application.
        let _optimizer = compiled.optimize.as_ref().and_then(optimizer);
        let listen = self.listen.or(settings.listen).unwrap_or(LISTEN_ON_LAPTOP);
        let quiet = self.quiet;
        process.serve(app, listen, |serving| {
            if !quiet {
                print_routes(&serving);
            }
            Ok(())
        })
    }
}

/// The folder for unpacked and copied files, which is removed with this process. First
/// removes the folders of killed processes.
pub(super) fn scratch() -> anyhow::Result<Scratch> {
    const PREFIX: &str = "skiff-run-";
    let parent = std::env::temp_dir();
    match sweep(&parent, &[PREFIX]) {
        Ok(gone) => {
            for path in gone {
                tracing::info!(path = %path.display(), "Removed what a killed process had left");
            }
        }
        Err(error) => tracing::debug!(%error, "Temporary folders cannot be looked for"),
    }
    let scratch = Scratch::new_in(&parent, PREFIX);
    Ok(scratch.map_err(|source| NoScratch { parent, source })?)
}

/// Nothing can be unpacked or copied.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a temporary folder in `{}`", parent.display())]
pub(crate) struct NoScratch {
    parent: PathBuf,
    source: std::io::Error,
}

/// Starts the optimiser; if that fails, the existing code stays in use.
fn optimizer(request: &CompileRequest) -> Option<Optimizer> {
    let started = Optimizer::start(request);
    started
        .inspect_err(|error| {
            tracing::warn!(error = %format!("{error:#}"), "Baseline code stays in use");
        })
        .ok()
}

/// Prints where the application is served. If the reader has gone, serving continues.
fn print_routes(serving: &Serving) {
    let Some(address) = serving.address else {
        return;
    };
    let text = routes_text(address, &serving.routes);
    if let Err(error) = process::output::stdout().write_all(text.as_bytes()) {
        tracing::warn!(%error, "Cannot print the routes");
    }
}

/// One line for the server and one for each route, with URLs that can be opened.
fn routes_text(listen: SocketAddr, routes: &[(String, String)]) -> String {
    let address = reachable(listen);
    let mut text = format!("Serving http://{address}");
    if address != listen {
        text += &format!(" (and on every other address of this machine: {listen})");
    }
    text.push('\n');
    for (route, by) in routes {
        text += &format!("  {by}: http://{address}{}\n", url_path(route));
    }
    text
}

/// The address at which a client on this machine reaches the listener. "Every address"
/// itself cannot be opened.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// A route as the path of a URL, with its wildcard in words. Routes may lack the leading
/// slash that every path has.
fn url_path(route: &str) -> String {
    let slash = if route.starts_with('/') { "" } else { "/" };
    let route = format!("{slash}{route}");
    match route
        .strip_suffix("/...")
        .or_else(|| route.strip_suffix("/*"))
    {
        Some(prefix) => format!("{prefix}/ (and everything below)"),
        None => route,
    }
}

/// The folder in which an application lies: its own, or the one of its file or layout.
fn beside(application: &Path) -> &Path {
    if application.is_dir() && !Layout::is_layout(application) {
        return application;
    }
    match application.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// An application, with its image's configuration for running it.
pub(super) struct Opened {
    pub(super) prepared: Prepared,
    /// The command line of a component, without further arguments.
    command: Option<Vec<String>>,
    /// The image's environment variables.
    environment: BTreeMap<String, String>,
    /// Whether it is a single component without a manifest.
    bare: bool,
}

impl From<Prepared> for Opened {
    fn from(prepared: Prepared) -> Self {
        Opened {
            command: prepared.command.clone(),
            environment: BTreeMap::new(),
            bare: prepared.command.is_some(),
            prepared,
        }
    }
}

/// Detects what `path` is, and prepares it. `scratch` must live as long as the
/// application.
pub(super) fn open(path: &Path, which: &Which, scratch: &Path) -> anyhow::Result<Opened> {
    let named = || format!("`{}`", path.display());
    let tar = path.extension().is_some_and(|extension| extension == "tar");
    if tar || Layout::is_layout(path) {
        let layout = Layout::open(path).with_context(named)?;
        let descriptor = which.manifest(&layout).with_context(named)?;
        let image = Image::read(&layout, &descriptor).with_context(named)?;
        let unpacked = unpack(&image, &layout, &scratch.join("app"), &Limits::default())
            .with_context(named)?;
        let prepared = Prepared::from_unpacked(&unpacked.directory).with_context(named)?;
        let mut opened = Opened::from(prepared);
        opened.environment = image.environment().into_iter().collect();
        if let Kind::Component { .. } = image.kind {
            opened.bare = true;
            opened.command = Some(image.command()).filter(|command| !command.is_empty());
        }
        return Ok(opened);
    }
    which.refuse(path)?;
    if path
        .extension()
        .is_some_and(|extension| extension == "wasm")
    {
        return Ok(Prepared::from_wasm_file(path).with_context(named)?.into());
    }
    if !path.exists() {
        bail!("`{}` does not exist", path.display());
    }
    let files = scratch.join("files");
    fs::create_dir(&files).with_context(|| format!("cannot make `{}`", files.display()))?;
    Ok(Prepared::from_folder(path, &files, &fetch)?.into())
}

/// The file of a URL that a manifest names.
pub(super) fn fetch(url: &str, digest: &str) -> Result<PathBuf, FetchError> {
    app::fetch(&cache_folder()?, &settings::environment, url, digest)
}

/// The folder for a person's compiled code.
pub(super) fn cache_folder() -> anyhow::Result<PathBuf> {
    let var = settings::environment;
    if let Some(folder) = var("SKIFF_CACHE_DIR") {
        return Ok(PathBuf::from(folder));
    }
    if geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/skiff/cache"));
    }
    let base = match (var("XDG_CACHE_HOME"), var("HOME")) {
        (Some(base), _) if base.starts_with('/') => PathBuf::from(base),
        (_, Some(home)) => Path::new(&home).join(".cache"),
        _ => bail!(
            "there is no folder for compiled code: set SKIFF_CACHE_DIR, XDG_CACHE_HOME or HOME"
        ),
    };
    Ok(base.join("skiff"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_needs_a_name_and_a_value_may_hold_anything() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("=b").is_err());
        assert!(pair("a").is_err());
    }

    #[test]
    fn every_route_is_told_as_a_url_that_can_be_opened() {
        for (route, path) in [
            ("/a/...", "/a/ (and everything below)"),
            ("/...", "/ (and everything below)"),
            ("...", "/ (and everything below)"),
            ("a/*", "/a/ (and everything below)"),
            ("/a", "/a"),
            ("hello", "/hello"),
            ("", "/"),
        ] {
            assert_eq!(url_path(route), path, "{route}");
        }
    }

    #[test]
    fn every_address_is_told_as_one_that_can_be_opened() {
        let routes = [("hello".to_owned(), "web".to_owned())];
        let text = |listen: &str| routes_text(listen.parse().unwrap(), &routes);
        assert_eq!(
            text("127.0.0.1:3000"),
            "Serving http://127.0.0.1:3000\n  web: http://127.0.0.1:3000/hello\n"
        );
        assert_eq!(
            text("0.0.0.0:80"),
            "Serving http://127.0.0.1:80 (and on every other address of this machine: 0.0.0.0:80)\n  web: http://127.0.0.1:80/hello\n"
        );
        assert!(text("[::]:80").starts_with("Serving http://[::1]:80 (and on"));
    }
}
