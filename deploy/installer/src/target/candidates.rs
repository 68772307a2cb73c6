//! The files that could hold the handler, and their content with it.

use std::path::{Path, PathBuf};

use super::imports::imported_folders;
use super::{BASE_TEMPLATE, Configuration, DROP_IN, TargetError, backup_of};
use crate::config::{self, Family, Handler, Said};
use crate::dump::Dump;
use crate::host::HostError;
use crate::layouts::Source;
use crate::node::Node;

/// How a file gets the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is the configuration.
    InPlace,
    /// It is imported by the configuration.
    DropIn,
    /// The configuration is made from it.
    Template,
    /// The distribution makes the configuration from it and from its own settings.
    Collected,
}

/// One of them.
pub(super) struct Candidate {
    pub(super) way: Way,
    pub(super) path: PathBuf,
    pub(super) before: Option<String>,
    pub(super) after: String,
}

impl<N: Node> Configuration<'_, N> {
    /// The files that could hold it, the best first.
    pub(super) fn candidates(
        &self,
        written: Option<&str>,
        text: &str,
        said: &Said,
        now: &Dump,
    ) -> Result<Vec<Candidate>, TargetError> {
        let handler = &self.handler(now);
        let main = self.main();
        let mut found = Vec::new();
        match self.layout.source {
            Source::Collected { folder, marker, .. }
                if text.is_empty() || text.lines().next() == Some(marker) =>
            {
                let path = Path::new(folder).join(DROP_IN);
                found.push(self.drop_in(Way::Collected, path, said.family, handler)?);
                return Ok(found);
            }
            _ => {}
        }
        for folder in imported_folders(main, &said.imports) {
            let path = folder.join(DROP_IN);
            found.push(self.drop_in(Way::DropIn, path, said.family, handler)?);
        }
        let complete = Handler {
            others: match said.has_runtimes {
                true => toml::Table::new(),
                false => now.forgotten_runtimes(),
            },
            ..handler.clone()
        };
        let beside = match self.layout.source {
            Source::Rendered {
                template_v3,
                template_v2,
                ..
            } => self.template(template_v3, template_v2, said.family, handler)?,
            _ => Candidate {
                way: Way::InPlace,
                path: main.to_owned(),
                before: written.map(str::to_owned),
                after: match written {
                    None => config::fresh(said.family, &complete),
                    Some(written) => self.in_place(written, text, said, &complete)?,
                },
            },
        };
        // A handler stays where an earlier run put it.
        if self.is_ours(beside.before.as_deref(), &beside.path) {
            found.clear();
        }
        found.push(beside);
        Ok(found)
    }

    fn in_place(
        &self,
        written: &str,
        text: &str,
        said: &Said,
        handler: &Handler,
    ) -> Result<String, TargetError> {
        let main = self.main();
        let block = config::block(said.family, handler, said.empty);
        if let Some(replaced) = config::with_block(written, &block) {
            return Ok(replaced);
        }
        // A handler that an earlier run put between inline tables is written again.
        let bare = match said.by_hand && self.host.exists(backup_of(main)) {
            true => config::without_handler(text, main)?,
            false => text.to_owned(),
        };
        Ok(config::with_handler(&bare, main, said.family, handler)?)
    }

    fn drop_in(
        &self,
        way: Way,
        path: PathBuf,
        family: Family,
        handler: &Handler,
    ) -> Result<Candidate, HostError> {
        Ok(Candidate {
            way,
            before: self.host.read_text(&path)?,
            path,
            after: config::drop_in(family, handler),
        })
    }

    /// The template that the distribution uses: that of version 3 if it exists, then that
    /// of version 2, and otherwise a new one for the version that was written last.
    fn template(
        &self,
        template_v3: &str,
        template_v2: &str,
        rendered: Family,
        handler: &Handler,
    ) -> Result<Candidate, HostError> {
        let three = (Path::new(template_v3), Family::Three);
        let two = (Path::new(template_v2), Family::Two);
        let there = [three, two]
            .into_iter()
            .find(|(path, _)| self.host.exists(path));
        let made = match rendered {
            Family::Two => two,
            Family::Three => three,
        };
        let (path, family) = there.unwrap_or(made);
        let before = self.host.read_text(path)?;
        let block = config::block(family, handler, false);
        let text = before.as_deref().unwrap_or(BASE_TEMPLATE);
        let after = config::with_block(text, &block).unwrap_or_else(|| format!("{text}{block}"));
        Ok(Candidate {
            way: Way::Template,
            path: path.to_owned(),
            before,
            after,
        })
    }
}
