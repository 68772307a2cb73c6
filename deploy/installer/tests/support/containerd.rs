//! A fake containerd with its configuration rules, and a fake distribution.
//!
//! The rules are those of containerd's source: version 1 lets a table of an imported file
//! replace that of the main file, version 2 merges them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use skiff_installer::cri::CriError;
use skiff_installer::dump::DumpError;
use skiff_installer::host::Host;
use skiff_installer::layouts::{Layout, Service, Source};
use skiff_installer::node::{Node, RestartError};
use toml::{Table, Value};

const OLD: &str = "io.containerd.grpc.v1.cri";
const NEW: &str = "io.containerd.cri.v1.runtime";

/// The line of a template that stands for the distribution's own.
const BASE: &str = "{{ template \"base\" . }}";

/// How a distribution writes containerd's configuration at each start.
struct Rendering {
    templates: [&'static str; 2],
    /// The first template, and the configuration that was written from it.
    first: Option<String>,
    result: String,
    /// The placeholder for the distribution's own part.
    base: String,
}

impl Rendering {
    fn of(host: &Host, result: &str, templates: [&'static str; 2]) -> Option<Self> {
        let result = read(host, result)?;
        let first = templates.iter().find_map(|path| read(host, path));
        let own = first.as_deref().unwrap_or_default().replace(BASE, "");
        let base = match own.trim() {
            "" => result.clone(),
            own => result.replace(own, ""),
        };
        Some(Self {
            templates,
            first,
            result,
            base,
        })
    }

    fn render(&self, host: &Host) -> String {
        let template = self.templates.iter().find_map(|path| read(host, path));
        match template {
            template if template == self.first => self.result.clone(),
            Some(template) => template.replace(BASE, &self.base),
            None => self.base.clone(),
        }
    }
}

/// A containerd of one of the two series.
pub(crate) struct FakeContainerd {
    major: i64,
    rendering: Option<Rendering>,
    running: Mutex<Option<Table>>,
    restarts: Mutex<Vec<String>>,
    /// It does not come back from restarts if its handlers include ours.
    pub(crate) breaks: AtomicBool,
    /// From how many restarts it does not come back at all.
    pub(crate) lost_restarts: AtomicU32,
}

impl FakeContainerd {
    pub(crate) fn start(host: &Host, version: &str) -> Self {
        let rendering = match source(host) {
            Some(Source::Rendered {
                result,
                template_v3,
                template_v2,
            }) => Rendering::of(host, result, [template_v3, template_v2]),
            _ => None,
        };
        let started = Self {
            major: if version.starts_with("1.") { 1 } else { 2 },
            rendering,
            running: Mutex::default(),
            restarts: Mutex::default(),
            breaks: AtomicBool::new(false),
            lost_restarts: AtomicU32::new(0),
        };
        started.read_again(host);
        started
    }

    /// Which services were restarted since the last call.
    pub(crate) fn take_restarts(&self) -> Vec<String> {
        std::mem::take(&mut self.restarts.lock().expect("no panic"))
    }

    /// Ends, and does not answer until it is restarted.
    pub(crate) fn stop(&self) {
        *self.running.lock().expect("no panic") = None;
    }

    fn read_again(&self, host: &Host) {
        let table = match source(host) {
            Some(Source::File(path)) => self.load(host, there(host, path).as_deref()),
            Some(Source::Rendered { result, .. }) => {
                if let Some(rendering) = &self.rendering {
                    write(host, result, &rendering.render(host));
                }
                self.load(host, there(host, result).as_deref())
            }
            Some(Source::Collected { result, folder, .. }) => {
                let mut table = self.load(host, there(host, result).as_deref());
                for name in host.names_in(Path::new(folder)).expect("readable") {
                    let path = Path::new(folder).join(name);
                    let other = self.load(host, Some(&path));
                    if let (Ok(table), Ok(other)) = (&mut table, other) {
                        merge(table, other);
                    }
                }
                table
            }
            None => return,
        };
        *self.running.lock().expect("no panic") = table.ok();
    }

    fn load(&self, host: &Host, path: Option<&Path>) -> Result<Table, String> {
        let mut merged = Table::new();
        let mut pending: Vec<PathBuf> = path.map(Path::to_owned).into_iter().collect();
        while !pending.is_empty() {
            let path = pending.remove(0);
            let text = host.read_text(&path).expect("readable").unwrap_or_default();
            let mut table: Table = toml::from_str(&text).map_err(|error| error.to_string())?;
            let version = table.get("version").and_then(Value::as_integer);
            if self.major == 1 && version > Some(2) {
                return Err(format!(
                    "unsupported config version `{}`",
                    version.unwrap_or(0)
                ));
            }
            if self.major == 2 {
                rename(&mut table);
            }
            let imports = table.remove("imports");
            let imports = imports.as_ref().and_then(Value::as_array);
            for import in imports.into_iter().flatten().filter_map(Value::as_str) {
                pending.extend(matches(host, &path, import));
            }
            self.take(&mut merged, table);
        }
        merged.entry("grpc").or_insert_with(|| {
            Value::Table(Table::from_iter([(
                "address".to_owned(),
                Value::from("/run/containerd/containerd.sock"),
            )]))
        });
        self.fill_in(&mut merged);
        merged.insert("version".to_owned(), Value::Integer(self.major + 1));
        Ok(merged)
    }

    /// containerd 1.x has its default runtime only if none is named.
    fn fill_in(&self, merged: &mut Table) {
        let plugin = if self.major == 1 { OLD } else { NEW };
        let mut table = merged;
        for key in ["plugins", plugin, "containerd", "runtimes"] {
            let inner = table
                .entry(key)
                .or_insert_with(|| Value::Table(Table::new()));
            table = inner.as_table_mut().expect("a table");
        }
        if self.major == 2 || table.is_empty() {
            let options = Table::from_iter([("SystemdCgroup".to_owned(), Value::from(false))]);
            let mut runc = Table::from_iter([
                (
                    "runtime_type".to_owned(),
                    Value::from("io.containerd.runc.v2"),
                ),
                ("sandbox_mode".to_owned(), Value::from("podsandbox")),
                ("options".to_owned(), Value::Table(options)),
            ]);
            if let Some(Value::Table(named)) = table.remove("runc") {
                merge(&mut runc, named);
            }
            table.insert("runc".to_owned(), Value::Table(runc));
        }
    }

    fn take(&self, merged: &mut Table, mut table: Table) {
        let plugins = table.remove("plugins");
        merge(merged, table);
        let Some(Value::Table(plugins)) = plugins else {
            return;
        };
        let known = merged
            .entry("plugins")
            .or_insert_with(|| Value::Table(Table::new()));
        let known = known.as_table_mut().expect("a table");
        match self.major {
            1 => known.extend(plugins),
            _ => merge(known, plugins),
        }
    }
}

impl Node for FakeContainerd {
    fn dump(
        &self,
        host: &Host,
        _program: &Path,
        config: Option<&Path>,
    ) -> Result<String, DumpError> {
        let loaded = self.load(host, config);
        let table = loaded.map_err(|message| DumpError::Refused { message })?;
        Ok(toml::to_string(&table).expect("TOML"))
    }

    fn restart(&self, host: &Host, service: Service, _: Duration) -> Result<(), RestartError> {
        let name = match service {
            Service::Units(units) | Service::Watched(units) => units.join(" or "),
            Service::FirstProcess => "the first process".to_owned(),
        };
        self.restarts.lock().expect("no panic").push(name);
        self.read_again(host);
        let lost = self.lost_restarts.load(Ordering::Relaxed);
        if lost > 0 {
            self.lost_restarts.store(lost - 1, Ordering::Relaxed);
            self.stop();
        }
        let offers_ours = || {
            let running = self.running.lock().expect("no panic");
            running
                .as_ref()
                .is_some_and(|table| names(table).contains(&skiff_installer::HANDLER.to_owned()))
        };
        if self.breaks.load(Ordering::Relaxed) && offers_ours() {
            self.stop();
        }
        Ok(())
    }

    fn handlers(&self, host: &Host, _socket: &Path) -> Result<Vec<String>, CriError> {
        if let Some(Source::Collected { result, marker, .. }) = source(host)
            && read(host, result).is_none_or(|text| text.starts_with(marker))
        {
            self.read_again(host);
        }
        let running = self.running.lock().expect("no panic");
        running.as_ref().map(names).ok_or(CriError::TooLate)
    }
}

fn names(table: &Table) -> Vec<String> {
    let of = |plugin: &str| {
        let runtimes = table
            .get("plugins")?
            .get(plugin)?
            .get("containerd")?
            .get("runtimes")?;
        Some(runtimes.as_table()?.keys().cloned().collect::<Vec<_>>())
    };
    [OLD, NEW].into_iter().filter_map(of).flatten().collect()
}

/// Version 3 of the configuration has the handlers in another plugin. A key under both
/// names is taken from the new one.
fn rename(table: &mut Table) {
    let Some(Value::Table(plugins)) = table.get_mut("plugins") else {
        return;
    };
    if let Some(Value::Table(old)) = plugins.remove(OLD) {
        let new = plugins
            .entry(NEW)
            .or_insert_with(|| Value::Table(Table::new()));
        let new = new.as_table_mut().expect("a table");
        for (key, value) in old {
            new.entry(key).or_insert(value);
        }
    }
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn matches(host: &Host, main: &Path, import: &str) -> Vec<PathBuf> {
    let path = main.parent().expect("a folder").join(import);
    let name = path.file_name().expect("a name").to_string_lossy();
    let Some(ending) = name.strip_prefix('*') else {
        return vec![path];
    };
    let folder = path.parent().expect("a folder");
    let names = host.names_in(folder).expect("readable");
    let fitting = names
        .iter()
        .filter(|name| name.to_string_lossy().ends_with(ending));
    fitting.map(|name| folder.join(name)).collect()
}

fn source(host: &Host) -> Option<Source> {
    Layout::detect(host).ok().map(|layout| layout.source)
}

fn there(host: &Host, path: &str) -> Option<PathBuf> {
    host.exists(path).then(|| path.into())
}

fn read(host: &Host, path: &str) -> Option<String> {
    host.read_text(Path::new(path)).expect("readable")
}

fn write(host: &Host, path: &str, text: &str) {
    let located = host.locate(Path::new(path)).expect("no circle");
    fs::write(located, text).expect("written");
}
