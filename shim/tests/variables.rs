//! Variables from files, folders and a runtime configuration, as a user starts it.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::Skiff;
use support::stand_in::server;

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
fn a_signal_reaches_an_application_that_reads_variables_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("who"), "somebody").unwrap();
    let skiff = Skiff::manifest(MANIFEST)
        .env("SKIFF_VARIABLES_DIR", folder.path().to_str().unwrap())
        .env("SKIFF_WORKERS", "4")
        .start();
    assert!(skiff.get(ROUTES[0]).text().contains("somebody"));
    let ended = skiff.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
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

#[test]
fn a_secret_that_makes_no_host_is_not_told() {
    let manifest = r#"
spin_manifest_version = 2
[application]
name = "mine"
[variables]
who = { required = true, secret = true }
[[trigger.http]]
route = "/..."
component = { source = "{guest:hello}", allowed_outbound_hosts = ["https://{{ who }}"] }
"#;
    let skiff = Skiff::manifest(manifest).env("SPIN_VARIABLE_WHO", "s3cret host");
    let ended = skiff.end();
    assert_eq!(ended.status.code(), Some(65), "{}", ended.stderr);
    let told = "`https://{{ who }}`: the value of a secret variable makes it no host";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
}

/// Vault is a stand-in of ours here, which speaks its documented HTTP.
#[test]
fn a_secret_of_vault_is_asked_for_while_guests_run() {
    let secret = Arc::new(Mutex::new(Some("first")));
    let now = Arc::clone(&secret);
    let url = server(move |line| match (line, *now.lock().unwrap()) {
        ("GET /v1/kv/data/shop/who HTTP/1.1", Some(value)) => {
            let body = format!(r#"{{"data":{{"data":{{"value":"{value}"}}}}}}"#);
            (200, body.into_bytes())
        }
        _ => (403, b"s3cret".to_vec()),
    });
    let config = format!(
        "[[variables_provider]]\ntype = 'vault'\nurl = '{url}'\ntoken = 's3cret'\nmount = 'kv'\nprefix = 'shop'"
    );
    let start = || {
        let skiff = Skiff::manifest(MANIFEST).file("rc.toml", &config);
        let file = skiff.folder().join("rc.toml");
        skiff.args(&["--runtime-config-file", file.to_str().unwrap()])
    };
    let skiff = start().start();
    for route in ROUTES {
        assert!(skiff.get(route).text().contains("first"), "{route}");
    }
    let begin = Instant::now();
    *secret.lock().unwrap() = Some("second");
    for route in ROUTES {
        while !skiff.get(route).text().contains("second") {
            assert!(begin.elapsed() < PATIENCE, "{route}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    *secret.lock().unwrap() = None;
    // Each worker notices by itself.
    let text = loop {
        let answer = skiff.get(ROUTES[0]);
        if answer.status == 500 {
            break answer.text();
        }
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(text.contains("access is denied"), "{text}");
    let ended = skiff.stop();
    assert!(
        ended.stderr.contains("access is denied (status 403)"),
        "{}",
        ended.stderr
    );
    let refused = start().end();
    assert_eq!(refused.status.code(), Some(65), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("variable `who` has no value: Vault `"),
        "{}",
        refused.stderr
    );
    for shown in [text, ended.stderr, refused.stderr] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
