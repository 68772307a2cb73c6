//! The program does what the README and the pages of `docs/` say: the table of settings,
//! and every command line for it or `make`, which runs unchanged. Pods are run by the
//! suite, a node's commands on a node of the cluster's tests, and resources for a cluster
//! are checked by the tests of `deploy/`.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::{guest, root};

/// Programs that only other tests or a cluster can run.
const ELSEWHERE: [&str; 5] = ["helm", "kubectl", "./skiff-installer", "install", "ln"];

/// The README and every page of `docs/`.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    for entry in fs::read_dir(root().join("docs")).into_iter().flatten() {
        pages.push(entry.unwrap().path());
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages
}

/// The commands in a page's shell blocks, without comments.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1);
    let blocks = blocks.filter_map(|rest| Some(rest.split_once("```")?.0.replace("\\\n", " ")));
    let lines: Vec<String> = blocks
        .flat_map(|b| b.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let command = |line: &String| {
        line.split(" #")
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    lines
        .iter()
        .map(command)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// A folder with everything that the commands name: a manifest, a component and a layout.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "spin_manifest_version = 2\n[application]\nname = \"hello\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"hello\"\n[component.hello]\nsource = \"app.wasm\"\n";
    fs::write(folder.path().join("spin.toml"), manifest).unwrap();
    fs::copy(guest("hello"), folder.path().join("app.wasm")).unwrap();
    let pushed = shell("skiff push --to-layout LAYOUT", folder.path())
        .wait()
        .unwrap();
    assert!(pushed.success());
    folder
}

/// Starts a line as a shell would, with the tested program first in `PATH`.
fn shell(line: &str, folder: &Path) -> Child {
    let own = Path::new(env!("CARGO_BIN_EXE_skiff")).parent().unwrap();
    let script = format!("PATH=\"$1:$PATH\"; exec {line}");
    Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(own)
        .current_dir(folder)
        .env("SKIFF_HTTP_LISTEN_ADDR", "127.0.0.1:0")
        .env("SKIFF_CACHE_DIR", root().join("target/test-cache"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn every_command_is_run_as_it_stands() {
    let folder = place();
    let (mut ran, mut unknown) = (0, Vec::new());
    for page in pages() {
        let is_readme = page.ends_with("README.md");
        for line in commands(&fs::read_to_string(&page).unwrap()) {
            match line.split(' ').next().unwrap_or_default() {
                "skiff" => {
                    skiff_does(&line, folder.path());
                    ran += 1;
                }
                "make" => {
                    let target = line.trim_start_matches("make ");
                    let known = Command::new("make")
                        .args(["--dry-run", target])
                        .current_dir(root())
                        .output()
                        .unwrap();
                    assert!(
                        known.status.success(),
                        "{}: {line}: {known:?}",
                        page.display()
                    );
                    ran += 1;
                }
                program if ELSEWHERE.contains(&program) => {}
                // Pages for authors call their toolchains, which have their own tests.
                _ if is_readme => unknown.push(line),
                _ => {}
            }
        }
    }
    assert!(ran > 5, "only {ran} commands were found");
    assert!(unknown.is_empty(), "no test runs {unknown:?}");
}

/// Runs a `skiff` command to its end, or until it serves.
#[track_caller]
fn skiff_does(line: &str, folder: &Path) {
    let mut child = shell(line, folder);
    if line.starts_with("skiff run") {
        let mut first = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut first)
            .unwrap();
        // SAFETY: the child has not been waited for, so the process id is still its own.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        assert!(
            first.starts_with("Serving http://127.0.0.1:"),
            "{line}: {first:?}"
        );
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
}

#[test]
fn the_page_of_settings_has_their_table() {
    let text = fs::read_to_string(root().join("docs/settings.md")).unwrap();
    let (_, rest) = text.split_once("<!-- settings -->\n").unwrap();
    let (table, _) = rest.split_once("<!-- /settings -->").unwrap();
    assert_eq!(table.trim(), skiff::settings::markdown_table().trim());
}
