//! Outputs of the report: standard output, JSON, Markdown, and a page's table.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::options::Options;
use crate::report::Report;

/// The marks around the table of a page.
const MARKS: [&str; 2] = ["<!-- bench -->", "<!-- /bench -->"];

/// Writes all of them.
///
/// # Errors
/// If a file cannot be written, or the page has no marks for a table.
pub fn write(report: &Report, options: &Options) -> anyhow::Result<()> {
    print!("{}", report.text());
    let json = serde_json::to_string_pretty(report).context("the report is not JSON")?;
    put(&options.json, &format!("{json}\n"))?;
    put(&options.markdown, &report.markdown())?;
    if let Some(page) = &options.page {
        let text = fs::read_to_string(page)
            .with_context(|| format!("cannot read `{}`", page.display()))?;
        let Some(text) = replaced(&text, &report.markdown()) else {
            bail!("`{}` has no {} and {}", page.display(), MARKS[0], MARKS[1]);
        };
        put(page, &text)?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot write `{}`", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(cannot)?;
    }
    fs::write(path, text).with_context(cannot)
}

/// `text` with the part between the marks replaced; none if a mark is missing.
fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    let [begin, end] = MARKS;
    Some(format!("{before}{begin}\n{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_replaces_what_stands_between_the_marks() {
        let text = "a\n<!-- bench -->\nold\n<!-- /bench -->\nz\n";
        let expected = "a\n<!-- bench -->\nnew\n<!-- /bench -->\nz\n";
        assert_eq!(replaced(text, "new\n").as_deref(), Some(expected));
    }

    #[test]
    fn a_page_without_marks_is_left_alone() {
        assert_eq!(replaced("a\n<!-- bench -->\nz\n", "new"), None);
    }
}
