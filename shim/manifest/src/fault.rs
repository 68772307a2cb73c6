//! Mistakes: a message with the file, line and column of each.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

use crate::model::Application;

/// Further mistakes are only counted. A reader fixes a screenful at a time, and a
/// malicious file must not fill a log.
const MAX_LISTED: usize = 30;

/// The maximum length of a message in bytes. It may quote arbitrary input.
const MAX_MESSAGE: usize = 1024;

/// How many mistakes are kept, to choose the listed ones from.
const MAX_KEPT: usize = 100 * MAX_LISTED;

/// The beginning of a text, if it is longer than `most` bytes.
pub(crate) fn clip(text: &str, most: usize) -> Option<String> {
    if text.len() <= most {
        return None;
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Some(format!("{}…", &text[..end]))
}

/// Makes external text safe to show: control characters, which could move a terminal's
/// cursor or forge a line, are escaped as in Rust.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut all = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => all.extend(letter.escape_default()),
            false => all.push(letter),
        }
    }
    Cow::Owned(all)
}

/// One mistake and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, by the caller's name for it.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )
    }
}

/// All mistakes of one file, ordered by position; never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// The mistakes. If there are more than thirty, the last one states how many more.
    pub faults: Vec<Fault>,
    /// The readable parts of a manifest, to look for further mistakes.
    pub rest: Option<Box<Rest>>,
}

/// The readable parts of a manifest with mistakes. Everything in it is as written; wrong
/// parts are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Rest {
    /// Variables, triggers and components, possibly none. The name may be empty.
    pub application: Application,
    /// Ids of the components of which only the source is known for certain.
    pub partial: BTreeSet<String>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Collects the mistakes of one file while it is read. Shared by reference, so that a
/// reader can report one and continue.
pub(crate) struct Sink<'a> {
    file: &'a str,
    text: &'a [u8],
    table: &'static str,
    found: RefCell<Vec<(usize, String)>>,
    /// The number of mistakes that were not kept.
    dropped: Cell<usize>,
    /// How many times a mistake was noted.
    noted: Cell<usize>,
}

impl<'a> Sink<'a> {
    /// For a TOML text.
    pub(crate) fn toml(file: &'a str, text: &'a [u8]) -> Self {
        Sink {
            file,
            text,
            table: "a table",
            found: RefCell::default(),
            dropped: Cell::new(0),
            noted: Cell::new(0),
        }
    }

    /// For a JSON text, where a table is called an object.
    pub(crate) fn json(file: &'a str, text: &'a [u8]) -> Self {
        Sink {
            table: "an object",
            ..Sink::toml(file, text)
        }
    }

    /// The format's name for a table.
    pub(crate) fn table(&self) -> &'static str {
        self.table
    }

    /// Notes a mistake at a byte offset of the text.
    pub(crate) fn fault(&self, at: usize, message: impl Into<String>) {
        self.noted.set(self.noted.get() + 1);
        let message = message.into();
        let message = clip(&message, MAX_MESSAGE).unwrap_or(message);
        let message = escaped(&message).into_owned();
        let mut found = self.found.borrow_mut();
        found.push((at, message));
        if found.len() > MAX_KEPT {
            found.sort();
            found.dedup();
            let more = found.len().saturating_sub(MAX_LISTED);
            self.dropped.set(self.dropped.get() + more);
            found.truncate(MAX_LISTED);
        }
    }

    /// How many times a mistake was noted. If this has increased, something read in the
    /// meantime has a mistake.
    pub(crate) fn noted(&self) -> usize {
        self.noted.get()
    }

    /// The offset of a line and a column (in bytes), both counted from 1.
    pub(crate) fn offset(&self, line: usize, column: usize) -> usize {
        let start: usize = self
            .text
            .split_inclusive(|byte| *byte == b'\n')
            .take(line.saturating_sub(1))
            .map(<[u8]>::len)
            .sum();
        (start + column.saturating_sub(1)).min(self.text.len())
    }

    /// The mistakes so far, or `value` if there are none.
    pub(crate) fn into_result<T>(self, value: Option<T>) -> Result<T, Faults> {
        let mut found = self.found.take();
        match value {
            Some(value) if found.is_empty() => return Ok(value),
            Some(_) => {}
            None if !found.is_empty() => {}
            // A reader that returns nothing has reported why; this is only a safeguard.
            None => found.push((0, "cannot be read".into())),
        }
        found.sort();
        found.dedup();
        let more = self.dropped.get() + found.len().saturating_sub(MAX_LISTED);
        found.truncate(MAX_LISTED);
        if more > 0 {
            let last = found.last().map_or(0, |(at, _)| *at);
            found.push((last, format!("{more} more mistakes are not listed")));
        }
        let faults = found
            .into_iter()
            .map(|(at, message)| self.place(at, message))
            .collect();
        Err(Faults { faults, rest: None })
    }

    fn place(&self, at: usize, message: String) -> Fault {
        let before = &self.text[..at.min(self.text.len())];
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = String::from_utf8_lossy(&before[line_start..])
            .chars()
            .count()
            + 1;
        Fault {
            file: self.file.to_owned(),
            line,
            column,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_in_lines_and_characters() {
        let sink = Sink::toml("spin.toml", "é = 1\nöö x".as_bytes());
        sink.fault(12, "second");
        sink.fault(0, "first");
        let faults = sink
            .into_result::<()>(None)
            .expect_err("there are mistakes");
        assert_eq!(
            faults.to_string(),
            "spin.toml:1:1: first\nspin.toml:2:4: second"
        );
    }

    #[test]
    fn a_flood_of_mistakes_is_counted() {
        let sink = Sink::toml("a", b"x");
        for n in 0..150 {
            sink.fault(0, format!("{n:03}"));
        }
        let faults = sink
            .into_result(Some(()))
            .expect_err("there are mistakes")
            .faults;
        assert_eq!(faults.len(), MAX_LISTED + 1);
        assert_eq!(
            faults[MAX_LISTED].message,
            "120 more mistakes are not listed"
        );
    }

    #[test]
    fn neither_many_mistakes_nor_long_ones_are_all_kept() {
        let sink = Sink::toml("a", b"x");
        for n in 0..=MAX_KEPT {
            sink.fault(0, format!("{n:06}"));
        }
        assert_eq!(sink.found.borrow().len(), MAX_LISTED);
        sink.fault(0, "ö".repeat(1 << 20));
        let faults = sink.into_result(Some(())).expect_err("mistakes").faults;
        let more = MAX_KEPT + 2 - MAX_LISTED;
        assert_eq!(
            faults[MAX_LISTED].message,
            format!("{more} more mistakes are not listed")
        );
        assert!(clip(&"ö".repeat(1024), 1023).is_some_and(|text| text.len() <= 1026));
    }
}
