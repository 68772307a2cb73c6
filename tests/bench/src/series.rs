//! The measurements: named series of figures, or the reason why there are none.

use std::collections::BTreeMap;

use serde::Serialize;

/// Longer reasons are cut; the run's output has all of it.
const LONGEST_REASON: usize = 160;

/// The figures of one contender in one discipline, in the order they were taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Series {
    /// At least one figure.
    Taken(Vec<f64>),
    /// Nothing could be measured; the reason, in words for the table's reader.
    Absent(String),
}

/// Median, least and greatest of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle figure, or the mean of the two middle ones.
    pub median: f64,
    /// The least figure.
    pub least: f64,
    /// The greatest figure.
    pub greatest: f64,
}

impl Spread {
    /// None for an empty slice.
    pub fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[middle],
            _ => (sorted.get(middle.wrapping_sub(1))? + sorted[middle]) / 2.0,
        };
        Some(Self {
            median,
            least: sorted[0],
            greatest: sorted[sorted.len() - 1],
        })
    }

    /// Each of the three divided by `divisor`.
    pub fn over(self, divisor: f64) -> Self {
        Self {
            median: self.median / divisor,
            least: self.least / divisor,
            greatest: self.greatest / divisor,
        }
    }
}

/// All series of a run by key. A key reads `discipline/contender`.
#[derive(Debug, Default, Clone, Serialize)]
#[serde(transparent)]
pub struct Measurements(BTreeMap<String, Series>);

impl Measurements {
    /// Adds a figure to the series of that key, which is created if missing. A series
    /// that was declared absent stays absent: half a series is useless.
    pub fn push(&mut self, key: impl Into<String>, figure: f64) {
        let series = self
            .0
            .entry(key.into())
            .or_insert_with(|| Series::Taken(Vec::new()));
        if let Series::Taken(figures) = series {
            figures.push(figure);
        }
    }

    /// Records why there is nothing under that key, in one line for the table. Earlier
    /// figures are dropped.
    pub fn absent(&mut self, key: impl Into<String>, reason: impl AsRef<str>) {
        let line = reason.as_ref().lines().next().unwrap_or_default();
        let short: String = line.chars().take(LONGEST_REASON).collect();
        self.0.insert(key.into(), Series::Absent(short));
    }

    /// Whether there is anything, figures or a reason, under that key.
    pub fn knows(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The figures of that key, or why there are none.
    pub fn figures(&self, key: &str) -> Result<&[f64], String> {
        match self.0.get(key) {
            Some(Series::Taken(figures)) => Ok(figures),
            Some(Series::Absent(reason)) => Err(reason.clone()),
            None => Err("not measured in this run".to_owned()),
        }
    }

    /// Median and range of that key, in the unit the figures were taken in.
    pub fn spread(&self, key: &str) -> Result<Spread, String> {
        let figures = self.figures(key)?;
        Spread::of(figures).ok_or_else(|| "not measured in this run".to_owned())
    }

    /// `key` as a multiple of the median of `base`.
    ///
    /// The range is that of `key` alone: a ratio of two ranges would show the
    /// noise of the base twice.
    pub fn ratio(&self, key: &str, base: &str) -> Result<Spread, String> {
        let spread = self.spread(key)?;
        let base = self.spread(base)?;
        Ok(spread.over(base.median))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]).expect("four figures");
        assert_eq!(
            (spread.median, spread.least, spread.greatest),
            (2.5, 1.0, 4.0)
        );
    }

    #[test]
    fn the_median_of_an_odd_number_is_the_middle_one() {
        assert_eq!(Spread::of(&[9.0, 1.0, 5.0]).map(|s| s.median), Some(5.0));
    }

    #[test]
    fn no_figures_have_no_spread() {
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_ratio_is_over_the_median_of_its_base() {
        let mut all = Measurements::default();
        for figure in [10.0, 30.0, 20.0] {
            all.push("t/ours", figure);
            all.push("t/native", figure * 2.0);
        }
        let ratio = all.ratio("t/ours", "t/native").expect("both are there");
        assert_eq!(
            (ratio.median, ratio.least, ratio.greatest),
            (0.5, 0.25, 0.75)
        );
    }

    #[test]
    fn a_long_reason_is_cut_to_a_line() {
        let mut all = Measurements::default();
        all.absent("t/a", "first\nsecond");
        all.absent("t/b", "x".repeat(1000));
        assert_eq!(all.figures("t/a"), Err("first".to_owned()));
        assert_eq!(all.figures("t/b"), Err("x".repeat(LONGEST_REASON)));
    }

    #[test]
    fn an_absent_series_tells_its_reason_and_takes_no_more() {
        let mut all = Measurements::default();
        all.push("t/peer", 1.0);
        all.absent("t/peer", "it is not installed");
        all.push("t/peer", 2.0);
        assert_eq!(all.spread("t/peer"), Err("it is not installed".to_owned()));
    }
}
