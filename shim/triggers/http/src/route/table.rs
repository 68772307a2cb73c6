//! Finds the route for a path.

use super::pattern::Pattern;

/// Patterns with their targets, in order of precedence.
#[derive(Debug)]
pub(crate) struct Table<T> {
    entries: Vec<(Pattern, T)>,
    /// Whether the first match is the best one. See [`Pattern::has_free_dot`].
    sorted: bool,
}

impl<T> Table<T> {
    /// `entries` in the order of declaration.
    pub(crate) fn new(mut entries: Vec<(Pattern, T)>) -> Self {
        let sorted = !entries.iter().any(|(pattern, _)| pattern.has_free_dot());
        if sorted {
            entries.sort_by(|(a, _), (b, _)| a.precedence(b));
        }
        Table { entries, sorted }
    }

    /// The matching route that takes precedence over all others.
    pub(crate) fn find(&self, path: &str) -> Option<&T> {
        let mut matches = self
            .entries
            .iter()
            .filter(|(pattern, _)| pattern.matches(path).is_some());
        let best = if self.sorted {
            matches.next()
        } else {
            matches.reduce(|best, next| {
                if next.0.precedence(&best.0).is_lt() {
                    next
                } else {
                    best
                }
            })
        };
        best.map(|(_, target)| target)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(routes: &[&'static str]) -> Table<&'static str> {
        Table::new(
            routes
                .iter()
                .map(|route| (Pattern::parse(route).unwrap(), *route))
                .collect(),
        )
    }

    #[track_caller]
    fn check(routes: &[&'static str], path: &str, expected: impl Into<Option<&'static str>>) {
        let found = table(routes).find(path).copied();
        assert_eq!(found, expected.into(), "{path} among {routes:?}");
        if !routes
            .iter()
            .any(|route| Pattern::parse(route).unwrap().has_free_dot())
        {
            let turned: Vec<_> = routes.iter().rev().copied().collect();
            let found_again = table(&turned).find(path).copied();
            assert_eq!(found_again, found, "{path} among {turned:?}");
        }
    }

    #[test]
    fn text_goes_before_a_parameter_before_a_wildcard() {
        let routes = ["/...", "/:name", "/hello"];
        check(&routes, "/hello", "/hello");
        check(&routes, "/bye", "/:name");
        check(&routes, "/bye/bye", "/...");
        check(&routes, "/", "/...");
    }

    #[test]
    fn the_first_segment_decides() {
        check(&["/:x/b", "/a/..."], "/a/b", "/a/...");
        check(&["/:x/b", "/a/..."], "/c/b", "/:x/b");
        check(&["/a/...", "/a/:x", "/a/b"], "/a/b", "/a/b");
        check(&["/a/...", "/a/:x", "/a/b"], "/a/c", "/a/:x");
    }

    #[test]
    fn the_shorter_route_goes_first() {
        check(&["/foo/...", "/foo"], "/foo", "/foo");
        check(&["/foo/...", "/foo"], "/foo/", "/foo");
        check(&["/...", "/"], "/", "/");
        check(&["/:a/...", "/:a"], "/x", "/:a");
    }

    #[test]
    fn more_dots_go_first() {
        check(&["/:file", "/:file.:type"], "/a.png", "/:file.:type");
        check(&["/:file", "/:file.:type"], "/a", "/:file");
        check(&["/:a/...", "/:a.:b"], "/x.y", "/:a.:b");
        check(&["/:a.:b/c", "/:a/c"], "/x.y/c", "/:a/c");
        check(&["/:file.json", "/data.json"], "/data.json", "/data.json");
        check(&["/:p", "/.hidden"], "/.hidden", "/.hidden");
    }

    #[test]
    fn a_tie_goes_to_the_route_declared_first() {
        assert_eq!(table(&["/:a", "/:b"]).find("/x").copied(), Some("/:a"));
        assert_eq!(
            table(&["/foo", "/foo/"]).find("/foo").copied(),
            Some("/foo")
        );
        assert_eq!(
            table(&["/:a.:b", "/:c.:d"]).find("/x.y").copied(),
            Some("/:a.:b")
        );
    }

    #[test]
    fn nothing_is_found_where_nothing_matches() {
        check(&[], "/", None);
        check(&["/foo", "/foo/:x"], "/", None);
        check(&["/foo", "/foo/:x"], "/foo/a/b", None);
    }

    proptest! {
        /// Without free dots, the sorted list and a comparison of all matches agree.
        #[test]
        fn sorting_finds_what_comparing_all_matches_finds(
            routes in prop::collection::vec("(/(a|b|:p|:q|a\\.b)){0,3}(/\\.\\.\\.)?", 0..8),
            path in "(/(a|b|c|a\\.b)){0,4}/?",
        ) {
            let entries = || routes.iter().enumerate()
                .map(|(index, route)| (Pattern::parse(route).unwrap(), index)).collect::<Vec<_>>();
            let sorted = Table::new(entries());
            let compared = Table { entries: entries(), sorted: false };
            prop_assert!(sorted.sorted);
            prop_assert_eq!(sorted.find(&path), compared.find(&path));
        }
    }
}
