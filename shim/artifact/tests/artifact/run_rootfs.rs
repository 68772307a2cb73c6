//! Which application is run from a container's root file system.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use skiff_artifact::{Mount, PrepareError, Prepared};
use tempfile::TempDir;

use crate::support::{COMPONENT, chain, only};

const MANIFEST: &str = r#"spin_manifest_version = 2
[application]
name = "shop"
[[trigger.http]]
route = "/..."
component = "cart"
[component.cart]
source = "app.wasm"
"#;

/// A root file system with these files.
fn root(files: &[(&str, &[u8])]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

fn from(root: &Path, entrypoint: &[&str]) -> Result<Prepared, PrepareError> {
    from_directory(root, entrypoint, "/")
}

fn from_directory(
    root: &Path,
    entrypoint: &[&str],
    directory: &str,
) -> Result<Prepared, PrepareError> {
    let words: Vec<String> = entrypoint.iter().map(|word| (*word).to_owned()).collect();
    Prepared::from_rootfs(root, &words, Path::new(directory))
}

fn with_files(files: &str) -> TempDir {
    let manifest = format!("{MANIFEST}{files}\n");
    root(&[
        ("spin.toml", manifest.as_bytes()),
        ("app.wasm", COMPONENT),
        ("static/a.css", b"body {}"),
    ])
}

#[test]
fn the_manifest_at_the_root_wins_over_the_entrypoint() {
    let root = root(&[("spin.toml", MANIFEST.as_bytes()), ("app.wasm", COMPONENT)]);
    for entrypoint in [&["/"][..], &[], &["/app.wasm"], &["sleep", "1"]] {
        let prepared = from(root.path(), entrypoint).unwrap();
        assert_eq!(prepared.application.name, "shop");
        assert_eq!(prepared.components[0].wasm, root.path().join("app.wasm"));
        assert_eq!(prepared.command, None);
    }
}

#[test]
fn the_entrypoint_may_name_another_manifest() {
    let root = root(&[
        ("srv/shop/app.toml", MANIFEST.as_bytes()),
        ("srv/shop/app.wasm", COMPONENT),
    ]);
    let prepared = from(root.path(), &["/srv/shop/app.toml"]).unwrap();
    assert_eq!(
        prepared.components[0].wasm,
        root.path().join("srv/shop/app.wasm")
    );
    let error = from(root.path(), &["/srv/other.toml"]).unwrap_err();
    assert!(matches!(error, PrepareError::Read { .. }), "{error}");
}

#[test]
fn the_entrypoint_may_name_a_component() {
    let root = root(&[("bin/tool.wasm", COMPONENT)]);
    for entrypoint in [&["/bin/tool.wasm", "-v"], &["bin/tool.wasm", "-v"]] {
        let prepared = from(root.path(), entrypoint).unwrap();
        assert_eq!(prepared.application.name, "tool");
        assert_eq!(prepared.command.unwrap(), entrypoint);
        assert_eq!(prepared.components[0].id, entrypoint[0]);
    }
}

#[test]
fn a_relative_entrypoint_is_below_the_working_directory() {
    let root = root(&[
        ("app/bin/tool.wasm", COMPONENT),
        ("app/app.toml", MANIFEST.as_bytes()),
        ("app/app.wasm", COMPONENT),
        ("tool.wasm", COMPONENT),
    ]);
    let wasm = |entrypoint: &str| {
        let prepared = from_directory(root.path(), &[entrypoint], "/app").unwrap();
        prepared.components[0].wasm.clone()
    };
    for (entrypoint, file) in [
        ("bin/tool.wasm", "app/bin/tool.wasm"),
        ("./bin/tool.wasm", "app/bin/tool.wasm"),
        ("../tool.wasm", "tool.wasm"),
        ("/tool.wasm", "tool.wasm"),
        ("app.toml", "app/app.wasm"),
    ] {
        assert_eq!(wasm(entrypoint), root.path().join(file), "{entrypoint}");
    }
    let error = from_directory(root.path(), &["tool.wasm"], "/app").unwrap_err();
    assert!(chain(&error).contains("app/tool.wasm"), "{error}");
}

#[test]
fn what_lies_beside_the_manifests_folder_is_of_the_image() {
    let manifest = format!(
        "{MANIFEST}files = [{{ source = \"../../../static\", destination = \"/s\" }}, {{ source = \"\", destination = \"/own\" }}]\n"
    );
    let root = root(&[
        ("srv/app.toml", manifest.as_bytes()),
        ("srv/app.wasm", COMPONENT),
        ("static/a.css", b"body {}"),
    ]);
    let prepared = from(root.path(), &["/srv/app.toml"]).unwrap();
    let hosts: Vec<_> = prepared.components[0]
        .mounts
        .iter()
        .map(|m| &m.host)
        .collect();
    assert_eq!(
        hosts,
        [&root.path().join("static"), &root.path().join("srv")]
    );
}

#[test]
fn nothing_to_run_tells_what_was_looked_for() {
    let root = root(&[("bin/sh", b"x")]);
    let error = from(root.path(), &["/bin/sh", "-c"])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/spin.toml") && error.contains("/bin/sh -c"),
        "{error}"
    );
    let error = from(root.path(), &[]).unwrap_err();
    assert!(
        matches!(error, PrepareError::NothingToRun { .. }),
        "{error}"
    );
}

#[test]
fn links_do_not_leave_the_root() {
    let root = root(&[("real/app.wasm", COMPONENT)]);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("app.wasm"), COMPONENT).unwrap();
    symlink("/real/app.wasm", root.path().join("app.wasm")).unwrap();
    symlink(
        outside.path().join("app.wasm"),
        root.path().join("out.wasm"),
    )
    .unwrap();

    let prepared = from(root.path(), &["/app.wasm"]).unwrap();
    assert_eq!(
        prepared.components[0].wasm,
        root.path().join("real/app.wasm")
    );
    for way_out in ["/out.wasm", "../../out.wasm"] {
        let error = only(from(root.path(), &[way_out]).unwrap_err());
        assert!(matches!(error, PrepareError::Binary { .. }), "{error}");
    }
}

#[test]
fn what_is_no_component_is_told() {
    let root = root(&[
        ("text.wasm", b"hello"),
        ("native.wasm", b"\x7fELF\x02\x01\x01"),
    ]);
    fs::create_dir(root.path().join("folder.wasm")).unwrap();
    let error = only(from(root.path(), &["/text.wasm"]).unwrap_err());
    assert!(matches!(error, PrepareError::NotWasm { .. }), "{error}");
    let error = only(from(root.path(), &["/native.wasm"]).unwrap_err());
    assert!(matches!(error, PrepareError::Precompiled { .. }), "{error}");
    let error = only(from(root.path(), &["/folder.wasm"]).unwrap_err());
    assert!(matches!(error, PrepareError::NotAFile { .. }), "{error}");
}

#[test]
fn folders_are_mounted_where_they_are() {
    let root = with_files(
        r#"files = ["static", { source = "/static", destination = "/www" }, { source = ".", destination = "/" }]"#,
    );
    let prepared = from(root.path(), &["/"]).unwrap();
    let mount = |host: &str, guest: &str| Mount {
        host: root.path().join(host),
        guest: guest.to_owned(),
    };
    assert_eq!(
        prepared.components[0].mounts,
        [
            mount("static", "/static"),
            mount("static", "/www"),
            Mount {
                host: root.path().to_owned(),
                guest: "/".to_owned()
            },
        ]
    );
}

#[test]
fn single_files_globs_and_exclusions_are_refused() {
    for (files, named) in [
        (r#"files = ["static/a.css"]"#, "static/a.css"),
        (r#"files = ["static/*.css"]"#, "static/*.css"),
        (
            r#"files = [{ source = "app.wasm", destination = "/x" }]"#,
            "app.wasm",
        ),
        (r#"files = ["absent"]"#, "absent"),
        ("files = [\"static\"]\nexclude_files = [\"*.map\"]", "*.map"),
        (
            r#"files = [{ source = "static", destination = "a\u0000b" }]"#,
            "a\0b",
        ),
    ] {
        let root = with_files(files);
        let error = only(from(root.path(), &["/"]).unwrap_err());
        assert!(
            matches!(&error, PrepareError::DirectMount { mount, .. } if mount == named),
            "{error}"
        );
    }
}

#[test]
fn a_manifest_with_mistakes_names_file_and_line() {
    let root = root(&[("spin.toml", b"spin_manifest_version = 3")]);
    let printed = chain(&from(root.path(), &["/"]).unwrap_err());
    assert!(printed.contains("spin.toml:1:"), "{printed}");
    let root = with_files(r#"files = [{ source = "static", destination = "../x" }]"#);
    let printed = chain(&from(root.path(), &["/"]).unwrap_err());
    assert!(printed.contains("spin.toml:9:"), "{printed}");
    assert!(printed.contains(r#""../x", which has `..`"#), "{printed}");
}

/// Opening a pipe blocks until the other end is open; a device may act.
#[test]
fn what_is_no_file_is_refused_and_not_opened() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let pipe = |root: &TempDir, path: &str| {
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, root.path().join(path), FileType::Fifo, mode, 0).unwrap();
    };
    for (entrypoint, name) in [
        (&["/app.toml"][..], "app.toml"),
        (&[], "spin.toml"),
        (&["/app.wasm"], "app.wasm"),
    ] {
        let root = root(&[]);
        pipe(&root, name);
        let error = chain(&from(root.path(), entrypoint).unwrap_err());
        assert!(
            error.contains(&format!("/{name}` is not a file")),
            "{error}"
        );
    }
    let root = root(&[("spin.toml", MANIFEST.as_bytes())]);
    pipe(&root, "app.wasm");
    let error = chain(&from(root.path(), &[]).unwrap_err());
    assert!(error.contains("/app.wasm` is not a file"), "{error}");
}
