//! Installing, uninstalling and rolling back, on one node.

mod error;
mod lock;
mod versions;
mod wait;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::defaults;
use crate::host::{Host, HostError};
use crate::in_use::{InUse, versions as installed_versions};
use crate::layouts::{Layout, STATE, Service};
use crate::node::Node;
use crate::payload::Payload;
use crate::plan::{Plan, Step};
use crate::state::State;
use crate::target::{Change, Configuration};
use crate::{PROGRAM, SHIM};

pub use error::{InstallError, NotBack};

/// How long to wait for containerd.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until systemd has stopped and started it. It takes a second; a k3s server that
    /// stops a whole control plane takes much longer.
    pub restarted_within: Duration,
    /// Until it answers and offers the handler. It takes a second or two; a node
    /// that starts a control plane with it may take a minute.
    pub back_within: Duration,
    /// Until a distribution has noticed a changed file.
    pub seen_within: Duration,
    /// Between two queries.
    pub again: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            restarted_within: Duration::from_secs(180),
            back_within: Duration::from_secs(90),
            seen_within: Duration::from_secs(20),
            again: Duration::from_millis(100),
        }
    }
}

/// What was done, or would be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The steps, one after the other.
    pub steps: Vec<Step>,
    /// Whether containerd was restarted.
    pub restarted: bool,
    /// Versions that stay because pods run on them.
    pub kept: Vec<String>,
}

impl Report {
    /// Whether there was nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && !self.restarted
    }

    fn add(&mut self, plan: &Plan) {
        self.steps.extend(plan.steps().iter().cloned());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| step.fmt(out))?;
        if self.restarted {
            writeln!(out, "restart containerd")?;
        }
        for version in &self.kept {
            writeln!(out, "keep version {version}, on which pods run")?;
        }
        Ok(())
    }
}

/// The installer of one node.
#[derive(Debug)]
pub struct Installer<'a, N> {
    host: &'a Host,
    node: &'a N,
    limits: Limits,
    over: Option<&'a AtomicBool>,
}

impl<'a, N: Node> Installer<'a, N> {
    /// For the node with this root.
    pub fn new(host: &'a Host, node: &'a N, limits: Limits) -> Self {
        Self {
            host,
            node,
            limits,
            over: None,
        }
    }

    /// The same, but nothing is put on the node once this flag is set. An uninstall after
    /// setting it leaves nothing behind.
    pub fn until(self, over: &'a AtomicBool) -> Self {
        let over = Some(over);
        Self { over, ..self }
    }

    /// Installs a version and makes new pods run on it. A dry run only reports what it
    /// would do.
    ///
    /// # Errors
    ///
    /// If it is not possible; the node is then as it was before.
    pub fn install(&self, payload: &Payload, dry_run: bool) -> Result<Report, InstallError> {
        let _lock = self.begin()?;
        let layout = Layout::detect(self.host)?;
        let change = self.configuration(layout).install()?;
        for note in &change.notes {
            tracing::warn!("{note}");
        }
        let in_use = InUse::look(self.host, layout.home);
        let mut state = State::read(self.host, layout.home)?.unwrap_or_default();
        let mut files = self.place_version(layout, payload, &in_use)?;
        self.lead_links(&mut files, layout, payload.version())?;
        let before = (state.version != payload.version())
            .then(|| Path::new(layout.home).join(&state.version))
            .filter(|folder| !state.version.is_empty() && self.host.exists(folder));
        defaults::put(&mut files, self.host, payload.defaults(), before.as_deref())?;
        state.created.extend(new_folders(&files, &change, layout));
        state.take_version(payload.version());
        let record = State::path(layout.home);
        files.file(self.host, &record, Some(state.bytes()))?;
        let old = self.old_versions(layout, &state, &in_use);

        let mut report = Report {
            restarted: !change.plan.is_empty() || self.lacks_handler(&change.socket),
            ..Report::default()
        };
        report.add(&files);
        report.add(&change.plan);
        report.add(&old);
        if dry_run {
            return Ok(report);
        }
        files.run(self.host)?;
        if let Err(error) = change.plan.run(self.host) {
            files.undo(self.host);
            return Err(error.into());
        }
        if let Err(error) = self.bring_back(layout, &change, report.restarted, true) {
            files.undo(self.host);
            return Err(error);
        }
        old.run(self.host)?;
        Ok(report)
    }

    /// Puts a version on the node without using it, so that it can be tried. Returns the
    /// path of its shim on the node.
    ///
    /// # Errors
    ///
    /// If it is not possible; the node is then as it was before.
    pub fn place(&self, payload: &Payload) -> Result<PathBuf, InstallError> {
        let _lock = self.begin()?;
        let layout = Layout::detect(self.host)?;
        let in_use = InUse::look(self.host, layout.home);
        let mut plan = self.place_version(layout, payload, &in_use)?;
        if State::read(self.host, layout.home)?.is_none() {
            // For the first version: an uninstall must know what was created.
            self.lead_state(&mut plan, layout)?;
            let state = State {
                created: outside(plan.made_folders(), layout),
                ..State::default()
            };
            let record = State::path(layout.home);
            plan.file(self.host, &record, Some(state.bytes()))?;
        }
        plan.run(self.host)?;
        let folder = Path::new(layout.home).join(payload.version());
        Ok(folder.join(SHIM))
    }

    /// Removes everything from the node. Versions on which pods still run stay, with what
    /// is needed to end those pods; a second run removes them, too.
    ///
    /// # Errors
    ///
    /// If it is not possible; the configuration is then as it was before.
    pub fn uninstall(&self, dry_run: bool) -> Result<Report, InstallError> {
        let _lock = lock::take(self.host)?;
        let layout = Layout::detect(self.host)?;
        let change = self.configuration(layout).uninstall()?;
        let in_use = InUse::look(self.host, layout.home);
        let state = State::read(self.host, layout.home)?;
        let mut files = Plan::default();
        let mut report = Report {
            restarted: !change.plan.is_empty(),
            ..Report::default()
        };
        if in_use.is_empty() {
            // If nothing was installed, nothing belongs to us, whatever its name.
            if state.is_some() || self.host.exists(layout.home) {
                self.clear(&mut files, layout, &state.unwrap_or_default())?;
            }
        } else {
            let installed = installed_versions(self.host, layout.home);
            report.kept = installed
                .into_iter()
                .filter(|version| !in_use.is_free(version))
                .collect();
        }
        report.add(&change.plan);
        report.add(&files);
        if dry_run {
            return Ok(report);
        }
        change.plan.run(self.host)?;
        if report.restarted {
            self.bring_back(layout, &change, true, false)?;
        }
        files.run(self.host)?;
        Ok(report)
    }

    /// Makes new pods run on the previous version.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn rollback(&self, dry_run: bool) -> Result<Report, InstallError> {
        let _lock = self.begin()?;
        let layout = Layout::detect(self.host)?;
        let state = State::read(self.host, layout.home)?;
        let version = state.as_ref().map(|state| state.version.clone());
        let version = version.filter(|version| !version.is_empty());
        let home = Path::new(layout.home);
        let there = |previous: &String| self.host.exists(home.join(previous).join(PROGRAM));
        let Some((state, previous)) = state.and_then(|state| {
            let previous = state.previous.clone().filter(there)?;
            Some((state, previous))
        }) else {
            return Err(InstallError::NoPrevious { version });
        };
        let state = State {
            version: previous.clone(),
            previous: None,
            checked: true,
            failed: version,
            created: state.created,
        };
        let mut plan = Plan::default();
        plan.link(self.host, &home.join("current"), Path::new(&previous))?;
        defaults::put_back(&mut plan, self.host, &home.join(&previous))?;
        plan.file(self.host, &State::path(layout.home), Some(state.bytes()))?;
        let in_use = InUse::look(self.host, layout.home);
        let old = self.old_versions(layout, &state, &in_use);
        let mut report = Report::default();
        report.add(&plan);
        report.add(&old);
        if !dry_run {
            plan.run(self.host)?;
            old.run(self.host)?;
        }
        Ok(report)
    }

    /// Records that a version failed here, so that it is not tried again, and removes it.
    ///
    /// # Errors
    ///
    /// If that cannot be written.
    pub fn discard(&self, version: &str) -> Result<(), InstallError> {
        let _lock = self.begin()?;
        let layout = Layout::detect(self.host)?;
        let mut state = State::read(self.host, layout.home)?.unwrap_or_default();
        state.failed = Some(version.to_owned());
        let mut plan = Plan::default();
        plan.file(self.host, &State::path(layout.home), Some(state.bytes()))?;
        plan.run(self.host)?;
        let in_use = InUse::look(self.host, layout.home);
        Ok(self.old_versions(layout, &state, &in_use).run(self.host)?)
    }

    /// Records that an application has run on the version in use.
    ///
    /// # Errors
    ///
    /// If that cannot be written.
    pub fn confirm(&self) -> Result<(), InstallError> {
        let _lock = self.begin()?;
        let layout = Layout::detect(self.host)?;
        let Some(mut state) = State::read(self.host, layout.home)? else {
            return Ok(());
        };
        state.checked = true;
        let mut plan = Plan::default();
        plan.file(self.host, &State::path(layout.home), Some(state.bytes()))?;
        Ok(plan.run(self.host)?)
    }

    /// Whether nothing of Skiff is on the node, also if the node is not supported.
    ///
    /// # Errors
    ///
    /// If it cannot be determined.
    pub fn is_clear(&self) -> Result<bool, InstallError> {
        let Ok(layout) = Layout::detect(self.host) else {
            return Ok(true);
        };
        let change = self.configuration(layout).uninstall()?;
        Ok(change.plan.is_empty() && !self.host.exists(layout.home))
    }

    /// Whether containerd offers the handler now.
    pub fn is_offered(&self) -> bool {
        self.running().is_ok_and(|(socket, _)| {
            let handlers = self.node.handlers(self.host, &socket);
            handlers.is_ok_and(|handlers| wait::is_among(&handlers))
        })
    }

    /// Removes versions that are no longer needed.
    ///
    /// # Errors
    ///
    /// If one cannot be removed.
    pub fn tidy(&self) -> Result<Report, InstallError> {
        let _lock = lock::take(self.host)?;
        let layout = Layout::detect(self.host)?;
        let mut report = Report::default();
        if let Some(state) = State::read(self.host, layout.home)? {
            let in_use = InUse::look(self.host, layout.home);
            let old = self.old_versions(layout, &state, &in_use);
            old.run(self.host)?;
            report.add(&old);
        }
        Ok(report)
    }

    /// What is installed, if anything.
    ///
    /// # Errors
    ///
    /// If it cannot be determined.
    pub fn state(&self) -> Result<Option<State>, InstallError> {
        let layout = Layout::detect(self.host)?;
        Ok(State::read(self.host, layout.home)?)
    }

    /// Where containerd listens, and the options of the handler.
    ///
    /// # Errors
    ///
    /// If containerd cannot be asked.
    pub fn running(&self) -> Result<(PathBuf, crate::config::Handler), InstallError> {
        let layout = Layout::detect(self.host)?;
        Ok(self.configuration(layout).running()?)
    }

    /// The lock, for everything that changes the node.
    fn begin(&self) -> Result<lock::Lock, InstallError> {
        let lock = lock::take(self.host)?;
        if self.over.is_some_and(|over| over.load(Ordering::SeqCst)) {
            return Err(InstallError::Busy);
        }
        Ok(lock)
    }

    fn configuration(&self, layout: &'static Layout) -> Configuration<'_, N> {
        Configuration::new(self.host, self.node, layout)
    }

    fn lacks_handler(&self, socket: &Path) -> bool {
        let handlers = self.node.handlers(self.host, socket);
        handlers.is_ok_and(|handlers| !wait::is_among(&handlers))
    }

    /// Makes containerd read the changed configuration, and waits until it is back. If it
    /// does not come back, restores the old one.
    fn bring_back(
        &self,
        layout: &Layout,
        change: &Change,
        restart: bool,
        with_handler: bool,
    ) -> Result<(), InstallError> {
        let wait = wait::Wait {
            host: self.host,
            node: self.node,
            socket: &change.socket,
            limits: self.limits,
        };
        if !restart {
            return wait
                .for_handler(true)
                .map_err(|source| InstallError::NotWell {
                    source,
                    restarted: false,
                });
        }
        let Err(error) = wait.restarted(layout.service, with_handler) else {
            return Ok(());
        };
        if change.plan.is_empty() {
            return Err(InstallError::NotWell {
                source: error,
                restarted: true,
            });
        }
        tracing::error!(%error, "Putting the old configuration back");
        change.plan.undo(self.host);
        // It may or may not offer the handler: it only has to be back.
        let service = match layout.service {
            Service::Watched(units) => Service::Units(units),
            service => service,
        };
        match wait.restarted_with_anything(service) {
            Ok(()) => Err(InstallError::Restored(error)),
            Err(after) => Err(InstallError::Lost {
                change: Box::new(error),
                after: Box::new(after),
            }),
        }
    }

    /// Everything of ours on a node, except the configuration.
    fn clear(&self, plan: &mut Plan, layout: &Layout, state: &State) -> Result<(), HostError> {
        self.remove_links(plan, layout)?;
        for folder in [Some(layout.home), layout.state, Some(STATE)]
            .into_iter()
            .flatten()
        {
            let path = Path::new(folder);
            match self.host.entry(path)? {
                crate::host::Entry::Absent => {}
                crate::host::Entry::Link(before) => plan.push(Step::Link {
                    path: path.to_owned(),
                    before: Some(before),
                    after: None,
                }),
                _ => plan.push(Step::RemoveTree(path.to_owned())),
            }
        }
        for folder in state.created.iter().rev() {
            if !folder.starts_with(layout.home) {
                plan.push(Step::RemoveFolder(folder.clone()));
            }
        }
        Ok(())
    }
}

/// Folders that we created, outside the one that is removed as a whole.
fn new_folders(files: &Plan, change: &Change, layout: &Layout) -> Vec<PathBuf> {
    let made = files.made_folders().chain(change.plan.made_folders());
    outside(made, layout)
}

fn outside<'a>(folders: impl Iterator<Item = &'a Path>, layout: &Layout) -> Vec<PathBuf> {
    folders
        .filter(|folder| !folder.starts_with(layout.home))
        .map(Path::to_owned)
        .collect()
}
