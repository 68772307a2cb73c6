//! Versions on the node, and the links to them.

use std::path::Path;

use super::{InstallError, Installer};
use crate::host::{Entry, HostError};
use crate::in_use::{InUse, versions};
use crate::layouts::{Layout, STATE};
use crate::node::Node;
use crate::payload::{Payload, is_same_file};
use crate::plan::{Plan, Step};
use crate::state::State;
use crate::{PROGRAM, SHIM};

/// The link to the version that new pods run on.
const CURRENT: &str = "current";

impl<N: Node> Installer<'_, N> {
    /// Puts a version into its folder, if it is missing.
    pub(super) fn place_version(
        &self,
        layout: &Layout,
        payload: &Payload,
        in_use: &InUse,
    ) -> Result<Plan, InstallError> {
        let version = payload.version();
        let folder = Path::new(layout.home).join(version);
        let program = folder.join(PROGRAM);
        let located = self.host.locate(&program)?;
        let same = is_same_file(&payload.program(), &located).map_err(|source| HostError {
            what: "compare",
            path: program.clone(),
            source,
        })?;
        let mut plan = Plan::default();
        plan.folder(self.host, &folder)?;
        if !same {
            let replaces = self.host.exists(&program);
            if replaces && !in_use.is_free(version) {
                let version = version.to_owned();
                return Err(InstallError::SameVersion { version });
            }
            plan.push(Step::CopyProgram {
                source: payload.program(),
                path: program,
                replaces,
            });
        }
        plan.link(self.host, &folder.join(SHIM), Path::new(PROGRAM))?;
        Ok(plan)
    }

    /// Points the stable names at a version.
    pub(super) fn lead_links(
        &self,
        plan: &mut Plan,
        layout: &Layout,
        version: &str,
    ) -> Result<(), InstallError> {
        let current = Path::new(layout.home).join(CURRENT);
        plan.link(self.host, &current, Path::new(version))?;
        let links = Path::new(layout.links);
        plan.folder(self.host, links)?;
        for name in [SHIM, PROGRAM] {
            let path = links.join(name);
            match self.host.entry(&path)? {
                Entry::Absent => {}
                Entry::Link(target) if target.starts_with(layout.home) => {}
                // A user's own command-line program does no harm to pods.
                _ if name == PROGRAM => continue,
                _ => return Err(InstallError::Foreign { path }),
            }
            plan.link(self.host, &path, &current.join(name))?;
        }
        self.lead_state(plan, layout)
    }

    /// Links the shim's state folder to where its state may be kept.
    pub(super) fn lead_state(&self, plan: &mut Plan, layout: &Layout) -> Result<(), InstallError> {
        if let Some(state) = layout.state {
            let place = Path::new(STATE);
            plan.folder(self.host, Path::new(state))?;
            plan.folder(self.host, place.parent().unwrap_or(place))?;
            match self.host.entry(place)? {
                Entry::Absent => {}
                Entry::Link(target) if target == Path::new(state) => {}
                _ => return Err(InstallError::Foreign { path: STATE.into() }),
            }
            plan.link(self.host, place, Path::new(state))?;
        }
        Ok(())
    }

    /// Removes the stable names that are ours.
    pub(super) fn remove_links(&self, plan: &mut Plan, layout: &Layout) -> Result<(), HostError> {
        for name in [SHIM, PROGRAM] {
            let path = Path::new(layout.links).join(name);
            if let Entry::Link(target) = self.host.entry(&path)?
                && target.starts_with(layout.home)
            {
                plan.push(Step::Link {
                    path,
                    before: Some(target),
                    after: None,
                });
            }
        }
        Ok(())
    }

    /// Removes versions that no pod runs on and that are not the rollback target.
    pub(super) fn old_versions(&self, layout: &Layout, state: &State, in_use: &InUse) -> Plan {
        let mut plan = Plan::default();
        for version in versions(self.host, layout.home) {
            let wanted = version == state.version || Some(&version) == state.previous.as_ref();
            if !wanted && in_use.is_free(&version) {
                plan.push(Step::RemoveTree(Path::new(layout.home).join(version)));
            }
        }
        plan
    }
}
