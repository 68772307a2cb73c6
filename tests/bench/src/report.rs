//! One table of the measurements, for a terminal, for a page and as JSON.

use serde::Serialize;

use crate::machine::Machine;
use crate::promises::{Bound, PROMISES, Promise, Unit};
use crate::series::{Measurements, Spread};

/// A figure without a promise that has its own row, such as a peer's.
#[derive(Debug, Clone)]
pub struct Remark {
    /// The series it is about.
    pub key: String,
    /// The series it is divided by, if any.
    pub base: Option<String>,
    /// The name of the row.
    pub what: String,
    /// The unit of the figure.
    pub unit: Unit,
}

/// A row of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The measured quantity.
    pub what: String,
    /// The unit of the figure.
    pub unit: Unit,
    /// The figure; none if there is only a note.
    pub measured: Option<Spread>,
    /// The number that a release must reach.
    pub required: Option<Bound>,
    /// The design's target.
    pub target: Option<Bound>,
    /// The verdict on the figure.
    pub verdict: &'static str,
    /// Why there is no figure.
    pub note: Option<String>,
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The day of the run, in UTC.
    pub date: String,
    /// The durations and numbers of rounds.
    pub plan: String,
    /// The machine.
    pub machine: Machine,
    /// Names and versions of the participants.
    pub versions: Vec<(String, String)>,
    /// Remarks that a reader should know before trusting a figure.
    pub remarks: Vec<String>,
    /// The rows of promises.
    pub promises: Vec<Row>,
    /// The other rows.
    pub others: Vec<Row>,
    /// Every single figure.
    pub series: Measurements,
}

/// The rows of all promises, measured or not.
pub fn promise_rows(all: &Measurements) -> Vec<Row> {
    PROMISES.iter().map(|promise| judge(promise, all)).collect()
}

/// The rows without a promise; those without a figure say why. Figures that a promise's
/// row already has are left out.
pub fn remark_rows(remarks: &[Remark], all: &Measurements) -> Vec<Row> {
    let said = |remark: &&Remark| {
        let base = remark.base.as_deref();
        let mut promises = PROMISES.iter();
        promises.any(|promise| promise.key == remark.key && promise.base == base)
    };
    let rows = remarks.iter().filter(|remark| !said(remark)).map(|remark| {
        let base = remark.base.as_deref();
        row(&remark.what, remark.unit, measured(&remark.key, base, all))
    });
    rows.collect()
}

fn judge(promise: &Promise, all: &Measurements) -> Row {
    let figure = measured(promise.key, promise.base, all);
    let mut row = row(promise.what, promise.unit, figure);
    row.required = promise.required;
    row.target = promise.target;
    row.verdict = row.measured.map_or("not measured", |spread| {
        verdict(spread.median, promise.required, promise.target)
    });
    row
}

fn measured(key: &str, base: Option<&str>, all: &Measurements) -> Result<Spread, String> {
    match base {
        Some(base) => all.ratio(key, base),
        None => all.spread(key),
    }
}

fn row(what: &str, unit: Unit, figure: Result<Spread, String>) -> Row {
    Row {
        what: what.to_owned(),
        unit,
        measured: figure.as_ref().ok().copied(),
        required: None,
        target: None,
        verdict: "",
        note: figure.err(),
    }
}

/// The verdict of a figure in words.
fn verdict(figure: f64, required: Option<Bound>, target: Option<Bound>) -> &'static str {
    let keeps = |bound: Option<Bound>| bound.map(|bound| bound.holds(figure));
    match (keeps(required), keeps(target)) {
        (Some(false), _) => "missed",
        (Some(true), Some(false)) => "reached, target ahead",
        (None, Some(false)) => "target ahead",
        (_, Some(true)) => "target reached",
        (Some(true), None) => "reached",
        (None, None) => "",
    }
}

impl Row {
    fn figure(&self) -> String {
        match self.measured {
            Some(spread) => show(spread.median, self.unit),
            None => "–".to_owned(),
        }
    }

    fn range(&self) -> String {
        match self.measured {
            Some(spread) => format!("{}–{}", digits(spread.least), digits(spread.greatest)),
            None => String::new(),
        }
    }

    /// The cells of the table, in the order of `HEAD`.
    fn cells(&self) -> [String; 6] {
        let bound = |bound: Option<Bound>| bound.map_or_else(String::new, |b| b.to_string());
        let mut verdict = self.verdict.to_owned();
        if let Some(note) = &self.note {
            let gap = if verdict.is_empty() { "" } else { ": " };
            verdict = format!("{verdict}{gap}{note}");
        }
        [
            self.what.clone(),
            self.figure(),
            self.range(),
            bound(self.required),
            bound(self.target),
            verdict,
        ]
    }
}

/// The names of the columns.
const HEAD: [&str; 6] = [
    "what",
    "median",
    "least–greatest",
    "must reach",
    "target",
    "verdict",
];

/// Three significant digits, which is more than two shared cores can guarantee.
fn digits(figure: f64) -> String {
    let places = match figure.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{figure:.places$}")
}

fn show(figure: f64, unit: Unit) -> String {
    let figure = digits(figure);
    match unit {
        Unit::Ratio | Unit::Count => figure,
        Unit::Seconds => format!("{figure} s"),
        Unit::Megabytes => format!("{figure} MB"),
    }
}

impl Report {
    /// The machine and the versions in two sentences.
    fn circumstances(&self) -> [String; 2] {
        let Machine {
            processor,
            cores,
            memory_gb,
            kernel,
            system,
        } = &self.machine;
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        [
            format!("{cores} × {processor}, {memory_gb} GB, {system}, Linux {kernel}"),
            versions.join(", "),
        ]
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let [machine, versions] = self.circumstances();
        let mut out = format!(
            "Skiff bench of {}, {}\n{machine}\n{versions}\n",
            self.date, self.plan
        );
        for remark in &self.remarks {
            out.push_str(&format!("Note: {remark}\n"));
        }
        for (title, rows) in [("Promises", &self.promises), ("Beside them", &self.others)] {
            out.push_str(&format!("\n{title}\n"));
            let mut table = vec![HEAD.map(str::to_owned)];
            table.extend(rows.iter().map(Row::cells));
            out.push_str(&aligned(&table));
        }
        out
    }

    /// For a page: the same, as tables of Markdown.
    pub fn markdown(&self) -> String {
        let [machine, versions] = self.circumstances();
        let mut out = format!(
            "Run of {}: {}. {machine}; {versions}.\n",
            self.date, self.plan
        );
        for remark in &self.remarks {
            out.push_str(&format!("\n{remark}\n"));
        }
        for rows in [&self.promises, &self.others] {
            out.push_str(&format!("\n| {} |\n", HEAD.join(" | ")));
            out.push_str("|---|---|---|---|---|---|\n");
            for row in rows {
                let cells = row.cells().map(|cell| cell.replace('|', "\\|"));
                out.push_str(&format!("| {} |\n", cells.join(" | ")));
            }
        }
        out
    }
}

/// Columns as wide as their widest cell; the last one is not padded.
fn aligned(table: &[[String; 6]]) -> String {
    let width = |column: usize| {
        let cells = table.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut out = String::new();
    for row in table {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let pad = " ".repeat(width - cell.chars().count());
            line.push_str(&format!("{cell}{pad}  "));
        }
        line.push_str(&row[5]);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> (Option<Bound>, Option<Bound>) {
        (Some(Bound::AtLeast(0.5)), Some(Bound::AtLeast(0.75)))
    }

    #[test]
    fn each_side_of_the_two_numbers_has_its_word() {
        let (required, target) = bounds();
        assert_eq!(verdict(0.4, required, target), "missed");
        assert_eq!(verdict(0.6, required, target), "reached, target ahead");
        assert_eq!(verdict(0.8, required, target), "target reached");
        assert_eq!(verdict(0.6, None, target), "target ahead");
        assert_eq!(verdict(0.6, required, None), "reached");
    }

    /// The first promise of throughput.
    const FIRST: usize = 6;

    #[test]
    fn every_promise_has_a_row_when_nothing_was_measured() {
        let rows = promise_rows(&Measurements::default());
        assert_eq!(rows.len(), PROMISES.len());
        assert!(rows.iter().all(|row| row.verdict == "not measured"));
    }

    #[test]
    fn the_reason_for_a_missing_figure_stands_in_its_row() {
        let mut all = Measurements::default();
        all.push("throughput/native", 100.0);
        all.absent("throughput/skiff/hello-wasi", "there is no `skiff`");
        let row = &promise_rows(&all)[FIRST];
        assert_eq!(row.cells()[5], "not measured: there is no `skiff`");
    }

    #[test]
    fn a_figure_is_judged_by_its_median() {
        let mut all = Measurements::default();
        all.push("throughput/native", 100.0);
        for figure in [40.0, 60.0, 90.0] {
            all.push("throughput/skiff/hello-wasi", figure);
        }
        let row = &promise_rows(&all)[FIRST];
        assert_eq!(row.verdict, "missed");
        assert_eq!(row.range(), "0.400–0.900");
    }

    #[test]
    fn what_a_promise_says_is_not_said_twice() {
        let remark = |key: &str| Remark {
            key: key.to_owned(),
            base: Some("throughput/native".to_owned()),
            what: key.to_owned(),
            unit: Unit::Ratio,
        };
        let remarks = ["throughput/skiff/hello-wasi", "throughput/peer"].map(remark);
        let rows = remark_rows(&remarks, &Measurements::default());
        let told: Vec<_> = rows.into_iter().map(|row| row.what).collect();
        assert_eq!(told, ["throughput/peer"]);
    }

    #[test]
    fn columns_stay_aligned_with_letters_of_two_bytes() {
        let cells = |what: &str| [what, "1", "", "", "", "x"].map(str::to_owned);
        let text = aligned(&[cells("≥≥"), cells("abcd")]);
        let columns: Vec<Option<usize>> = text
            .lines()
            .map(|line| line.chars().position(|letter| letter == '1'))
            .collect();
        assert_eq!(columns, [Some(6), Some(6)]);
    }
}
