//! Facts on the project's pages on which files of `deploy/` rely. The shim's own tests
//! check them against the program.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::files;

/// Settings and their defaults.
pub fn settings() -> BTreeMap<String, String> {
    let text = files::read("docs/settings.md");
    let mut settings = BTreeMap::new();
    for row in rows(between(&text, "<!-- settings -->", "<!-- /settings -->")) {
        let [names, _, default, ..] = row.as_slice() else {
            continue;
        };
        for name in names.split('`').filter(|part| part.contains('_')) {
            settings.insert(name.to_owned(), (*default).to_owned());
        }
    }
    assert!(settings.len() > 10, "the settings were not found");
    settings
}

/// The default of a setting that is a number of seconds.
pub fn seconds(setting: &str) -> Duration {
    let settings = settings();
    let default = settings.get(setting).map_or("", String::as_str);
    let number: String = default.chars().take_while(char::is_ascii_digit).collect();
    let rest = &default[number.len()..];
    assert!(
        rest.starts_with('s'),
        "{setting} is `{default}` by default, not in seconds"
    );
    Duration::from_secs(number.parse().expect("digits are a number"))
}

/// Exit codes and what they mean.
pub fn exit_codes() -> BTreeMap<u8, String> {
    let text = files::read("docs/failures.md");
    let table = between(&text, "| exit code |", "\n\n");
    let codes = rows(table).into_iter().filter_map(|row| {
        let [code, meaning, ..] = row.as_slice() else {
            return None;
        };
        Some((code.parse().ok()?, (*meaning).to_owned()))
    });
    codes.collect()
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap_or_default();
    rest.split_once(to).unwrap_or_default().0
}

/// The cells of a table's rows.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines().filter(|line| line.starts_with('|'));
    lines
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}
