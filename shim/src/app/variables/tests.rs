use std::fs;
use std::os::unix::fs::symlink;

use skiff_host::VariablesProvider as _;
use skiff_manifest::toml;

use super::*;

const MANIFEST: &str = r#"
spin_manifest_version = 2
[application]
name = "shop"
[variables]
mode = { default = "none" }
db_pass = { required = true, secret = true }
[[trigger.http]]
route = "/"
component = { source = "a.wasm", variables = { pass = "{{ db_pass }}" } }
"#;

fn application() -> Application {
    toml::read(MANIFEST, "spin.toml").unwrap()
}

/// A folder with these files, the first of which is `runtime-config.toml`.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn setup(folder: &Path, places: Places<'_>) -> Result<Values, String> {
    let configuration = Configuration::read(&folder.join("runtime-config.toml")).unwrap();
    let setup = Setup::new(&application(), configuration, places);
    let setup = setup.map_err(|error| format!("{error:#}"))?;
    assert!(!format!("{setup:?}").contains("s3cret"), "{setup:?}");
    Ok(setup.values.0)
}

fn places<'a>() -> Places<'a> {
    Places {
        set: Values::new(),
        folder: None,
        environment: &|_| None,
        usual: Values::new(),
        dotenv: None,
    }
}

fn values(pairs: &[(&str, &str)]) -> Values {
    let pairs = pairs.iter();
    pairs
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn the_first_place_that_has_a_value_counts() {
    let text = "[[variables_provider]]\ntype = 'static'\nvalues = { mode = 'static' }\n\
                [[variables_provider]]\ntype = 'files'\npath = '.'\n\
                [[variables_provider]]\ntype = 'env'\nprefix = 'SHOP'\n";
    let both = |value| values(&[("mode", value), ("db_pass", value)]);
    let folder = folder(&[
        ("runtime-config.toml", text),
        ("mode", "file"),
        ("db_pass", "s3cret\n"),
    ]);
    let found = setup(folder.path(), places());
    assert_eq!(
        found,
        Ok(values(&[("mode", "static"), ("db_pass", "s3cret")]))
    );
    let set = Places {
        set: both("set"),
        ..places()
    };
    assert_eq!(setup(folder.path(), set), Ok(both("set")));
    fs::remove_file(folder.path().join("db_pass")).unwrap();
    let environment = |name: &str| (name == "SHOP_DB_PASS").then(|| "environment".to_owned());
    let found = setup(
        folder.path(),
        Places {
            environment: &environment,
            usual: both("usual"),
            ..places()
        },
    );
    assert_eq!(
        found,
        Ok(values(&[("mode", "static"), ("db_pass", "environment")]))
    );
    let found = setup(
        folder.path(),
        Places {
            usual: both("usual"),
            ..places()
        },
    );
    assert_eq!(
        found,
        Ok(values(&[("mode", "static"), ("db_pass", "usual")]))
    );
}

#[test]
fn a_dotenv_file_adds_to_the_environment() {
    let text = "[[variables_provider]]\ntype = 'env'\ndotenv_path = 'DOTENV'\n";
    let folder = folder(&[(
        "shop.env",
        "# comment\nexport MODE='a b' # more\nDB_PASS=s3cret\n",
    )]);
    let dotenv = folder.path().join("shop.env");
    let text = text.replace("DOTENV", dotenv.to_str().unwrap());
    fs::write(folder.path().join("runtime-config.toml"), &text).unwrap();
    let environment = |name: &str| (name == "DB_PASS").then(|| "real".to_owned());
    let found = setup(
        folder.path(),
        Places {
            environment: &environment,
            ..places()
        },
    );
    assert_eq!(found, Ok(values(&[("mode", "a b"), ("db_pass", "real")])));
    fs::write(&dotenv, "MODE=a\n\nDB_PASS='s3cret\n").unwrap();
    let error = setup(folder.path(), places()).unwrap_err();
    assert!(
        error.ends_with("shop.env:3: expected NAME=VALUE"),
        "{error}"
    );
    fs::write(
        &dotenv,
        "SPIN_VARIABLE_MODE=last\nMODE=a\nSPIN_VARIABLE_DB_PASS=last\n",
    )
    .unwrap();
    fs::write(folder.path().join("runtime-config.toml"), "").unwrap();
    let usual = Places {
        usual: values(&[("db_pass", "usual")]),
        dotenv: Some(&dotenv),
        ..places()
    };
    let found = setup(folder.path(), usual);
    assert_eq!(found, Ok(values(&[("mode", "last"), ("db_pass", "usual")])));
    fs::remove_file(&dotenv).unwrap();
    fs::write(folder.path().join("runtime-config.toml"), &text).unwrap();
    let error = setup(folder.path(), places()).unwrap_err();
    assert!(error.contains("shop.env`: No such file"), "{error}");
}

#[test]
fn what_is_wrong_with_a_folder_or_a_file_in_it_is_told_by_its_path() {
    let folder = folder(&[(
        "runtime-config.toml",
        "[[variables_provider]]\ntype = 'files'\npath = 'gone'\n",
    )]);
    let error = setup(folder.path(), places()).unwrap_err();
    assert!(error.contains("/gone`: No such file"), "{error}");
    let gone = folder.path().join("gone");
    fs::create_dir(&gone).unwrap();
    for (value, reason) in [
        (&b"s3cret\xff"[..], "it is not UTF-8"),
        (&vec![b'x'; (1 << 20) + 1], "more than 1048576 bytes"),
    ] {
        fs::write(gone.join("db_pass"), value).unwrap();
        let error = setup(folder.path(), places()).unwrap_err();
        assert!(
            error.starts_with("variable `db_pass` has no value: cannot read `"),
            "{error}"
        );
        assert!(
            error.contains("/gone/db_pass`") && error.contains(reason),
            "{error}"
        );
    }
    fs::remove_file(gone.join("db_pass")).unwrap();
    fs::create_dir(gone.join("db_pass")).unwrap();
    let error = setup(folder.path(), places()).unwrap_err();
    assert!(error.contains("Is a directory"), "{error}");
}

#[test]
fn a_folder_of_the_kubelet_is_read_anew_when_its_link_is_swapped() {
    let folder = folder(&[]);
    let path = |name: &str| folder.path().join(name);
    for (name, value) in [("1", "old\n"), ("2", "new")] {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("DB_PASS"), value).unwrap();
    }
    symlink("1", path("..data")).unwrap();
    symlink("..data/DB_PASS", path("DB_PASS")).unwrap();
    let files = Files::new(folder.path().to_owned()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let name = "db_pass".parse().unwrap();
    let ask = || runtime.block_on(files.ask(&name));
    assert_eq!(ask(), Ok(Some("old".to_owned())));
    symlink("2", path("..next")).unwrap();
    fs::rename(path("..next"), path("..data")).unwrap();
    assert_eq!(ask(), Ok(Some("new".to_owned())));
    fs::remove_file(path("DB_PASS")).unwrap();
    assert_eq!(ask(), Ok(None));
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(ask().unwrap_err().to_string().contains("No such file"));
}

#[test]
fn a_person_may_set_values_from_files() {
    let folder = folder(&[
        ("pass", "s3cret\n"),
        ("all.json", r#"{ "mode": "json", "db_pass": "s3cret" }"#),
        ("all.toml", "mode = 'toml'"),
        ("wrong.json", r#"{ "mode": 1, "DB": "s3cret" }"#),
        ("wrong.toml", "mode = s3cret"),
    ]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let read = |text: &str| {
        from_argument(text)
            .map(Values::from_iter)
            .map_err(|e| format!("{e:#}"))
    };
    assert_eq!(read("mode=a=b"), Ok(values(&[("mode", "a=b")])));
    assert_eq!(read("mode="), Ok(values(&[("mode", "")])));
    assert_eq!(
        read(&format!("pass=@{}", path("pass"))),
        Ok(values(&[("pass", "s3cret")]))
    );
    let all = values(&[("mode", "json"), ("db_pass", "s3cret")]);
    assert_eq!(read(&format!("@{}", path("all.json"))), Ok(all));
    assert_eq!(
        read(&format!("@{}", path("all.toml"))),
        Ok(values(&[("mode", "toml")]))
    );
    for (text, expected) in [
        ("s3cret".to_owned(), "expected NAME=VALUE"),
        ("=s3cret".to_owned(), "expected NAME=VALUE"),
        (
            "pass=@/nowhere".to_owned(),
            "pass: cannot read `/nowhere`: No such file",
        ),
        (
            "@/nowhere.json".to_owned(),
            "cannot read `/nowhere.json`: No such file",
        ),
        (
            format!("@{}", path("pass")),
            "must be called `.json` or `.toml`",
        ),
        (
            format!("@{}", path("wrong.json")),
            "wrong.json:1:11: variables: `mode` must be a string, not an integer",
        ),
        (
            format!("@{}", path("wrong.json")),
            "wrong.json:1:20: variables: `DB` is not a name",
        ),
        (format!("@{}", path("wrong.toml")), "wrong.toml:1:"),
    ] {
        let told = read(&text).unwrap_err();
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}
