//! Patterns of paths, matched part by part.

use std::path::{Path, PathBuf};

use glob::{Pattern, PatternError};

/// A pattern, split where its wildcards begin, so that only the part below has to be
/// searched.
#[derive(Debug)]
pub(super) struct Wildcards {
    /// The folder before the first wildcard.
    pub(super) folder: PathBuf,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    /// `**`: any number of folders; at the end, everything below.
    Any,
    /// A single name.
    One(Pattern),
    /// `..`.
    Up,
}

impl Wildcards {
    /// Parses a pattern; `None` if it has no wildcards.
    pub(super) fn parse(pattern: &str) -> Result<Option<Self>, PatternError> {
        // Shows where in the whole pattern a mistake is.
        Pattern::new(pattern)?;
        let is_wild = |part: &str| part.contains(['*', '?', '[']);
        let mut folder = PathBuf::from(if pattern.starts_with('/') { "/" } else { "" });
        let mut parts = Vec::new();
        for part in pattern.split('/').filter(|part| !matches!(*part, "" | ".")) {
            match part {
                _ if parts.is_empty() && !is_wild(part) => folder.push(part),
                "**" if matches!(parts.last(), Some(Part::Any)) => {}
                "**" => parts.push(Part::Any),
                ".." => parts.push(Part::Up),
                _ => parts.push(Part::One(Pattern::new(part)?)),
            }
        }
        Ok((!parts.is_empty()).then_some(Wildcards { folder, parts }))
    }

    /// Whether there is a `..` after a wildcard.
    pub(super) fn go_up(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Up))
    }

    /// Whether a file matches, by its path below the folder.
    pub(super) fn matches(&self, below: &Path) -> bool {
        let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
        let (mut part, mut name) = (0, 0);
        // The position of the last `**`, and how many names it has taken: on a mismatch,
        // only the last one has to take more.
        let mut any: Option<(usize, usize)> = None;
        while name < names.len() {
            match self.parts.get(part) {
                Some(Part::Any) if part + 1 == self.parts.len() => return true,
                Some(Part::Any) => {
                    any = Some((part, name));
                    part += 1;
                }
                Some(Part::One(pattern)) if pattern.matches(&names[name]) => {
                    part += 1;
                    name += 1;
                }
                _ => match any {
                    Some((at, taken)) => {
                        any = Some((at, taken + 1));
                        part = at + 1;
                        name = taken + 1;
                    }
                    None => return false,
                },
            }
        }
        part == self.parts.len()
    }

    /// Whether files below a folder may match.
    pub(super) fn may_match_below(&self, folder: &Path) -> bool {
        let mut parts = self.parts.iter();
        for name in folder {
            match parts.next() {
                Some(Part::Any) => return true,
                Some(Part::One(pattern)) if pattern.matches(&name.to_string_lossy()) => {}
                _ => return false,
            }
        }
        parts.next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wildcards(pattern: &str) -> Wildcards {
        Wildcards::parse(pattern).unwrap().unwrap()
    }

    #[test]
    fn a_pattern_is_cut_where_its_wildcards_begin() {
        for (pattern, folder) in [
            ("static/**/*", "static"),
            ("./a//b/*.css", "a/b"),
            ("*.css", ""),
            ("/abs/x?/y", "/abs"),
        ] {
            assert_eq!(wildcards(pattern).folder, Path::new(folder), "{pattern}");
        }
        assert!(Wildcards::parse("static/a.css").unwrap().is_none());
        assert!(Wildcards::parse("static/***").is_err());
        assert!(wildcards("*/../x").go_up() && !wildcards("../*").go_up());
    }

    #[test]
    fn names_match_part_by_part() {
        let matched = |pattern: &str, path: &str| wildcards(pattern).matches(Path::new(path));
        for (pattern, path) in [
            ("*", "a"),
            ("*", ".hidden"),
            ("**/*", "a"),
            ("**/*", "a/b/c"),
            ("**", "a/b"),
            ("**/*.css", "a.css"),
            ("**/b/*.css", "a/b/b/x.css"),
            ("*/**/x", "a/x"),
            ("**/a/**/b", "a/a/c/b/b"),
            ("[ab]?/c", "ax/c"),
        ] {
            assert!(matched(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*", "a/b"),
            ("*.css", "a/b.css"),
            ("**/b/*.css", "a/c/x.css"),
            ("*/**/x", "x"),
            ("**/*/x", "x"),
            ("*", ""),
        ] {
            assert!(!matched(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn folders_in_which_nothing_can_be_meant_are_left_out() {
        let open = |pattern: &str, path: &str| wildcards(pattern).may_match_below(Path::new(path));
        assert!(open("*/x/*", "a") && open("*/x/*", "a/x") && open("*/**/y", "a/b/c"));
        assert!(open("*.css", ""));
        assert!(!open("*.css", "deep") && !open("*/x/*", "a/y") && !open("*/x/*", "a/x/b"));
    }
}

#[cfg(test)]
mod properties {
    use glob::MatchOptions;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn parts(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
        vec(proptest::sample::select(of), 1..6)
    }

    proptest! {
        #[test]
        fn a_path_matches_as_it_does_for_the_library(
            pattern in parts(&["*", "**", "a", "b", "?", "[ab]", "a*"]),
            path in parts(&["a", "b", "ab", "c"]),
        ) {
            let pattern = format!("*/{}", pattern.join("/"));
            let path = path.join("/");
            let whole = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
            // If a folder is left out, nothing in it matches.
            let library = Pattern::new(&pattern).unwrap();
            let wildcards = Wildcards::parse(&pattern).unwrap().unwrap();
            let path = Path::new(&path);
            let matches = wildcards.matches(path);
            if !pattern.ends_with("**") {
                prop_assert_eq!(matches, library.matches_path_with(path, whole));
            }
            if matches {
                for folder in path.ancestors().skip(1) {
                    prop_assert!(wildcards.may_match_below(folder), "{}", folder.display());
                }
            }
        }
    }
}
