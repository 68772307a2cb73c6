//! Container logs in the CRI's format: `<time> <stream> <F|P> <text>`.

use std::fs;
use std::io;
use std::path::Path;

/// The stream of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// One line a container printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The stream.
    pub stream: Stream,
    /// Without its line end.
    pub text: String,
    /// Whether it had a line end.
    pub whole: bool,
}

/// Reads a log file; a missing one has no lines.
///
/// # Errors
///
/// When it cannot be read, or a line is not in this format.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    match fs::read(path) {
        Ok(bytes) => parse(&String::from_utf8_lossy(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Joins the parts of lines that containerd has split.
fn parse(text: &str) -> io::Result<Vec<Line>> {
    let mut lines: Vec<Line> = Vec::new();
    for raw in text.lines() {
        let Some((stream, whole, part)) = pieces(raw) else {
            return Err(io::Error::other(format!(
                "`{raw}` is not a line of a container log"
            )));
        };
        match lines.iter_mut().rev().find(|line| line.stream == stream) {
            Some(open) if !open.whole => {
                open.text.push_str(part);
                open.whole = whole;
            }
            _ => lines.push(Line {
                stream,
                text: part.to_owned(),
                whole,
            }),
        }
    }
    Ok(lines)
}

fn pieces(raw: &str) -> Option<(Stream, bool, &str)> {
    let mut words = raw.splitn(4, ' ').skip(1);
    let stream = match words.next()? {
        "stdout" => Stream::Out,
        "stderr" => Stream::Err,
        _ => return None,
    };
    let whole = words.next()? == "F";
    Some((stream, whole, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_long_line_are_joined_across_the_other_stream() {
        let text = "t stdout P ab\nt stderr F x\nt stdout F c d\n";
        let lines = parse(text).expect("a log");
        let of = |stream, text: &str| Line {
            stream,
            text: text.into(),
            whole: true,
        };
        assert_eq!(lines, [of(Stream::Out, "abc d"), of(Stream::Err, "x")]);
    }

    #[test]
    fn a_line_of_no_stream_is_named() {
        let error = parse("t nowhere F x").expect_err("no such stream");
        assert!(error.to_string().contains("t nowhere F x"), "{error}");
    }
}
