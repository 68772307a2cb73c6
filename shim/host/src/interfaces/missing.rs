//! Imports that nothing satisfies, listed in one sentence per reason.

use std::fmt;

use super::catalogue::{Status, status};

/// The most names that are listed; the others are only counted.
const MAX_NAMED: usize = 100;

/// With this many imports, a component was probably built with everything that its
/// toolchain knows, and not only with what it uses.
const MANY: usize = 8;

/// A component's imports that nothing satisfies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Those that are offered to the outermost component alone.
    inside: Vec<String>,
    /// Those that are unknown.
    unknown: Vec<String>,
}

impl Missing {
    /// Collects them from a component's imports.
    pub fn among<'a>(imports: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let (mut inside, mut unknown) = (Vec::new(), Vec::new());
        for name in imports {
            match status(name) {
                Some(Status::Offered(_) | Status::Denied(_)) => {}
                Some(Status::Settled) => inside.push(name.to_owned()),
                // What guests export cannot be imported.
                Some(Status::Called(_)) | None => unknown.push(name.to_owned()),
            }
        }
        let missing = Missing { inside, unknown };
        (missing.count() > 0).then_some(missing)
    }

    fn count(&self) -> usize {
        self.inside.len() + self.unknown.len()
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = [
            (
                &self.inside,
                "this version of Skiff does not offer to components inside of it",
            ),
            (&self.unknown, "no host offers"),
        ];
        let mut between = "";
        for (names, why) in reasons.into_iter().filter(|(names, _)| !names.is_empty()) {
            let told = names.iter().take(MAX_NAMED);
            let mut quoted: Vec<String> = told.map(|name| format!("`{name}`")).collect();
            if let Some(more @ 1..) = names.len().checked_sub(MAX_NAMED) {
                quoted.push(format!("{more} more"));
            }
            write!(f, "{between}{}, which {why}", quoted.join(", "))?;
            between = "; ";
        }
        if self.count() >= MANY {
            f.write_str("; the toolchain can leave out those that are not used (componentize-py with `-i` and a world of what is used)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_names_all_imports_that_are_missing_for_one_reason() {
        let missing = Missing::among([
            "a:b/c",
            "wasi:io/poll@0.2.0-rc-2023-10-18",
            "wasi:io/poll@0.2.0",
            "fermyon:spin/llm",
            "a:b/d",
        ]);
        assert_eq!(
            missing.unwrap().to_string(),
            "`wasi:io/poll@0.2.0-rc-2023-10-18`, which this version of Skiff does not offer to components inside of it; `a:b/c`, `a:b/d`, which no host offers"
        );
        assert_eq!(Missing::among(["wasi:io/poll@0.2.0"]), None);
    }

    #[test]
    fn the_cure_is_said_where_much_is_missing() {
        let names: Vec<String> = (0..41).map(|n| format!("a:b/c{n}")).collect();
        let text = |count: usize| {
            let names = names[..count].iter().map(String::as_str);
            Missing::among(names).unwrap().to_string()
        };
        assert_eq!(text(41).matches("no host offers").count(), 1);
        assert!(text(41).contains("`-i`"), "{}", text(41));
        assert!(!text(3).contains("`-i`"));
    }
}
