//! Rewrites what the chart's tests compare with: the expected objects of each case, and
//! the list of values in the chart's README. Review the changes before committing them.

use std::fs;

use anyhow::Context;
use skiff_chart_tests::helm::Helm;
use skiff_chart_tests::{cases, chart, readme};

fn main() -> anyhow::Result<()> {
    let chart = chart();
    let helm = Helm::new()?;
    for case in cases::rendered()? {
        let rendered = helm.template(&chart, &case.values).context(case.name)?;
        fs::write(&case.expected, rendered)?;
    }
    let path = chart.join("README.md");
    let values = fs::read_to_string(chart.join("values.yaml"))?;
    let text = readme::with_values(&fs::read_to_string(&path)?, &values)?;
    fs::write(&path, text)?;
    Ok(())
}
