//! Every node of `tests/fixtures/nodes`: install, install again, uninstall, each compared
//! byte for byte. A new case is a new folder.

mod support;

use std::fs;
use std::path::Path;

use serde::Deserialize;
use skiff_installer::exit::code_of;
use support::tree::Tree;
use support::{TestNode, fixtures};

const VERSION: &str = "1.0.0";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    containerd: String,
    restarts: Option<Vec<String>>,
    refused: Option<String>,
    exit: Option<u8>,
}

#[test]
fn every_node_becomes_what_it_should_and_what_it_was() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(fixtures()).expect("a folder of fixtures") {
        let folder = entry.expect("an entry").path();
        if !folder.is_dir() {
            continue;
        }
        count += 1;
        let name = folder.file_name().expect("a name").to_string_lossy();
        if let Err(reason) = check(&folder) {
            wrong.push(format!("---- {name} ----\n{reason}"));
        }
    }
    assert!(count > 40, "only {count} nodes in {}", fixtures().display());
    wrong.sort();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check(folder: &Path) -> Result<(), String> {
    let text = fs::read_to_string(folder.join("case.toml")).map_err(|error| error.to_string())?;
    let case: Case = toml::from_str(&text).map_err(|error| error.to_string())?;
    let node = TestNode::copy_of(&folder.join("before"), &case.containerd);
    match &case.refused {
        Some(reason) => refused(&node, reason, case.exit),
        None => served(&node, folder, &case.restarts.unwrap_or_default()),
    }
}

fn refused(node: &TestNode, reason: &str, exit: Option<u8>) -> Result<(), String> {
    let before = node.tree();
    let payload = node.payload(VERSION);
    let Err(error) = node.installer().install(&payload, false) else {
        return Err("it is not refused".to_owned());
    };
    let error = anyhow::Error::from(error);
    let text = format!("{error:#}");
    same("the reason holds", true, text.contains(reason)).map_err(|_| text)?;
    same("exit code", exit, Some(code_of(&error) as u8))?;
    same_tree("refused", &before, &node.tree())?;
    same("restarts", Vec::new(), node.containerd.take_restarts())
}

fn served(node: &TestNode, folder: &Path, restarts: &[String]) -> Result<(), String> {
    let before = node.tree();
    let payload = node.payload(VERSION);
    let installer = node.installer();

    let shown = told(installer.install(&payload, true))?;
    same_tree("after a dry run", &before, &node.tree())?;
    if let Ok(expected) = fs::read_to_string(folder.join("dry-run")) {
        same("dry run", expected, shown.clone())?;
    }

    let done = told(installer.install(&payload, false))?;
    same("dry run and run", shown, done)?;
    same(
        "restarts",
        restarts.to_vec(),
        node.containerd.take_restarts(),
    )?;
    let after = Tree::of(&folder.join("after")).checked_out();
    same_tree("installed", &after, &node.tree().checked_out())?;
    let installed = node.tree();

    let again = told(installer.install(&payload, false))?;
    same("a second run", String::new(), again)?;
    same_tree("installed again", &installed, &node.tree())?;
    let none = node.containerd.take_restarts();
    same("restarts of a second run", Vec::new(), none)?;

    told(installer.uninstall(true))?;
    same_tree("after a dry run of uninstall", &installed, &node.tree())?;
    told(installer.uninstall(false))?;
    same_tree("uninstalled", &before, &node.tree())?;
    let restarted = node.containerd.take_restarts();
    same("restarts of uninstall", restarts.to_vec(), restarted)?;

    told(installer.uninstall(false))?;
    let none = node.containerd.take_restarts();
    same("restarts of a second uninstall", Vec::new(), none)
}

fn told(
    report: Result<skiff_installer::install::Report, skiff_installer::install::InstallError>,
) -> Result<String, String> {
    match report {
        Ok(report) => Ok(report.to_string()),
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, wanted: T, is: T) -> Result<(), String> {
    if wanted == is {
        return Ok(());
    }
    Err(format!("{what}: should be\n{wanted:?}\n  and is\n{is:?}"))
}

fn same_tree(what: &str, wanted: &Tree, is: &Tree) -> Result<(), String> {
    let difference = wanted.difference(is);
    match difference.is_empty() {
        true => Ok(()),
        false => Err(format!("{what}:\n{difference}")),
    }
}
