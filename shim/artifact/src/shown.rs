//! Untrusted text in errors: shortened to the useful part.

use std::path::Path;

use skiff_manifest::escaped;

/// The longest text that is shown. Media types, names and digests are shorter.
const LONGEST: usize = 200;

/// How many items of a list are shown.
const MOST: usize = 8;

/// The beginning of an untrusted text, on one line.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", escaped(&text[..end])),
        None => escaped(text).into_owned(),
    }
}

/// The same for a path in an untrusted artifact.
pub(crate) fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// The first items of a list, and how many more there are.
pub(crate) fn listed(things: impl IntoIterator<Item = String>) -> String {
    let mut things = things.into_iter();
    let mut first: Vec<_> = things.by_ref().take(MOST).collect();
    match (first.is_empty(), things.count()) {
        (true, _) => return "nothing".to_owned(),
        (false, 0) => {}
        (false, more) => first.push(format!("and {more} more")),
    }
    first.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(shown("short"), "short");
        assert_eq!(shown("a\x1b[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(shown(&"é".repeat(1 << 20)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn what_is_many_is_counted() {
        let things = |count: usize| listed((0..count).map(|number| number.to_string()));
        assert_eq!(things(0), "nothing");
        assert_eq!(things(2), "0, 1");
        assert_eq!(things(20), "0, 1, 2, 3, 4, 5, 6, 7, and 12 more");
    }
}
