//! One route: its syntax, what it matches, and which of two routes takes precedence.

use std::cmp::Ordering;
use std::ops::Range;

use http::HeaderName;

/// Why a route does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// `/:` or `/a/:/b`.
    #[error("a `:` must be followed by a name")]
    UnnamedParameter,
    /// `/*rest`.
    #[error("`{0}`: a wildcard has no name; write `...` or `*`")]
    NamedWildcard(String),
    /// A wildcard before the last segment.
    #[error("a wildcard can only be the last segment")]
    WildcardInside,
    /// A parameter whose name cannot be part of a header name.
    #[error("`:{0}`: not a valid parameter name; use letters, digits, `-` and `_`")]
    ParameterName(String),
}

/// A parsed route. `/` and `.` both end a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// Literal text. It includes a dot that follows a literal or starts a segment.
    Text(Box<str>),
    /// `:name`.
    Parameter(Box<str>),
    /// `/...` or `/*` at the end.
    Rest,
    Slash,
    /// A dot that follows a parameter.
    Dot,
}

/// The parts of a path that a pattern captured, as ranges of the path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Captures {
    /// One range per parameter, in the pattern's order.
    pub(crate) parameters: Vec<Range<usize>>,
    /// What the wildcard matched, without the slashes around it.
    pub(crate) rest: Option<Range<usize>>,
}

/// A route with exactly one `/` before it and without a final `/`.
pub(crate) fn normalise(route: &str) -> String {
    let slash = if route.starts_with('/') { "" } else { "/" };
    let route = format!("{slash}{route}");
    route.strip_suffix('/').map(str::to_owned).unwrap_or(route)
}

impl Pattern {
    /// Parses a route. Leading and trailing slashes and empty segments are ignored.
    pub(crate) fn parse(route: &str) -> Result<Self, PatternError> {
        let mut tokens = Vec::new();
        let mut route = normalise(route);
        if let Some(prefix) = route.strip_suffix("/...") {
            route = format!("{prefix}/*");
        }
        let segments = route.split('/').filter(|segment| !segment.is_empty());
        for (index, segment) in segments.enumerate() {
            if index > 0 {
                tokens.push(Token::Slash);
            }
            Self::parse_segment(segment, &mut tokens)?;
        }
        let wildcards = tokens.iter().filter(|token| **token == Token::Rest).count();
        if wildcards > usize::from(tokens.last() == Some(&Token::Rest)) {
            return Err(PatternError::WildcardInside);
        }
        Ok(Pattern { tokens })
    }

    fn parse_segment(segment: &str, tokens: &mut Vec<Token>) -> Result<(), PatternError> {
        let first = tokens.len();
        for (index, part) in segment.split('.').enumerate() {
            if index > 0 {
                match tokens[first..].last_mut() {
                    Some(Token::Text(text)) => *text = format!("{text}.").into_boxed_str(),
                    Some(_) => tokens.push(Token::Dot),
                    None => tokens.push(Token::Text(".".into())),
                }
            }
            match part.as_bytes() {
                [] => {}
                b"*" => tokens.push(Token::Rest),
                [b'*', ..] => return Err(PatternError::NamedWildcard(part.to_owned())),
                b":" => return Err(PatternError::UnnamedParameter),
                [b':', name @ ..] if HeaderName::from_bytes(name).is_err() => {
                    return Err(PatternError::ParameterName(part[1..].to_owned()));
                }
                [b':', ..] => tokens.push(Token::Parameter(part[1..].into())),
                _ => tokens.push(Token::Text(part.into())),
            }
        }
        Ok(())
    }

    /// The parameters' names, in order.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Parameter(name) => Some(&**name),
            _ => None,
        })
    }

    /// Whether a dot follows a parameter: among such routes, precedence is not an order
    /// that a list can be sorted by.
    pub(crate) fn has_free_dot(&self) -> bool {
        self.tokens.contains(&Token::Dot)
    }

    /// Matches a path as sent: no decoding, case-sensitive, ignoring all leading and
    /// trailing slashes.
    pub(crate) fn matches(&self, path: &str) -> Option<Captures> {
        let start = path.len() - path.trim_start_matches('/').len();
        let end = path.trim_end_matches('/').len().max(start);
        let bytes = &path.as_bytes()[..end];
        let mut at = start;
        let mut captures = Captures::default();
        let mut tokens = self.tokens.iter().peekable();
        while let Some(token) = tokens.next() {
            let left = &bytes[at..];
            match token {
                Token::Text(text) if left.starts_with(text.as_bytes()) => at += text.len(),
                Token::Text(_) => return None,
                Token::Slash if left.first() == Some(&b'/') => at += 1,
                // `/foo/...` also matches `/foo`.
                Token::Slash if left.is_empty() && tokens.peek() == Some(&&Token::Rest) => {}
                Token::Slash => return None,
                Token::Dot if left.first() == Some(&b'.') => at += 1,
                Token::Dot => return None,
                Token::Rest => {
                    captures.rest = Some(at..end);
                    at = end;
                }
                Token::Parameter(_) => {
                    let dot_ends = tokens.peek() == Some(&&Token::Dot);
                    let ends = |b: &u8| *b == b'/' || (dot_ends && *b == b'.');
                    let length = left.iter().position(ends).unwrap_or(left.len());
                    if length == 0 {
                        return None;
                    }
                    captures.parameters.push(at..at + length);
                    at += length;
                }
            }
        }
        (at == end).then_some(captures)
    }

    /// `Less` if this route takes precedence over the other, `Equal` if the order of
    /// declaration decides.
    pub(crate) fn precedence(&self, other: &Pattern) -> Ordering {
        let ranks = |pattern: &Pattern| pattern.tokens.iter().map(Token::rank).collect::<Vec<_>>();
        let (mine, theirs) = (ranks(self), ranks(other));
        let first_difference = mine
            .iter()
            .zip(&theirs)
            .map(|(a, b)| a.cmp(b))
            .find(|order| *order != Ordering::Equal);
        first_difference.unwrap_or_else(|| {
            other
                .dots()
                .cmp(&self.dots())
                .then(mine.len().cmp(&theirs.len()))
        })
    }

    fn dots(&self) -> usize {
        self.tokens
            .iter()
            .filter(|token| **token == Token::Dot)
            .count()
    }
}

impl Token {
    fn rank(&self) -> u8 {
        match self {
            Token::Text(_) => 0,
            Token::Parameter(_) => 1,
            Token::Rest => 2,
            Token::Slash | Token::Dot => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parameters as text, then the wildcard.
    fn captured<'p>(route: &str, path: &'p str) -> Option<(Vec<&'p str>, Option<&'p str>)> {
        let captures = Pattern::parse(route).unwrap().matches(path)?;
        let parameters = captures
            .parameters
            .into_iter()
            .map(|range| &path[range])
            .collect();
        Some((parameters, captures.rest.map(|range| &path[range])))
    }

    #[track_caller]
    fn matches(route: &str, path: &str) {
        assert!(
            captured(route, path).is_some(),
            "{route} should match {path}"
        );
    }

    #[track_caller]
    fn differs(route: &str, path: &str) {
        assert!(
            captured(route, path).is_none(),
            "{route} should not match {path}"
        );
    }

    #[test]
    fn slashes_at_the_ends_mean_nothing() {
        for route in ["foo", "/foo", "/foo/"] {
            for path in ["/foo", "/foo/", "//foo//"] {
                matches(route, path);
            }
        }
        matches("/", "/");
        matches("/", "");
        matches("", "///");
        differs("/", "/foo");
    }

    #[test]
    fn empty_segments_inside_are_not_collapsed() {
        differs("/a/b", "/a//b");
        differs("/a/:x/b", "/a//b");
        matches("/a/...", "/a//b");
    }

    #[test]
    fn text_is_matched_as_sent() {
        differs("/foo", "/Foo");
        differs("/a b", "/a%20b");
        differs("/foo", "/foobar");
        differs("/foobar", "/foo");
        matches("/file.json", "/file.json");
        differs("/file.json", "/file/json");
        matches("/a/.well-known/b", "/a/.well-known/b");
        matches("/a..b", "/a..b");
    }

    #[test]
    fn a_parameter_takes_one_whole_segment() {
        assert_eq!(captured("/:a", "/x"), Some((vec!["x"], None)));
        assert_eq!(
            captured("/:a/c/:b/", "/x.y/c/z"),
            Some((vec!["x.y", "z"], None))
        );
        differs("/:a", "/");
        differs("/:a", "/x/y");
        differs("/foo/:a", "/foo/");
    }

    #[test]
    fn a_dot_ends_a_segment() {
        assert_eq!(
            captured("/file/:name.json", "/file/a.json"),
            Some((vec!["a"], None))
        );
        assert_eq!(
            captured("/:name.:type", "/a.tar.gz"),
            Some((vec!["a", "tar.gz"], None))
        );
        assert_eq!(captured("/v1.:minor", "/v1.2"), Some((vec!["2"], None)));
        differs("/file/:name.json", "/file/a");
        differs("/file/:name.json", "/file/a.b.json");
        differs("/file/:name.json", "/file/.json");
        differs("/:a.:b", "/x/y.z");
    }

    #[test]
    fn a_wildcard_takes_the_rest_or_nothing() {
        for route in ["/foo/...", "/foo/*", "foo/..."] {
            assert_eq!(captured(route, "/foo"), Some((vec![], Some(""))));
            assert_eq!(captured(route, "/foo/"), Some((vec![], Some(""))));
            assert_eq!(captured(route, "/foo/a/b/"), Some((vec![], Some("a/b"))));
            differs(route, "/foobar");
        }
        assert_eq!(captured("/...", "/"), Some((vec![], Some(""))));
        assert_eq!(captured("/...", "*"), Some((vec![], Some("*"))));
        assert_eq!(captured("/:a/...", "/x/y"), Some((vec!["x"], Some("y"))));
    }

    #[test]
    fn routes_that_mean_nothing_are_refused() {
        let error = |route| Pattern::parse(route).unwrap_err();
        assert_eq!(error("/:"), PatternError::UnnamedParameter);
        assert_eq!(
            error("/a/*rest"),
            PatternError::NamedWildcard("*rest".to_owned())
        );
        assert_eq!(error("/*/a"), PatternError::WildcardInside);
        assert_eq!(error("/*/..."), PatternError::WildcardInside);
        assert_eq!(
            error("/:a b"),
            PatternError::ParameterName("a b".to_owned())
        );
    }

    proptest! {
        #[test]
        fn no_route_and_no_path_panics(route in "[/.:*a-c]{0,12}", path in "[/.*a-cé]{0,12}") {
            if let Ok(pattern) = Pattern::parse(&route)
                && let Some(captures) = pattern.matches(&path)
            {
                for range in captures.parameters.into_iter().chain(captures.rest) {
                    prop_assert!(path.get(range).is_some());
                }
            }
        }

        #[test]
        fn a_literal_route_matches_itself(route in "(/[a-c.]{1,4}){0,4}") {
            prop_assert!(Pattern::parse(&route).unwrap().matches(&route).is_some(), "{}", route);
        }
    }
}
