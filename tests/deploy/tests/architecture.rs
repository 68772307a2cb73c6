//! `ARCHITECTURE.md` says which folders and crates there are, and who imports whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use skiff_deploy_tests::files;

const PAGE: &str = "ARCHITECTURE.md";

/// The rows of the table whose headings begin like this, as cells.
fn table(headings: &str) -> Vec<Vec<String>> {
    let text = files::read(PAGE);
    let cells = |row: &str| -> Vec<String> {
        let row = row.trim_matches('|');
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {headings} |")))
        .take_while(|line| line.starts_with('|'));
    let rows: Vec<_> = rows.skip(2).map(cells).collect();
    assert!(rows.len() > 5, "{PAGE} has no table with {headings}");
    rows
}

/// What a cell has between backticks.
fn spans(cell: &str) -> BTreeSet<String> {
    let spans = cell.split('`').skip(1).step_by(2);
    spans.map(str::to_owned).collect()
}

/// The one name that a cell has.
fn name(cell: &str) -> String {
    let mut spans = spans(cell);
    assert_eq!(spans.len(), 1, "{PAGE}: `{cell}` should have one name");
    spans.pop_first().expect("there is one")
}

/// A crate as cargo knows it.
struct Package {
    name: String,
    /// Its folder, from the root of the checkout.
    folder: String,
    /// Every crate that it is built with, also by way of others.
    all: BTreeSet<String>,
    /// Crates of the checkout that it imports itself.
    ours: BTreeSet<String>,
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo's names are text")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("cargo has a list here")
}

/// Crates of the workspace, with what their programs are built with; what only their tests
/// and build scripts use does not count.
fn packages() -> Vec<Package> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(files::root())
        .output()
        .expect("cargo can be executed");
    let stderr = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "{stderr}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("cargo writes JSON");
    let names: BTreeMap<&str, &str> = list(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let is_normal = |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|k| k["kind"].is_null());
    let edges: BTreeMap<&str, Vec<&str>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let deps = list(&node["deps"]).iter().filter(is_normal);
            let deps = deps.map(|dep| text(&dep["pkg"])).collect();
            (text(&node["id"]), deps)
        })
        .collect();
    let members: BTreeSet<&str> = list(&metadata["workspace_members"])
        .iter()
        .map(text)
        .collect();
    list(&metadata["packages"])
        .iter()
        .filter(|package| members.contains(text(&package["id"])))
        .map(|package| {
            let id = text(&package["id"]);
            let mut all = BTreeSet::new();
            let mut next = vec![id];
            while let Some(id) = next.pop() {
                let new = edges[id].iter().filter(|dep| all.insert(**dep));
                next.extend(new);
            }
            let named =
                |ids: &mut dyn Iterator<Item = &&str>| ids.map(|id| names[id].to_owned()).collect();
            let manifest = Path::new(text(&package["manifest_path"]));
            let folder = manifest.parent().expect("a manifest lies in a folder");
            let folder = folder.strip_prefix(files::root());
            Package {
                name: text(&package["name"]).to_owned(),
                folder: folder
                    .expect("it lies in the checkout")
                    .display()
                    .to_string(),
                all: named(&mut all.iter()),
                ours: named(&mut edges[id].iter().filter(|dep| members.contains(**dep))),
            }
        })
        .collect()
}

#[test]
fn the_folders_are_there_and_every_crate_has_one() {
    let folders: BTreeSet<String> = table("folder | what is there")
        .iter()
        .map(|row| name(&row[0]))
        .collect();
    for folder in &folders {
        let there = files::path(folder).is_dir();
        assert!(there && folder.ends_with('/'), "{PAGE} names `{folder}`");
    }
    for package in packages() {
        let folder = format!("{}/", package.folder);
        let within = |named: &String| folder.starts_with(named.as_str()) && named != "shim/";
        let known = folders.contains(&folder) || folders.iter().any(within);
        assert!(known, "{PAGE} does not name `{folder}`");
    }
}

#[test]
fn every_crate_imports_what_its_row_says_and_knows_nothing_that_it_must_not() {
    let rows = table("crate | imports");
    let packages = packages();
    let products = |package: &&Package| {
        package.folder.starts_with("shim") || package.folder.starts_with("deploy/installer")
    };
    for package in packages.iter().filter(products) {
        let row = rows.iter().find(|row| name(&row[0]) == package.name);
        let row = row.unwrap_or_else(|| panic!("{PAGE} has no row of `{}`", package.name));
        assert_eq!(
            package.ours,
            spans(&row[1]),
            "what `{}` imports of this checkout (first: in truth; second: {PAGE})",
            package.name
        );
        for never in spans(&row[2]) {
            assert!(
                !package.all.contains(&never),
                "`{}` must not be built with `{never}`",
                package.name
            );
        }
    }
    for row in &rows {
        let name = name(&row[0]);
        let there = packages.iter().any(|package| package.name == name);
        assert!(there, "{PAGE} has a row of `{name}`");
    }
}

/// Modules of the binary crate that code names, without its tests.
fn imported(name: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let own = format!("shim/src/{name}.rs");
    for file in files::find(&format!("shim/src/{name}/**/*.rs"))
        .into_iter()
        .chain([own])
    {
        if file.ends_with("/tests.rs") {
            continue;
        }
        let source = files::read(&file);
        let code = source.split("#[cfg(test)]\nmod tests {").next();
        for line in code.unwrap_or_default().lines() {
            let line = line.trim_start();
            if line.starts_with("//") {
                continue;
            }
            for rest in line.split("crate::").skip(1) {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                all.insert(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    }
    all.remove(name);
    all
}

#[test]
fn the_modules_of_the_binary_import_what_their_rows_say() {
    let rows = table("module | imports");
    for row in &rows {
        let module = name(&row[0]);
        assert_eq!(imported(&module), spans(&row[1]), "{PAGE}: `{module}`");
    }
    let named: BTreeSet<String> = rows.iter().map(|row| name(&row[0])).collect();
    let there = files::find("shim/src/*.rs").into_iter();
    let there = there.map(|file| files::stem(&file).to_owned());
    let there = there.filter(|module| module != "lib").collect();
    assert_eq!(named, there, "modules (first: {PAGE}; second: in truth)");
}
