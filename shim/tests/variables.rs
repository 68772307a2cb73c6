//! Variables from files, folders and a runtime configuration, as a user starts it.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use support::Skiff;

/// Longer than any test takes, so that a hang fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A component for each interface that reads variables, by route.
const MANIFEST: &str = r#"
spin_manifest_version = 2
[application]
name = "mine"
[variables]
who = { required = true, secret = true }
[[trigger.http]]
route = "/vars"
component = { source = "{guest:variables}", variables = { text = "{{ who }}" } }
[[trigger.http]]
route = "/config"
component = { source = "{guest:config}", variables = { text = "{{ who }}" } }
[[trigger.http]]
route = "/v1"
component = { source = "{guest:config-v1}", variables = { text = "{{ who }}" } }
[[trigger.http]]
route = "/three"
component = { source = "{guest:variables-p3}", variables = { greeting = "{{ who }}" } }
"#;

const ROUTES: [&str; 4] = [
    "/vars?name=text",
    "/config?name=text",
    "/v1?name=text",
    "/three",
];

#[test]
fn a_folder_of_variables_is_read_anew_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["first", "second"] {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("who"), format!("{name}\n")).unwrap();
    }
    symlink("first", path("..data")).unwrap();
    symlink("..data/who", path("who")).unwrap();
    let skiff = Skiff::manifest(MANIFEST)
        .env("SKIFF_VARIABLES_DIR", folder.path().to_str().unwrap())
        .env("SPIN_VARIABLE_WHO", "nobody")
        .start();
    for route in ROUTES {
        let text = skiff.get(route).text();
        assert!(text.contains("first"), "{route}: {text}");
    }
    // As the kubelet does it.
    symlink("second", path("..next")).unwrap();
    fs::rename(path("..next"), path("..data")).unwrap();
    let begin = Instant::now();
    for route in ROUTES {
        while !skiff.get(route).text().contains("second") {
            assert!(begin.elapsed() < PATIENCE, "{route}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // The volume is gone, and the environment is not taken instead.
    fs::remove_dir_all(folder.path()).unwrap();
    // Each worker notices by itself.
    let text = loop {
        let answer = skiff.get(ROUTES[0]);
        if answer.status == 500 {
            break answer.text();
        }
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(
        text.contains("cannot read") && !text.contains("nobody"),
        "{text}"
    );
    let ended = skiff.stop();
    assert!(
        ended.stderr.contains("A variable's provider has no answer"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_runtime_configuration_gives_variables_and_a_person_overrides_them() {
    let config = "[[variables_provider]]\ntype = 'env'\nprefix = 'SHOP'\n";
    let with = |config: &str, variables: &[&str]| {
        let skiff = Skiff::manifest(MANIFEST)
            .file("rc.toml", config)
            .file("all.json", r#"{ "who": "file" }"#);
        let folder = skiff.folder().to_owned();
        let file = folder.join("rc.toml");
        let mut args = vec![
            "--runtime-config-file".to_owned(),
            file.to_str().unwrap().to_owned(),
        ];
        for variable in variables {
            let variable = variable.replace("@", &format!("@{}/", folder.display()));
            args.extend(["--variable".to_owned(), variable]);
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        skiff
            .args(&args)
            .env("SHOP_WHO", "shop")
            .env("SPIN_VARIABLE_WHO", "usual")
    };
    for (config, variables, expected) in [
        ("", &[][..], "usual"),
        (config, &[], "shop"),
        (config, &["@all.json"], "file"),
        (config, &["@all.json", "who=me"], "me"),
    ] {
        let skiff = with(config, variables).start();
        assert_eq!(skiff.get(ROUTES[0]).text().trim(), expected);
    }
    for (config, variables, code, expected) in [
        (
            "\n[outbound_htp]",
            &[][..],
            65,
            "rc.toml:2:2: runtime configuration: `outbound_htp` is not a known field",
        ),
        (
            "log_dir = 's3cret'",
            &[],
            65,
            "rc.toml: `log_dir` has no effect",
        ),
        (
            "[[variables_provider]]\ntype = 'static'\nvalues = { who = 1 }",
            &[],
            65,
            "rc.toml:3:18: runtime configuration: `variables_provider[0].values.who` must be a string",
        ),
        (
            "",
            &["whom=s3cret"],
            65,
            "--variable whom: the application has no variable of that name",
        ),
        ("", &["s3cret"], 65, "--variable: expected NAME=VALUE"),
        ("", &["who=@none"], 65, "none`: No such file"),
    ] {
        let ended = with(config, variables).end();
        assert_eq!(ended.status.code(), Some(code), "{}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
        assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
    }
}
