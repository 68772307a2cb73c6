//! What a guest gets of what its component was granted, and of what was not.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_host::{Cli, Filesystem, Grants, KnownValues, Mount, ValueSource, Values, Variables};
use skiff_manifest::Template;
use support::{built, get, quiet};

fn variables(component: &str) -> Variables {
    let template = Template::parse("hello {{ who }}").unwrap();
    let templates = BTreeMap::from([("greeting".parse().unwrap(), template)]);
    let known = KnownValues(BTreeMap::from([("who".to_owned(), "world".to_owned())]));
    let names = ["who".parse().unwrap()];
    let values = Values::new(names, vec![ValueSource::Known(known)]);
    Variables::new(component, templates, Arc::new(values)).unwrap()
}

#[tokio::test]
async fn a_variable_is_read_through_every_interface_of_variables() {
    for (name, found, unknown) in [
        ("variables", "hello world", (500, "Undefined")),
        ("config-v1", "hello world", (500, "Provider")),
        ("config", "Some(\"hello world\")\n", (200, "None")),
    ] {
        let grants = Grants {
            variables: variables(name),
            ..quiet(name)
        };
        let guest = built(name, grants);
        let greeting = get(&guest, "/?name=greeting").await;
        assert_eq!(greeting, (200, found.to_owned()), "{name}");
        // The application's own values are not visible to the component.
        for other in ["who", "nothing"] {
            let (status, text) = get(&guest, &format!("/?name={other}")).await;
            assert_eq!(status, unknown.0, "{name}: {text}");
            assert!(text.contains(unknown.1), "{name}: {text}");
        }
    }
}

#[tokio::test]
async fn a_request_to_a_host_is_denied() {
    let guest = built("fetch", quiet("fetch"));
    let (status, text) = get(&guest, "/?host=127.0.0.1").await;
    assert_eq!(status, 502);
    assert!(text.contains("RequestDenied"), "{text}");
}

#[tokio::test]
async fn the_environment_is_what_was_granted_and_nothing_of_our_own() {
    let guest = built("environment", quiet("environment"));
    assert_eq!(get(&guest, "/").await, (200, String::new()));
    let grants = quiet("environment");
    let guest = built(
        "environment",
        Grants {
            cli: Cli {
                environment: vec![("COLOUR".into(), "blue".into())],
                ..grants.cli
            },
            ..grants
        },
    );
    let environment = get(&guest, "/").await;
    assert_eq!(environment, (200, "env COLOUR=blue\n".to_owned()));
}

#[tokio::test]
async fn files_are_seen_where_they_are_mounted_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("note.txt"), "a note").unwrap();
    let grants = Grants {
        filesystem: Filesystem {
            mounts: vec![Mount {
                host: folder.path().to_owned(),
                guest: "/data".to_owned(),
                writable: false,
            }],
            ..Filesystem::default()
        },
        ..quiet("read-files")
    };
    let guest = built("read-files", grants);
    let note = get(&guest, "/?path=/data/note.txt").await;
    assert_eq!(note, (200, "a note".to_owned()));
    for path in ["/", "/etc", "/data/../etc/passwd"] {
        let (status, text) = get(&guest, &format!("/?path={path}")).await;
        assert_eq!(status, 404, "{path}: {text}");
    }
    let none = built("read-files", quiet("read-files"));
    assert_eq!(get(&none, "/?path=/data/note.txt").await.0, 404);
}
