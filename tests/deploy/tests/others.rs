//! Files for tools other than Kubernetes: systemd, Nomad, Terraform, Talos.

use std::process::Command;

use skiff_deploy_tests::{documented, files};

const VERSION: &str = env!("CARGO_PKG_VERSION");

const UNIT: &str = "deploy/systemd/skiff@.service";

fn directives(key: &str) -> Vec<String> {
    let unit = files::read(UNIT);
    let lines = unit
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_unit_gives_requests_time_to_finish() {
    let limit = directives("TimeoutStopSec");
    let limit = limit.first().and_then(|text| text.strip_suffix('s'));
    let limit: u64 = limit.and_then(|text| text.parse().ok()).expect("seconds");
    assert!(limit > documented::seconds("SKIFF_DRAIN_TIMEOUT").as_secs());
}

#[test]
fn the_unit_gives_up_on_exit_codes_that_another_try_does_not_heal() {
    let codes = documented::exit_codes();
    let told = directives("RestartPreventExitStatus");
    let told: Vec<u8> = told[0]
        .split(' ')
        .map(|code| code.parse().expect("a code"))
        .collect();
    assert_eq!(told, [64, 65, 78]);
    for code in told {
        assert!(codes.contains_key(&code), "{code} is not in the page");
    }
}

#[test]
fn the_unit_sets_what_is_a_setting() {
    // Only the folder of compiled code belongs to the user instead of the application.
    assert_eq!(
        directives("Environment"),
        ["SKIFF_CACHE_DIR=/var/cache/skiff/%i"]
    );
    assert_eq!(directives("CacheDirectory"), ["skiff/%i"]);
    assert!(files::read("docs/artifacts.md").contains("`SKIFF_CACHE_DIR`"));
}

/// Is skipped if systemd's own check is not installed.
#[test]
fn systemd_takes_the_unit() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = std::env::current_exe().expect("this program has a path");
    let unit = files::read(UNIT).replace("/usr/local/bin/skiff", &program.display().to_string());
    let path = folder.path().join("skiff@hello.service");
    std::fs::write(&path, unit).expect("it can be written");
    let Ok(verified) = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&path)
        .output()
    else {
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    let about = said.lines().filter(|line| line.contains("skiff@"));
    let about: Vec<&str> = about.collect();
    assert!(verified.status.success() && about.is_empty(), "{said}");
}

#[test]
fn hcl_files_parse() {
    let names = ["deploy/**/*.hcl", "deploy/**/*.tf"]
        .map(files::find)
        .concat();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in names {
        let parsed = hcl::parse(&files::read(&name));
        assert!(parsed.is_ok(), "{name}: {}", parsed.expect_err("it is not"));
    }
}

#[test]
fn nomad_gives_requests_time_to_finish() {
    let job = files::read("deploy/nomad/hello.nomad.hcl");
    let limit = job
        .lines()
        .find_map(|line| line.trim().strip_prefix("kill_timeout"));
    let limit: u64 = limit
        .and_then(|rest| rest.trim_matches([' ', '=', '"', 's']).parse().ok())
        .expect("seconds");
    assert!(limit > documented::seconds("SKIFF_DRAIN_TIMEOUT").as_secs());
}

#[test]
fn pools_of_terraform_have_the_label_and_the_taint_that_the_chart_is_told() {
    for name in files::find("deploy/terraform/*/main.tf") {
        let text = files::read(&name);
        let told = text.matches("\"skiff.dev/wasm\" = \"true\"").count();
        assert_eq!(told, 2, "{name}: once for the nodes, once for the chart");
        assert!(
            text.contains("key = \"skiff.dev/wasm\", value = \"true\", effect = \"NoSchedule\"")
        );
        let release = ["oci://ghcr.io/skiff-dev/charts", "skiff-system"];
        assert!(release.iter().all(|word| text.contains(word)), "{name}");
        assert!(text.contains(&format!("\"{VERSION}\"")), "{name}");
    }
}

#[test]
fn what_is_downloaded_is_of_this_version() {
    let mut seen = 0;
    for name in files::find("deploy/**/*.*") {
        if name.contains("/installer/") || name.contains("/release/") {
            continue;
        }
        for url in files::read(&name).split("releases/download/").skip(1) {
            let url = url
                .split(|c: char| c.is_whitespace() || c == '"')
                .next()
                .unwrap_or_default();
            let expected = format!("v{VERSION}/skiff-{VERSION}-linux-");
            assert!(url.starts_with(&expected), "{name}: {url}");
            assert!(
                url.ends_with("amd64.tar.gz") || url.ends_with("arm64.tar.gz"),
                "{name}: {url}"
            );
            seen += 1;
        }
    }
    assert!(seen > 3, "only {seen} downloads");
}

#[test]
fn the_extension_of_talos_says_what_the_page_on_nodes_says() {
    let part: toml::Table = files::read("deploy/talos/10-skiff.part")
        .parse()
        .expect("TOML");
    let page = files::read("docs/node-by-hand.md");
    let (_, block) = page.split_once("```toml\n").expect("the page has it");
    let (block, _) = block.split_once("```").expect("a block ends");
    let mut told: toml::Table = block.parse().expect("TOML");
    // The part is inserted into a file with a version.
    told.remove("version");
    assert_eq!(part, told);
    let manifest: serde_json::Value =
        serde_saphyr::from_str(&files::read("deploy/talos/manifest.yaml")).expect("YAML");
    assert_eq!(manifest["metadata"]["version"], VERSION);
}
