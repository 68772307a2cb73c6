//! Names on which the chart, the installer and the other files of `deploy/` must agree.

use std::fs;
use std::process::Command;

use serde_json::Value;
use skiff_chart_tests::cases::{self, Case};
use skiff_chart_tests::helm::{Helm, objects};
use skiff_chart_tests::{chart, root};
use skiff_installer::{HANDLER, cluster};
use skiff_test_support::paths;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn case(name: &str) -> Case {
    let mut cases = cases::rendered().unwrap().into_iter();
    let found = cases.find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("there is no case `{name}`"))
}

fn render(name: &str) -> Vec<Value> {
    let rendered = Helm::new().unwrap().template(&chart(), &case(name).values);
    objects(&rendered.unwrap()).unwrap()
}

fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    found.next().unwrap_or_else(|| panic!("there is no {kind}"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The installer's output with these arguments.
fn installer(args: &[&str]) -> String {
    let program = paths::profile_dir().join("skiff-installer");
    let output = Command::new(&program).args(args).output();
    let output = output.unwrap_or_else(|error| {
        let program = program.display();
        panic!("`{program}`: {error}; run `cargo build -p skiff-installer` first")
    });
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a help text has this word as a command or flag.
fn offers(help: &str, word: &str) -> bool {
    let mut words = help.lines().flat_map(|line| {
        let mut words = line.split_whitespace();
        [words.next(), words.next()].into_iter().flatten()
    });
    words.any(|offered| offered.trim_end_matches(',') == word)
}

#[test]
fn the_chart_is_of_the_release_that_it_installs() {
    let text = read("charts/skiff/Chart.yaml");
    let about: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(about["version"], VERSION);
    assert_eq!(about["appVersion"], VERSION);
    assert!(installer(&["--version"]).contains(VERSION));
}

#[test]
fn the_installer_knows_every_flag_that_the_chart_gives_it() {
    let daemon = &render("defaults");
    let retire = &render("forced-uninstall");
    for object in [one(daemon, "DaemonSet"), one(retire, "Job")] {
        let args = &object["spec"]["template"]["spec"]["containers"][0]["args"];
        let args: Vec<_> = args
            .as_array()
            .unwrap()
            .iter()
            .flat_map(Value::as_str)
            .collect();
        let verb = args.iter().position(|arg| !arg.starts_with("--")).unwrap();
        let all = installer(&["--help"]);
        let own = installer(&[args[verb], "--help"]);
        assert!(
            offers(&all, args[verb]),
            "`{}` is not in\n{all}",
            args[verb]
        );
        for (index, arg) in args.iter().enumerate().filter(|(index, _)| *index != verb) {
            let flag = arg.split('=').next().unwrap();
            let help = if index < verb { &all } else { &own };
            assert!(offers(help, flag), "`{flag}` is not in\n{help}");
        }
    }
}

#[test]
fn the_handler_and_the_labels_are_those_of_the_installer() {
    let objects = render("spinkube");
    let classes: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == "RuntimeClass")
        .collect();
    let names: Vec<_> = classes
        .iter()
        .flat_map(|class| class["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["skiff", "wasmtime-spin-v2"]);
    for class in classes {
        assert_eq!(class["handler"], HANDLER);
        assert_eq!(class["scheduling"]["nodeSelector"][cluster::READY], "true");
    }
    let case = case("defaults");
    let notes = Helm::new().unwrap().notes(&chart(), &case.values).unwrap();
    let columns = format!("{},{}", cluster::READY, cluster::VERSION);
    assert!(notes.contains(&columns), "{notes}");
    let readme = read("charts/skiff/README.md");
    for name in [
        cluster::READY,
        cluster::VERSION,
        cluster::UNINSTALL,
        cluster::KEPT,
    ] {
        assert!(readme.contains(name), "the README does not mention {name}");
    }
}

#[test]
fn a_node_set_up_by_hand_has_the_same_class() {
    let by_hand = objects(&read("deploy/runtimeclass.yaml")).unwrap();
    let by_hand = one(&by_hand, "RuntimeClass");
    let objects = render("defaults");
    let ours = one(&objects, "RuntimeClass");
    assert_eq!(by_hand["metadata"]["name"], ours["metadata"]["name"]);
    assert_eq!(by_hand["handler"], ours["handler"]);
}

#[test]
fn the_test_runs_a_sample_of_ours_through_the_class_of_ours() {
    let objects = render("defaults");
    let pod = one(&objects, "Pod");
    assert_eq!(
        pod["spec"]["runtimeClassName"],
        one(&objects, "RuntimeClass")["metadata"]["name"]
    );
    let sample = read("deploy/samples/hello-rust.yaml");
    let image = pod["spec"]["initContainers"][0]["image"].as_str().unwrap();
    assert!(sample.contains(&format!("image: {image}\n")), "{image}");
}
