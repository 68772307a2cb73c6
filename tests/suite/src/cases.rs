//! The cases, a module for each subject.

mod commands;
mod containers;
mod defaults;
mod deletes;
mod images;
mod keeping;
mod kinds;
mod life;
mod linux;
mod network;
mod output;
mod pages;
mod privileges;
mod refusals;
mod samples;
mod settings;
mod stores;
mod volumes;

use crate::harness::Case;

/// All cases, the most basic first.
pub fn all() -> Vec<Case> {
    [
        linux::cases(),
        pages::cases(),
        containers::cases(),
        privileges::cases(),
        kinds::cases(),
        samples::cases(),
        settings::cases(),
        defaults::cases(),
        output::cases(),
        volumes::cases(),
        stores::cases(),
        network::cases(),
        commands::cases(),
        life::cases(),
        deletes::cases(),
        keeping::cases(),
        images::cases(),
        refusals::cases(),
    ]
    .into_iter()
    .flatten()
    .map(Case::shortened)
    .collect()
}
