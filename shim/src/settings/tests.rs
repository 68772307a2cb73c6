use super::*;

fn read(variables: &[(&str, &str)]) -> Result<(Settings, Vec<Warning>), SettingErrors> {
    let map: BTreeMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Settings::read(|name| map.get(name).cloned(), map.keys().cloned())
}

#[test]
fn an_empty_environment_gives_the_defaults() {
    assert_eq!(read(&[]), Ok((Settings::default(), vec![])));
}

#[test]
fn spins_names_work_and_give_way_to_ours() {
    let (settings, _) = read(&[("SPIN_HTTP_LISTEN_ADDR", "0.0.0.0:8080")]).unwrap();
    assert_eq!(settings.listen.unwrap().port(), 8080);
    let (settings, warnings) = read(&[
        ("SPIN_HTTP_LISTEN_ADDR", "0.0.0.0:8080"),
        ("SKIFF_HTTP_LISTEN_ADDR", "[::]:9090"),
        ("SPIN_MAX_INSTANCE_MEMORY", "1048576"),
        ("SPIN_COMPONENTS_TO_RETAIN", "api, web"),
    ])
    .unwrap();
    assert_eq!(settings.listen.unwrap().to_string(), "[::]:9090");
    assert_eq!(settings.guests.memory, Some(1 << 20));
    assert_eq!(
        settings.retain.unwrap().into_iter().collect::<Vec<_>>(),
        ["api", "web"]
    );
    assert_eq!(warnings, []);
}

#[test]
fn a_pod_that_wants_every_address_gets_those_of_both_families() {
    for (given, listen) in [
        (None, "[::]:80"),
        (Some("0.0.0.0:8080"), "[::]:8080"),
        (Some("[::]:8080"), "[::]:8080"),
        (Some("127.0.0.1:8080"), "127.0.0.1:8080"),
    ] {
        let given: Vec<_> = given
            .map(|text| ("SPIN_HTTP_LISTEN_ADDR", text))
            .into_iter()
            .collect();
        let (settings, _) = read(&given).unwrap();
        assert_eq!(settings.listen_in_pod().to_string(), listen, "{given:?}");
    }
}

#[test]
fn all_wrong_values_are_named_at_once() {
    let error = read(&[
        ("SKIFF_REQUEST_TIMEOUT", "10"),
        ("SPIN_MAX_INSTANCE_MEMORY", "lots"),
        ("SKIFF_ACCESS_LOG", ""),
    ])
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "SPIN_MAX_INSTANCE_MEMORY is `lots`, expected a number of bytes such as 65536, 64Ki or 128Mi, at least 1; \
         SKIFF_REQUEST_TIMEOUT is `10`, expected a duration of at least 1ms such as 500ms, 1s, 2m or 1h; \
         SKIFF_ACCESS_LOG is ``, expected true or false"
    );
}

#[test]
fn a_limit_of_no_time_at_all_is_refused() {
    for name in [
        "SKIFF_REQUEST_TIMEOUT",
        "SKIFF_OUTBOUND_TIMEOUT",
        "SKIFF_STORE_TIMEOUT",
        "SKIFF_HEADER_READ_TIMEOUT",
        "SKIFF_IDLE_TIMEOUT",
    ] {
        let error = read(&[(name, "0s")]).unwrap_err().to_string();
        let expected = format!("{name} is `0s`, expected a duration of at least 1ms");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn a_misspelt_setting_is_warned_about_and_a_service_link_is_not() {
    let (_, warnings) = read(&[
        ("SKIFF_REQUEST_TIMEOUTS", "1s"),
        ("SKIFF_SERVICE_HOST", "10.0.0.1"),
        ("SKIFF_PORT", "tcp://10.0.0.1:80"),
        ("SPIN_SOMETHING", "else"),
        ("PATH", "/bin"),
    ])
    .unwrap();
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}")
    };
    assert_eq!(
        warning.to_string(),
        "SKIFF_REQUEST_TIMEOUTS is not a setting of Skiff and has no effect"
    );
}

#[test]
fn no_setting_can_be_mistaken_for_a_service_link() {
    for name in table::TABLE.iter().flat_map(|row| row.names()) {
        assert!(!is_service_link(name), "{name}");
    }
    assert!(!is_service_link(NodeSettings::STATE));
}

#[test]
fn every_setting_takes_what_it_shows_and_is_named_once() {
    let mut names = BTreeSet::new();
    for row in table::TABLE {
        for name in row.names() {
            assert!(names.insert(name), "{name} is there twice");
        }
        let example = match row.kind {
            Kind::Address => "127.0.0.1:81",
            Kind::Components => "a,b",
            Kind::Duration | Kind::Limit => "7m",
            Kind::Size => "3Mi",
            Kind::Count => "9",
            Kind::Switch => "true",
            Kind::Folder => "/a/folder",
            Kind::LogLevel => "trace",
            Kind::Networks => "10.0.0.0/8,private",
            Kind::Host => "orders:8080",
            Kind::File => "/a/file",
            Kind::Folders => "/a/folder:/b",
        };
        let (settings, _) = read(&[(row.name, example)]).unwrap();
        assert_eq!((row.show)(&settings), example, "{}", row.name);
        assert_ne!(settings, Settings::default(), "{}", row.name);
    }
}

#[test]
fn what_one_variable_sets_in_two_places_has_one_default() {
    let settings = Settings::default();
    assert_eq!(settings.guests.abandoned, settings.http.gone_timeout);
    let (settings, _) = read(&[("SKIFF_CLIENT_GONE_TIMEOUT", "7s")]).unwrap();
    assert_eq!(settings.guests.abandoned, settings.http.gone_timeout);
}

#[test]
fn a_plain_variable_wins_over_spins_prefix() {
    let var = |name: &str| match name {
        "GREETING" => Some("plain".to_owned()),
        "SPIN_VARIABLE_GREETING" | "SPIN_VARIABLE_OTHER" => Some("prefixed".to_owned()),
        _ => None,
    };
    let values = variable_values(var, ["greeting", "other", "missing"].into_iter());
    assert_eq!(
        values.into_iter().collect::<Vec<_>>(),
        [
            ("greeting".to_owned(), "plain".to_owned()),
            ("other".to_owned(), "prefixed".to_owned())
        ]
    );
}

#[test]
fn the_table_has_a_row_for_each_setting() {
    let table = markdown_table();
    assert_eq!(table.lines().count(), table::TABLE.len() + 2);
    assert!(table.contains(
        "| `SKIFF_DRAIN_TIMEOUT` | duration | 25s | How long requests may go on after SIGTERM, the shutdown delay included."
    ));
}
