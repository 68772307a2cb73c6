//! Applications in folders, as `skiff run` takes them.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use skiff_artifact::{FetchError, FilesError, PrepareError, Prepared};
use tempfile::TempDir;

use crate::support::{COMPONENT, chain, component, only};

/// An application folder with some files, and `component` lines for its component.
pub(crate) fn shop(component: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!(
        r#"spin_manifest_version = 2
[application]
name = "shop"
version = "1.2.0"
authors = ["Ada <ada@example.com>", "Bob"]
[[trigger.http]]
route = "/..."
component = "cart"
[component.cart]
source = "cart.wasm"
{component}
"#
    );
    let files = [
        ("spin.toml", manifest.as_bytes()),
        ("cart.wasm", COMPONENT),
        ("static/a.css", b"body {}"),
        ("static/b.map", b"map"),
        ("static/deep/c.css", b"p {}"),
        ("readme.txt", b"read me"),
    ];
    for (path, content) in files {
        write(folder.path(), path, content);
    }
    folder
}

pub(crate) fn write(folder: &Path, path: &str, content: &[u8]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Fetches nothing.
pub(crate) fn nothing(_: &str, _: &str) -> Result<PathBuf, FetchError> {
    Err("nothing is fetched here".into())
}

/// The files that the component's guest sees.
fn seen(folder: &TempDir) -> Result<Vec<String>, PrepareError> {
    seen_from(folder.path())
}

fn seen_from(application: &Path) -> Result<Vec<String>, PrepareError> {
    let scratch = tempfile::tempdir().unwrap();
    let prepared = Prepared::from_folder(application, scratch.path(), &nothing)?;
    let mount = &prepared.components[0].mounts[0];
    assert_eq!(mount.guest, "/");
    let mut paths = Vec::new();
    let mut folders = vec![mount.host.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(&mount.host).unwrap();
                paths.push(below.display().to_string());
            }
        }
    }
    paths.sort();
    Ok(paths)
}

#[track_caller]
fn refused(component: &str) -> FilesError {
    match only(seen(&shop(component)).unwrap_err()) {
        PrepareError::Files(error) => error,
        other => panic!("{component}: {other:?}"),
    }
}

/// The printed error for an application whose manifest has mistakes.
#[track_caller]
fn mistaken(component: &str) -> String {
    match only(seen(&shop(component)).unwrap_err()) {
        error @ PrepareError::Application { .. } => chain(&error),
        other => panic!("{component}: {other:?}"),
    }
}

#[test]
fn components_are_looked_for_beside_the_mistakes_of_a_manifest() {
    let folder = shop(
        "colour = \"green\"\n[component.lost]\nsource = \"lost.wasm\"\n[component.text]\nsource = \"readme.txt\"\n[component.fine]\nsource = \"cart.wasm\"",
    );
    let Err(PrepareError::Components(mistakes)) = seen(&folder) else {
        panic!("the mistakes were not reported");
    };
    let lines = mistakes.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, part) in lines.iter().zip(["`colour`", "lost.wasm", "readme.txt"]) {
        assert!(line.contains(part), "{line}");
    }
    let rest = mistakes.rest.components.iter();
    assert_eq!(rest.map(|c| c.id.as_str()).collect::<Vec<_>>(), ["fine"]);
}

#[test]
fn a_folder_and_its_manifest_mean_the_same() {
    let folder = shop("");
    let scratch = tempfile::tempdir().unwrap();
    let by_folder = Prepared::from_folder(folder.path(), scratch.path(), &nothing).unwrap();
    let by_file =
        Prepared::from_folder(&folder.path().join("spin.toml"), scratch.path(), &nothing).unwrap();
    assert_eq!(by_folder, by_file);
    assert_eq!(by_folder.components[0].mounts, []);
}

#[test]
fn patterns_keep_their_paths() {
    for (files, expected) in [
        (
            r#"["static"]"#,
            &["static/a.css", "static/b.map", "static/deep/c.css"][..],
        ),
        (r#"["readme.txt"]"#, &["readme.txt"]),
        (r#"["./static/a.css"]"#, &["static/a.css"]),
        (r#"["static/*.css"]"#, &["static/a.css"]),
        (r#"["**/*.css"]"#, &["static/a.css", "static/deep/c.css"]),
        (r#"["static/*.none"]"#, &[]),
        (r#"["static/deep/../*.css"]"#, &["static/a.css"]),
        (
            r#"["static/**"]"#,
            &["static/a.css", "static/b.map", "static/deep/c.css"],
        ),
        (r#"["*/deep/*"]"#, &["static/deep/c.css"]),
    ] {
        assert_eq!(
            seen(&shop(&format!("files = {files}"))).unwrap(),
            expected,
            "{files}"
        );
    }
}

#[test]
fn placed_folders_and_files_go_to_their_destination() {
    for (files, expected) in [
        (
            r#"{ source = "static", destination = "/" }"#,
            &["a.css", "b.map", "deep/c.css"][..],
        ),
        (
            r#"{ source = "static/deep", destination = "www/x/" }"#,
            &["www/x/c.css"],
        ),
        (
            r#"{ source = "readme.txt", destination = "/doc/README" }"#,
            &["doc/README"],
        ),
    ] {
        assert_eq!(
            seen(&shop(&format!("files = [{files}]"))).unwrap(),
            expected,
            "{files}"
        );
    }
}

#[test]
fn the_folder_may_be_named_in_any_way() {
    let folder = shop(r#"files = ["static/**/*", "readme.txt"]"#);
    let root = folder.path().to_owned();
    let other = tempfile::tempdir().unwrap();
    symlink(&root, other.path().join("link")).unwrap();
    let expected = [
        "readme.txt",
        "static/a.css",
        "static/b.map",
        "static/deep/c.css",
    ];
    for named in [
        root.join("spin.toml"),
        root.join("."),
        root.join("./"),
        root.join("static/.."),
        root.join("static/../spin.toml"),
        other.path().join("link"),
        other.path().join("link/spin.toml"),
    ] {
        assert_eq!(seen_from(&named).unwrap(), expected, "{}", named.display());
    }
}

#[test]
fn a_link_to_a_folder_inside_is_followed_in_every_form() {
    for (files, expected) in [
        (r#"["static"]"#, "static/more/x.txt"),
        (r#"["static/**/*"]"#, "static/more/x.txt"),
        (r#"["static/*/x.txt"]"#, "static/more/x.txt"),
        (
            r#"[{ source = "static", destination = "/www" }]"#,
            "www/more/x.txt",
        ),
        (r#"["static/more"]"#, "static/more/x.txt"),
        (
            r#"[{ source = "static/more", destination = "/" }]"#,
            "x.txt",
        ),
    ] {
        let folder = shop(&format!("files = {files}"));
        write(folder.path(), "elsewhere/x.txt", b"x");
        symlink("../elsewhere", folder.path().join("static/more")).unwrap();
        let seen = seen(&folder).unwrap();
        assert!(
            seen.iter().any(|path| path == expected),
            "{files}: {seen:?}"
        );
    }
}

#[test]
fn what_cannot_be_had_is_told_and_may_be_excluded() {
    for files in [
        r#"["static"]"#,
        r#"["static/**/*"]"#,
        r#"[{ source = "static", destination = "/static" }]"#,
    ] {
        let folder = shop(&format!("files = {files}"));
        let place = |name: &str| folder.path().join("static").join(name);
        symlink("nowhere", place("lost")).unwrap();
        symlink(".", place("round")).unwrap();
        let _socket = UnixListener::bind(place("socket")).unwrap();
        let Err(PrepareError::Components(mistakes)) = seen(&folder) else {
            panic!("{files}: missing files were not reported");
        };
        let told = mistakes.to_string();
        assert_eq!(mistakes.faults.len(), 3, "{told}");
        for told_of in [
            "lost` is a link to `nowhere`",
            "round` is a link to a folder that",
            "socket` is neither",
        ] {
            assert!(told.contains(told_of), "{told}");
        }

        let manifest = folder.path().join("spin.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        let excluded = r#"exclude_files = ["**/lost", "static/round", "**/socket"]"#;
        fs::write(&manifest, format!("{text}{excluded}")).unwrap();
        assert_eq!(seen(&folder).unwrap().len(), 3, "{files}");
    }
}

#[test]
fn what_no_entry_names_may_be_broken() {
    let folder = shop(r#"files = ["static/*.css"]"#);
    symlink("nowhere", folder.path().join("static/lost")).unwrap();
    symlink("..", folder.path().join("static/deep/round")).unwrap();
    assert_eq!(seen(&folder).unwrap(), ["static/a.css"]);
}

#[test]
fn a_pattern_that_matches_nothing_is_warned_about() {
    let folder = shop(r#"files = ["dist/**/*", "static/*.none", "static/*.css"]"#);
    let scratch = tempfile::tempdir().unwrap();
    let prepared = Prepared::from_folder(folder.path(), scratch.path(), &nothing).unwrap();
    assert_eq!(
        prepared.warnings,
        [
            "component `cart`: `dist/**/*` in `files` matches no file",
            "component `cart`: `static/*.none` in `files` matches no file",
        ]
    );
}

#[test]
fn a_source_may_be_beside_the_folder_or_be_the_folder() {
    let parent = tempfile::tempdir().unwrap();
    write(parent.path(), "static/x.txt", b"x");
    write(parent.path(), "static/x.map", b"x");
    let app = parent.path().join("app");
    let source = shop(concat!(
        "files = [{ source = \"../static\", destination = \"/s\" }, { source = \"\", destination = \"/own\" }]\n",
        "exclude_files = [\"../static/*.map\", \"*.wasm\", \"static/*\"]",
    ));
    fs::rename(source.keep(), &app).unwrap();
    assert_eq!(
        seen_from(&app).unwrap(),
        ["own/readme.txt", "own/spin.toml", "s/x.txt"]
    );
}

#[test]
fn all_mistakes_of_all_components_are_told() {
    let folder = shop(
        r#"files = ["absent", { source = "nowhere", destination = "/" }]
[component.tax]
source = "tax.wasm"
[component.fine]
source = "fine.wasm"
"#,
    );
    write(folder.path(), "tax.wasm", b"(component)");
    write(folder.path(), "fine.wasm", COMPONENT);
    let error = Prepared::from_folder(folder.path(), folder.path(), &nothing).unwrap_err();
    let PrepareError::Components(mistakes) = error else {
        panic!("{error:?}");
    };
    let [absent, nowhere, tax] = &mistakes.lines()[..] else {
        panic!("{mistakes}");
    };
    assert!(absent.contains("`cart`: `absent`"), "{absent}");
    assert!(nowhere.contains("`cart`: `nowhere`"), "{nowhere}");
    assert!(
        tax.contains("`tax`") && tax.contains("not a WebAssembly"),
        "{tax}"
    );
    let ids: Vec<_> = mistakes.rest.components.iter().map(|c| &c.id).collect();
    assert_eq!(ids, ["fine"]);
}

#[test]
fn a_placed_source_may_be_outside_of_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "x.txt", b"x");
    let folder = shop(&format!(
        r#"files = [{{ source = "{}", destination = "/" }}]"#,
        outside.path().display()
    ));
    assert_eq!(seen(&folder).unwrap(), ["x.txt"]);
}

#[test]
fn exclusions_apply_to_folders_and_patterns() {
    for files in [
        r#"["static"]"#,
        r#"["static/**/*"]"#,
        r#"[{ source = "static", destination = "/static" }]"#,
    ] {
        let folder = shop(&format!(
            "files = {files}\nexclude_files = [\"**/*.map\", \"static/deep/*\"]"
        ));
        assert_eq!(seen(&folder).unwrap(), ["static/a.css"], "{files}");
    }
}

#[test]
fn the_folders_own_name_is_no_pattern() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("a[b]*");
    let source = shop(r#"files = ["static/*.css"]"#);
    fs::rename(source.keep(), &folder).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let prepared = Prepared::from_folder(&folder, scratch.path(), &nothing).unwrap();
    assert!(
        prepared.components[0].mounts[0]
            .host
            .join("static/a.css")
            .is_file()
    );
}

#[test]
fn entries_that_cannot_be_are_named() {
    assert!(
        matches!(refused(r#"files = ["absent"]"#), FilesError::Missing { pattern, .. } if pattern == "absent")
    );
    assert!(matches!(
        refused(r#"files = [{ source = "absent", destination = "/" }]"#),
        FilesError::Missing { .. }
    ));
    for dots in ["./", "static/./", "static/../"] {
        let error = refused(&format!(r#"files = ["{dots}"]"#));
        assert!(
            matches!(&error, FilesError::Dots { pattern, .. } if pattern == dots),
            "{error}"
        );
    }
    assert!(matches!(
        refused(r#"files = [{ source = "readme.txt", destination = "/doc/" }]"#),
        FilesError::FolderDestination { .. }
    ));
    assert!(matches!(
        refused(r#"files = [{ source = "static", destination = "a\u0000b" }]"#),
        FilesError::Destination { .. }
    ));
    assert!(matches!(
        refused(r#"files = ["static/***"]"#),
        FilesError::Pattern { .. }
    ));
    assert!(matches!(
        refused(r#"files = ["stat*/../*"]"#),
        FilesError::Parent { .. }
    ));
    assert!(matches!(
        refused("files = [\"static\"]\nexclude_files = [\"[\"]"),
        FilesError::Pattern { .. }
    ));
    assert!(matches!(
        refused(r#"files = ["static", { source = "readme.txt", destination = "static" }]"#),
        FilesError::Collision { .. }
    ));
}

#[test]
fn entries_that_the_manifest_refuses_are_printed_with_their_places() {
    for (files, told) in [
        (
            r#"["."]"#,
            r#"component `cart`: `files` has the pattern ".", which ends in `.`"#,
        ),
        (r#"["static/.."]"#, "which ends in `..`"),
        (
            r#"["../*/secret.txt"]"#,
            r#""../*/secret.txt", which is outside the application's folder"#,
        ),
        (
            r#"[{ source = "static", destination = "../x" }]"#,
            r#"the destination "../x", which has `..`"#,
        ),
    ] {
        let printed = mistaken(&format!("files = {files}"));
        assert!(
            printed.starts_with("the application is not valid: spin.toml:11:")
                && printed.contains(told),
            "{printed}"
        );
    }
    let printed = mistaken("files = [\".\",\n\"..\"]");
    assert!(
        printed.contains("spin.toml:11:") && printed.contains("spin.toml:12:"),
        "{printed}"
    );
}

#[test]
fn patterns_that_leave_the_folder_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret.txt", b"secret");
    let secret = outside.path().join("secret.txt");
    for pattern in [secret.to_str().unwrap(), "link/*.txt", "link/secret.txt"] {
        let folder = shop(&format!(r#"files = ["{pattern}"]"#));
        symlink(outside.path(), folder.path().join("link")).unwrap();
        let error = only(seen(&folder).unwrap_err());
        assert!(
            matches!(error, PrepareError::Files(FilesError::Outside { .. })),
            "{pattern}: {error}"
        );
    }
}

#[test]
fn links_that_leave_the_folder_are_refused() {
    let folder = shop(r#"files = ["static"]"#);
    symlink("a.css", folder.path().join("static/inside.css")).unwrap();
    assert!(
        seen(&folder)
            .unwrap()
            .contains(&"static/inside.css".to_owned())
    );
    symlink("/etc/passwd", folder.path().join("static/outside")).unwrap();
    let error = only(seen(&folder).unwrap_err());
    assert!(
        matches!(&error, PrepareError::Files(FilesError::Outside { path, .. }) if path == Path::new("/etc/passwd")),
        "{error}"
    );
}

#[test]
fn sources_that_have_to_be_fetched_are_refused_by_name() {
    let manifest = |source: &str| {
        let folder = shop("");
        let path = folder.path().join("spin.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"cart.wasm\"", source)).unwrap();
        folder
    };
    let source = r#"{ registry = "example.com", package = "acme:cart", version = "1.0.0" }"#;
    let folder = manifest(source);
    let error = only(Prepared::from_folder(folder.path(), folder.path(), &nothing).unwrap_err());
    assert!(
        matches!(&error, PrepareError::Remote { component, reference, .. } if component == "cart" && reference == "acme:cart@1.0.0"),
        "{error}"
    );
    // What is named by its URL is fetched, and checked.
    let digest = skiff_artifact::Digest::of(COMPONENT).to_string();
    let source = format!(r#"{{ url = "https://example.com/c.wasm", digest = "{digest}" }}"#);
    let folder = manifest(&source);
    let fetched = folder.path().join("fetched");
    fs::write(&fetched, COMPONENT).unwrap();
    let fetch = |url: &str, asked: &str| -> Result<PathBuf, FetchError> {
        assert_eq!(
            (url, asked),
            ("https://example.com/c.wasm", digest.as_str())
        );
        Ok(fetched.clone())
    };
    let prepared = Prepared::from_folder(folder.path(), folder.path(), &fetch).unwrap();
    assert_eq!(prepared.components[0].wasm, fetched);
    fs::write(&fetched, component(20, 1)).unwrap();
    let error = only(Prepared::from_folder(folder.path(), folder.path(), &fetch).unwrap_err());
    assert!(matches!(error, PrepareError::Mismatch { .. }), "{error}");
    let error = only(Prepared::from_folder(folder.path(), folder.path(), &nothing).unwrap_err());
    assert!(
        matches!(&error, PrepareError::Fetch { component, .. } if component == "cart"),
        "{error}"
    );
}

#[test]
fn a_missing_or_wrong_binary_is_named() {
    let folder = shop("");
    fs::write(folder.path().join("cart.wasm"), b"(component)").unwrap();
    let error = only(Prepared::from_folder(folder.path(), folder.path(), &nothing).unwrap_err());
    assert!(matches!(&error, PrepareError::NotWasm { component, .. } if component == "cart"));
    fs::remove_file(folder.path().join("cart.wasm")).unwrap();
    let error = Prepared::from_folder(folder.path(), folder.path(), &nothing).unwrap_err();
    assert!(error.to_string().contains("cart.wasm"), "{error}");
}

#[test]
fn dependencies_are_found_by_path_and_by_component() {
    let folder = shop(
        r#"[component.cart.dependencies]
"acme:shop/price" = { path = "price.wasm" }
"acme:shop/tax" = { component = "tax", inherit_configuration = ["variables"] }
[component.tax]
source = "tax.wasm"
"#,
    );
    write(folder.path(), "price.wasm", &component(20, 1));
    write(folder.path(), "tax.wasm", &component(20, 2));
    let prepared = Prepared::from_folder(folder.path(), folder.path(), &nothing).unwrap();
    let names: Vec<_> = prepared.components[0]
        .dependencies
        .iter()
        .map(|dependency| {
            (
                dependency.name.as_str(),
                dependency.wasm.file_name().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            ("acme:shop/price", "price.wasm".as_ref()),
            ("acme:shop/tax", "tax.wasm".as_ref())
        ]
    );
    assert_eq!(prepared.components.len(), 2);
}

#[test]
fn middleware_is_refused_with_its_component() {
    let folder = shop("");
    write(folder.path(), "auth.wasm", &component(20, 1));
    let path = folder.path().join("spin.toml");
    let text = fs::read_to_string(&path).unwrap();
    let around = "component = \"cart\"\ndependencies.middleware = [{ path = \"auth.wasm\" }]";
    fs::write(&path, text.replace("component = \"cart\"", around)).unwrap();
    let error = only(Prepared::from_folder(folder.path(), folder.path(), &nothing).unwrap_err());
    assert!(
        matches!(&error, PrepareError::Middleware { component } if component == "cart"),
        "{error}"
    );
    assert!(
        error.to_string().contains("`cart` has middleware"),
        "{error}"
    );
}

#[test]
fn a_single_file_is_an_application() {
    let folder = shop("");
    let prepared = Prepared::from_wasm_file(&folder.path().join("cart.wasm")).unwrap();
    assert_eq!(prepared.application.name, "cart");
    assert_eq!(
        prepared.command.as_deref(),
        Some(&["cart.wasm".to_owned()][..])
    );
    assert_eq!(prepared.components[0].build(|_| None).unwrap(), COMPONENT);
    let named = folder.path().join("cart.wasm");
    assert_eq!(prepared.components[0].id, named.to_str().unwrap());
    let error = only(Prepared::from_wasm_file(&folder.path().join("readme.txt")).unwrap_err());
    assert!(matches!(error, PrepareError::NotWasm { .. }), "{error}");
}
