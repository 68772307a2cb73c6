//! Removing the handler from wherever it may be.

use std::path::Path;

use super::imports::imported_folders;
use super::{BASE_TEMPLATE, Change, Configuration, DROP_IN, TargetError, backup_of, without_ours};
use crate::config::{self, Family};
use crate::layouts::Source;
use crate::node::Node;
use crate::plan::Plan;

impl<N: Node> Configuration<'_, N> {
    /// The change that removes it, from wherever it may be.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn uninstall(&self) -> Result<Change, TargetError> {
        let main = self.main();
        let mut plan = Plan::default();
        for path in self.edited() {
            self.restore(&mut plan, &path)?;
        }
        let text = self.host.read_text(main)?;
        let said = text
            .as_deref()
            .map(|text| config::read(&without_ours(text), main, Family::Three));
        // From a file that is not understood, only our own block is removed.
        let imports = said.and_then(Result::ok).map(|said| said.imports);
        let mut folders = imported_folders(main, &imports.unwrap_or_default());
        if let Source::Collected { folder, .. } = self.layout.source {
            folders.push(folder.into());
        }
        for folder in folders {
            let path = folder.join(DROP_IN);
            let there = self.host.read_text(&path)?;
            if there.is_some_and(|text| config::without_block(&text).is_some()) {
                plan.file(self.host, &path, None)?;
            }
        }
        let now = self.dump(text.as_ref().map(|_| main));
        let socket = match (now, self.layout.socket) {
            (_, Some(socket)) => socket.into(),
            (Ok(now), None) => now.socket(),
            (Err(error), None) => return Err(error),
        };
        let notes = Vec::new();
        Ok(Change {
            plan,
            socket,
            notes,
        })
    }

    /// Removes our handler from a file that also holds other things.
    fn restore(&self, plan: &mut Plan, path: &Path) -> Result<(), TargetError> {
        let kept = backup_of(path);
        let backup = self.host.read(&kept)?;
        let Some(text) = self.host.read_text(path)? else {
            return Ok(plan.file(self.host, &kept, None)?);
        };
        let by_hand = || {
            let said = config::read(&text, path, Family::Three);
            backup.is_some() && said.is_ok_and(|said| said.by_hand)
        };
        if let Some(bare) = config::without_block(&text) {
            let nothing_else = config::was_fresh(&bare) || bare == BASE_TEMPLATE;
            let made_by_us = backup.is_none() && nothing_else;
            let after = (!made_by_us).then(|| bare.into_bytes());
            plan.file(self.host, path, after)?;
        } else if by_hand() {
            let bare = config::without_handler(&text, path)?;
            plan.file(self.host, path, Some(bare.into_bytes()))?;
        }
        plan.file(self.host, &kept, None)?;
        Ok(())
    }
}
