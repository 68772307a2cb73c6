//! A run in progress: the measurements so far and remarks about them.

use crate::report::Remark;
use crate::series::{Measurements, Spread};

/// Share of the machine that others may use before the report mentions it.
const NOTICEABLE: f64 = 0.03;

/// The results of the disciplines.
#[derive(Debug, Default)]
pub struct Run {
    /// Every figure.
    pub all: Measurements,
    /// Rows without a promise.
    pub others: Vec<Remark>,
    /// For each round of load, the share of the machine that others used.
    pub others_used: Vec<f64>,
    /// Remarks that a reader should know before trusting a figure.
    pub remarks: Vec<String>,
}

impl Run {
    /// Prints the progress to standard error; standard output is for the table.
    pub fn progress(&self, text: impl AsRef<str>) {
        eprintln!("bench: {}", text.as_ref());
    }

    /// All remarks, including one about a busy machine.
    pub fn final_remarks(&self) -> Vec<String> {
        let mut remarks = self.remarks.clone();
        if let Some(used) = Spread::of(&self.others_used)
            && used.median > NOTICEABLE
        {
            remarks.push(format!(
                "others used {:.0} % of the processors' time during the rounds (up to {:.0} %); ratios suffer from that",
                used.median * 100.0,
                used.greatest * 100.0
            ));
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_mentioned_and_a_quiet_one_is_not() {
        let after = |others_used: Vec<f64>| {
            let run = Run {
                others_used,
                ..Run::default()
            };
            run.final_remarks()
        };
        assert!(after(vec![0.01, 0.02, 0.01]).is_empty());
        assert!(after(vec![0.01, 0.30, 0.25])[0].starts_with("others used 25 %"));
    }
}
