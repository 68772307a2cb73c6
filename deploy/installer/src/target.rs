//! Which file gets the handler, and its new content.
//!
//! If the configuration imports a folder, a separate file in it is the least intrusive
//! place. Whether that works is not guessed from version numbers: containerd 1.x lets an
//! imported table replace the one of the main file. So each candidate is checked with
//! containerd first, and the next one is tried if anything but our handler would change.

mod candidates;
mod effective;
mod imports;
mod undo;

use std::path::{Path, PathBuf};

use crate::config::{self, ConfigError, Family, Handler};
use crate::dump::{Dump, DumpError};
use crate::host::{Host, HostError};
use crate::layouts::{Layout, LayoutError, Search, Source};
use crate::node::Node;
use crate::plan::Plan;
use crate::{RUNTIME, SHIM};
use candidates::{Candidate, Way};
use imports::with_imports;

/// The name of our file in an imported folder.
const DROP_IN: &str = "skiff.toml";

/// The suffix of a file's backup.
pub(crate) const BACKUP: &str = ".before-skiff";

/// A template that only includes the distribution's own.
const BASE_TEMPLATE: &str = "{{ template \"base\" . }}\n";

/// Why the configuration is not changed.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// containerd's program is missing.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A file must not be changed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// containerd rejects it.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// A file cannot be used.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The distribution has not written it yet.
    #[error(
        "`{}` does not exist yet: {name} writes it when it starts", path.display()
    )]
    NotRendered {
        /// The distribution.
        name: &'static str,
        /// The file.
        path: PathBuf,
    },
}

/// A change of the configuration, and where containerd listens with it.
#[derive(Debug)]
pub struct Change {
    /// The changes of files; empty if there are none to make.
    pub plan: Plan,
    /// Where containerd listens.
    pub socket: PathBuf,
    /// Files and tables that containerd ignores, although it seems to read them.
    pub notes: Vec<String>,
}

/// The configuration of one node's containerd.
#[derive(Debug)]
pub struct Configuration<'a, N> {
    host: &'a Host,
    node: &'a N,
    layout: &'static Layout,
}

impl<'a, N: Node> Configuration<'a, N> {
    /// The configuration of a node of this layout.
    pub fn new(host: &'a Host, node: &'a N, layout: &'static Layout) -> Self {
        Self { host, node, layout }
    }

    /// The change that adds the handler, checked by containerd.
    ///
    /// # Errors
    ///
    /// If the configuration is not understood, or must not be changed.
    pub fn install(&self) -> Result<Change, TargetError> {
        let main = self.main();
        let written = self.host.read_text(main)?;
        if written.is_none() && matches!(self.layout.source, Source::Rendered { .. }) {
            return Err(TargetError::NotRendered {
                name: self.layout.name,
                path: main.to_owned(),
            });
        }
        let written = written.as_deref();
        let text = written.map(without_ours).unwrap_or_default();
        // A fault with a known line is reported with it, instead of containerd's message.
        config::read(&text, main, Family::Three)?;
        let now = self.dump(written.map(|_| main))?;
        let said = config::read(&text, main, now.family())?;
        let socket = self.socket(&now);
        // A distribution that assembles it is responsible for its content.
        let notes = match self.layout.source {
            Source::Collected { .. } => Vec::new(),
            _ => effective::look(self.host, main, &text, &now)?,
        };
        let candidates = self.candidates(written, &text, &said, &now)?;
        let ours = candidates
            .iter()
            .any(|candidate| self.is_ours(candidate.before.as_deref(), &candidate.path));
        if let Some(kind) = now.handler()
            && !ours
        {
            if kind != RUNTIME {
                return Err(ConfigError::TakenElsewhere {
                    path: main.to_owned(),
                    kind: kind.to_owned(),
                }
                .into());
            }
            // It was written by hand, and stays unchanged.
            let plan = Plan::default();
            return Ok(Change {
                plan,
                socket,
                notes,
            });
        }
        let mut refused = None;
        for candidate in candidates {
            if candidate.before.as_ref() == Some(&candidate.after) {
                let plan = Plan::default();
                return Ok(Change {
                    plan,
                    socket,
                    notes,
                });
            }
            match self.check(&candidate, &text, &now) {
                Ok(()) => {
                    let plan = self.place(&candidate)?;
                    return Ok(Change {
                        plan,
                        socket,
                        notes,
                    });
                }
                Err(TargetError::Dump(error)) if candidate.way == Way::DropIn => {
                    refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or(DumpError::NotSeen).into())
    }

    /// Where containerd listens, and the options of its handler.
    ///
    /// # Errors
    ///
    /// If containerd cannot be asked.
    pub fn running(&self) -> Result<(PathBuf, Handler), TargetError> {
        let main = self.main();
        let there = self.host.exists(main).then_some(main);
        let now = self.dump(there)?;
        Ok((self.socket(&now), self.handler(&now)))
    }

    /// What containerd reads.
    fn main(&self) -> &'static Path {
        Path::new(match self.layout.source {
            Source::File(path) => path,
            Source::Rendered { result, .. } | Source::Collected { result, .. } => result,
        })
    }

    /// Every file into which a handler may have been put beside others.
    fn edited(&self) -> Vec<PathBuf> {
        match self.layout.source {
            Source::File(path) => vec![path.into()],
            Source::Rendered {
                template_v3,
                template_v2,
                ..
            } => vec![template_v3.into(), template_v2.into()],
            Source::Collected { result, .. } => vec![result.into()],
        }
    }

    fn handler(&self, now: &Dump) -> Handler {
        let path = match self.layout.search {
            Search::ByName => None,
            Search::ByPath => Some(Path::new(self.layout.links).join(SHIM)),
        };
        Handler {
            path,
            ..now.as_default_runtime()
        }
    }

    fn socket(&self, now: &Dump) -> PathBuf {
        self.layout
            .socket
            .map_or_else(|| now.socket(), PathBuf::from)
    }

    fn dump(&self, config: Option<&Path>) -> Result<Dump, TargetError> {
        let program = self.layout.containerd(self.host)?;
        let text = self.node.dump(self.host, program, config)?;
        Ok(Dump::parse(&text, program)?)
    }

    /// Whether a file holds a handler of an earlier run.
    fn is_ours(&self, text: Option<&str>, path: &Path) -> bool {
        let Some(text) = text else {
            return false;
        };
        let beside = || {
            config::read(text, path, Family::Three).is_ok_and(|said| said.by_hand)
                && self.host.exists(backup_of(path))
        };
        config::without_block(text).is_some() || beside()
    }

    /// Lets containerd read the new configuration, from a temporary folder.
    fn check(&self, candidate: &Candidate, text: &str, now: &Dump) -> Result<(), TargetError> {
        let folder = PathBuf::from(format!("/run/skiff-installer-{}", std::process::id()));
        let file = folder.join("config.toml");
        let mut plan = Plan::default();
        plan.folder(self.host, &folder)?;
        let main = self.main();
        let shown = match candidate.way {
            Way::Collected => candidate.after.clone(),
            Way::InPlace => with_imports(&candidate.after, main, None)?,
            Way::Template => {
                let block = config::block_in(&candidate.after).unwrap_or_default();
                let rendered = format!("{text}{block}");
                with_imports(&rendered, main, None)?
            }
            Way::DropIn => {
                let beside = folder.join(DROP_IN);
                let content = Some(candidate.after.clone().into_bytes());
                plan.file(self.host, &beside, content)?;
                with_imports(text, main, Some(&beside))?
            }
        };
        plan.file(self.host, &file, Some(shown.into_bytes()))?;
        plan.run(self.host)?;
        let dumped = self.dump(Some(&file));
        plan.undo(self.host);
        let dumped = dumped?;
        match candidate.way {
            // The distribution assembles it, so it is checked alone.
            Way::Collected => dumped.check_handler()?,
            _ => now.check_change(&dumped)?,
        }
        Ok(())
    }

    fn place(&self, candidate: &Candidate) -> Result<Plan, HostError> {
        let path = &candidate.path;
        let mut plan = Plan::default();
        let folder = path.parent().unwrap_or(Path::new("/"));
        plan.folder(self.host, folder)?;
        let edited = matches!(candidate.way, Way::InPlace | Way::Template);
        if let Some(before) = candidate.before.as_deref()
            && edited
            && !self.is_ours(Some(before), path)
        {
            plan.file(self.host, &backup_of(path), Some(before.into()))?;
        }
        plan.file(self.host, path, Some(candidate.after.clone().into_bytes()))?;
        Ok(plan)
    }
}

fn backup_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(BACKUP);
    name.into()
}

fn without_ours(text: &str) -> String {
    config::without_block(text).unwrap_or_else(|| text.to_owned())
}
