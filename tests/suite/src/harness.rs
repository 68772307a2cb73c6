//! Runs cases and prints what `cargo test` prints. It exists because the cases of one
//! program share one containerd that must be shut down after the last of them, which the
//! built-in harness does not support.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use skiff_test_support::leftovers::Leftover;

use crate::node::Node;

/// How many cases run at once. They mostly wait, so this exceeds the cores of a small
/// machine, but is few enough for the times that they expect.
const AT_ONCE: usize = 4;

/// How long one case may take. Longer than any limit inside one, so that a case itself
/// reports what it waited for.
const CASE_WITHIN: Duration = Duration::from_secs(300);

/// A case that takes longer is printed with its time.
const REMARKABLE: Duration = Duration::from_secs(5);

type Body = Box<dyn Fn(Arc<Node>) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// One thing that must hold.
pub struct Case {
    name: String,
    alone: bool,
    body: Body,
}

impl Case {
    /// A case, named after the behaviour it checks.
    pub fn new<F, R>(name: impl Into<String>, body: F) -> Self
    where
        F: Fn(Arc<Node>) -> R + Send + Sync + 'static,
        R: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        Self {
            name: name.into(),
            alone: false,
            body: Box::new(move |node| Box::pin(body(node))),
        }
    }

    /// Drops the common path of this crate's names.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        self.name = self
            .name
            .trim_start_matches("skiff_suite::cases::")
            .to_owned();
        self
    }

    /// Runs it while no other case runs: it loads the machine, or measures.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }
}

/// Makes the cases of a module from its functions; a case is named by its
/// module and function.
#[macro_export]
macro_rules! cases {
    ($($body:ident),* $(,)?) => {
        vec![$($crate::harness::Case::new(
            concat!(module_path!(), "::", stringify!($body)),
            $body,
        )),*]
    };
}

/// The command line, as `cargo test` passes it on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Only print the names.
    pub list: bool,
    /// Show containerd's log after a failure.
    pub show_log: bool,
    /// Use the machine's own network and mounts, so that pods can be inspected from
    /// another terminal.
    pub on_this_machine: bool,
    exact: bool,
    filters: Vec<String>,
    skips: Vec<String>,
}

impl Options {
    /// Reads the arguments. Options of the built-in harness without a meaning here are
    /// ignored, so that `cargo test -- --quiet` works.
    pub fn read(args: impl Iterator<Item = String>) -> Self {
        let mut options = Self::default();
        let mut args = args;
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--list" => options.list = true,
                "--on-this-machine" => options.on_this_machine = true,
                "--exact" => options.exact = true,
                "--nocapture" | "--show-output" => options.show_log = true,
                "--skip" => options.skips.extend(args.next()),
                "--test-threads" | "--color" | "--format" | "-Z" | "--logfile" => {
                    args.next();
                }
                _ if arg.starts_with('-') => {}
                _ => options.filters.push(arg),
            }
        }
        options
    }

    fn takes(&self, name: &str) -> bool {
        let meets = |text: &String| {
            if self.exact {
                name == text
            } else {
                name.contains(text)
            }
        };
        (self.filters.is_empty() || self.filters.iter().any(meets)) && !self.skips.iter().any(meets)
    }
}

/// How the run went.
#[derive(Debug, Default)]
pub struct Outcome {
    passed: usize,
    failed: Vec<(String, String)>,
    filtered: usize,
    took: Duration,
}

impl Outcome {
    /// Whether nothing failed.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty()
    }

    /// Counts leftovers on the machine as a separate case.
    pub fn leftovers(&mut self, left: &[Leftover]) {
        let lines: Vec<_> = left.iter().map(ToString::to_string).collect();
        let verdict = if lines.is_empty() {
            Ok(())
        } else {
            Err(anyhow::anyhow!("{}", lines.join("\n")))
        };
        self.count(
            "nothing_is_left_after_the_last_case",
            verdict,
            Duration::ZERO,
        );
    }

    /// Prints the failures and the closing line.
    pub fn print(&self) {
        for (name, reason) in &self.failed {
            println!("\n---- {name} ----\n{reason}");
        }
        let word = if self.is_good() { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; \
             finished in {:.2}s\n",
            self.passed,
            self.failed.len(),
            self.filtered,
            self.took.as_secs_f64(),
        );
    }

    fn count(&mut self, name: &str, verdict: anyhow::Result<()>, took: Duration) {
        let remark = if took > REMARKABLE {
            format!(" <{:.3}s>", took.as_secs_f64())
        } else {
            String::new()
        };
        match verdict {
            Ok(()) => {
                println!("test {name} ... ok{remark}");
                self.passed += 1;
            }
            Err(error) => {
                println!("test {name} ... FAILED{remark}");
                self.failed.push((name.to_owned(), told(&error)));
            }
        }
    }
}

/// An error with its causes, one per line. Backtraces would only show this harness, as
/// cases are tasks.
fn told(error: &anyhow::Error) -> String {
    let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    causes.join("\ncaused by: ")
}

/// Prints the names of the cases that the options select.
pub fn list(cases: &[Case], options: &Options) {
    for case in cases.iter().filter(|case| options.takes(&case.name)) {
        println!("{}: test", case.name);
    }
}

/// Runs the cases, those that must run alone after the others, and returns the node.
///
/// # Errors
///
/// When a case still holds the node although it ended.
pub async fn run(
    cases: Vec<Case>,
    options: &Options,
    node: Node,
) -> anyhow::Result<(Node, Outcome)> {
    let began = Instant::now();
    let node = Arc::new(node);
    let mut outcome = Outcome::default();
    let (wanted, others): (Vec<_>, Vec<_>) = cases
        .into_iter()
        .partition(|case| options.takes(&case.name));
    outcome.filtered = others.len();
    println!("\nrunning {} tests", wanted.len() + 1);
    let (alone, together): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|case| case.alone);
    for (group, width) in [(together, AT_ONCE), (alone, 1)] {
        let mut running = stream::iter(group)
            .map(|case| verdict(case, Arc::clone(&node)))
            .buffer_unordered(width);
        while let Some((name, verdict, took)) = running.next().await {
            outcome.count(&name, verdict, took);
        }
    }
    outcome.took = began.elapsed();
    let node = Arc::into_inner(node).context("a task of a case outlives it")?;
    Ok((node, outcome))
}

/// Runs one case in a separate task, so that a panic only fails this case.
async fn verdict(case: Case, node: Arc<Node>) -> (String, anyhow::Result<()>, Duration) {
    let began = Instant::now();
    let mut task = tokio::spawn((case.body)(node));
    let verdict = match tokio::time::timeout(CASE_WITHIN, &mut task).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(panic)) => Err(anyhow::anyhow!("{panic}")),
        Err(_) => {
            task.abort();
            // Only then has it released the node.
            task.await.ok();
            Err(anyhow::anyhow!("it did not end within {CASE_WITHIN:?}"))
        }
    };
    (case.name, verdict, began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Options {
        Options::read(args.iter().map(|arg| (*arg).to_owned()))
    }

    #[test]
    fn a_filter_takes_what_holds_it_and_skip_leaves_out() {
        let options = read(&["logs", "--skip", "slow"]);
        assert!(options.takes("suite::logs::whole"));
        assert!(!options.takes("suite::logs::slow"));
        assert!(!options.takes("suite::kinds::spin"));
    }

    #[test]
    fn options_of_the_built_in_harness_are_no_filters() {
        assert_eq!(
            read(&["--quiet", "--test-threads", "1"]),
            Options::default()
        );
    }

    #[test]
    fn an_exact_filter_takes_one_name_only() {
        let options = read(&["a::b", "--exact"]);
        assert!(options.takes("a::b"));
        assert!(!options.takes("a::b::c"));
    }
}
