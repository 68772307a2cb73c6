//! Runs cases, each in its own namespace, and prints a line for each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use skiff_test_support::leftovers::Leftover;

use crate::cluster::Cluster;
use crate::options::Options;
use crate::space::Space;

/// How many cases run at once. Most of them wait for kubelet most of the time.
const AT_ONCE: usize = 4;

/// The default time limit of a case.
const CASE_WITHIN: Duration = Duration::from_secs(600);

type Body = Box<dyn Fn(Space) -> BoxFuture<'static, anyhow::Result<Vec<String>>> + Send + Sync>;

/// One thing that must hold.
pub(crate) struct Case {
    name: String,
    alone: bool,
    short: bool,
    own: bool,
    within: Duration,
    body: Body,
}

/// What a body may return: nothing, or remarks that are printed below its line.
pub(crate) trait Remarks {
    /// The lines.
    fn lines(self) -> Vec<String>;
}

impl Remarks for () {
    fn lines(self) -> Vec<String> {
        Vec::new()
    }
}

impl Remarks for Vec<String> {
    fn lines(self) -> Vec<String> {
        self
    }
}

impl Case {
    /// A case, named after the behaviour it checks.
    pub(crate) fn new<F, R, T>(name: &str, body: F) -> Self
    where
        F: Fn(Space) -> R + Send + Sync + 'static,
        R: Future<Output = anyhow::Result<T>> + Send + 'static,
        T: Remarks,
    {
        Self {
            name: name.trim_start_matches("cluster::cases::").to_owned(),
            alone: false,
            short: false,
            own: false,
            within: CASE_WITHIN,
            body: Box::new(move |space| {
                let ran = body(space);
                Box::pin(async move { Ok(ran.await?.lines()) })
            }),
        }
    }

    /// Runs it while no other case runs: it measures, or breaks something.
    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Takes it into the short version.
    pub(crate) fn short(mut self) -> Self {
        self.short = true;
        self
    }

    /// Leaves it out on an existing cluster: it looks at or breaks what belongs to the
    /// run.
    pub(crate) fn own(mut self) -> Self {
        self.own = true;
        self
    }

    /// Gives it more time, or less.
    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    fn is_wanted(&self, options: &Options) -> bool {
        if self.own && options.kubeconfig.is_some() {
            return false;
        }
        let named = options.cases.iter().any(|word| self.name.contains(word));
        match options.cases.is_empty() {
            true => self.short || !options.short,
            false => named,
        }
    }

    /// A valid name of a namespace.
    fn space(&self) -> String {
        const LONGEST: usize = 50;
        let plain: String = self.name.replace("::", "-").replace('_', "-");
        plain
            .chars()
            .take(LONGEST)
            .collect::<String>()
            .trim_end_matches('-')
            .to_owned()
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

/// How the run went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    passed: usize,
    failed: Vec<String>,
    took: Duration,
}

impl Outcome {
    /// Whether nothing failed.
    pub(crate) fn is_good(&self) -> bool {
        self.failed.is_empty()
    }

    /// Counts leftovers as a separate case.
    pub(crate) fn count_leftovers(&mut self, left: &[Leftover]) {
        let lines: Vec<_> = left.iter().map(ToString::to_string).collect();
        let verdict = match lines.is_empty() {
            true => Ok(Vec::new()),
            false => Err(anyhow::anyhow!("{}", lines.join("\n"))),
        };
        let name = "nothing_is_left_after_the_last_case";
        self.count(name, verdict, Duration::ZERO);
    }

    /// Prints the names of what failed and the closing line.
    pub(crate) fn print(&self) {
        for name in &self.failed {
            println!("failed: {name}");
        }
        let word = if self.is_good() { "ok" } else { "FAILED" };
        println!(
            "\ncluster: {word}. {} passed; {} failed; finished in {:.0} s",
            self.passed,
            self.failed.len(),
            self.took.as_secs_f64(),
        );
    }

    fn count(&mut self, name: &str, verdict: anyhow::Result<Vec<String>>, took: Duration) {
        let seconds = took.as_secs_f64();
        match verdict {
            Ok(remarks) => {
                println!("{name} ... ok ({seconds:.1} s)");
                for remark in remarks {
                    println!("    {remark}");
                }
                self.passed += 1;
            }
            Err(error) => {
                // Printed at once: a run of an hour may be cut off before its end.
                println!("{name} ... FAILED ({seconds:.1} s)\n{error:#}\n");
                self.failed.push(name.to_owned());
            }
        }
    }
}

/// Prints the names of the cases that the options select.
pub(crate) fn list(cases: &[Case], options: &Options) {
    for case in cases.iter().filter(|case| case.is_wanted(options)) {
        println!("{}", case.name);
    }
}

/// Runs the cases and returns the cluster. Cases that must run alone come after the
/// others, in their order.
///
/// # Errors
///
/// When a case still holds the cluster although it ended.
pub(crate) async fn run(
    cases: Vec<Case>,
    options: &Options,
    cluster: Cluster,
) -> anyhow::Result<(Cluster, Outcome)> {
    let began = Instant::now();
    let cluster = Arc::new(cluster);
    let mut outcome = Outcome::default();
    let wanted = cases.into_iter().filter(|case| case.is_wanted(options));
    let (alone, together): (Vec<_>, Vec<_>) = wanted.partition(|case| case.alone);
    println!("running {} cases", alone.len() + together.len());
    for (group, width) in [(together, AT_ONCE), (alone, 1)] {
        let mut running = stream::iter(group)
            .map(|case| verdict(case, Arc::clone(&cluster)))
            .buffer_unordered(width);
        while let Some((name, verdict, took)) = running.next().await {
            outcome.count(&name, verdict, took);
        }
    }
    outcome.took = began.elapsed();
    outcome.count(
        "every_part_of_the_cluster_still_runs",
        cluster.check().map(|()| Vec::new()),
        Duration::ZERO,
    );
    let cluster = Arc::into_inner(cluster).context("a task of a case outlives it")?;
    Ok((cluster, outcome))
}

/// Runs one case in a separate task, so that a panic only fails this case.
async fn verdict(
    case: Case,
    cluster: Arc<Cluster>,
) -> (String, anyhow::Result<Vec<String>>, Duration) {
    let began = Instant::now();
    let space = match Space::make(cluster, &case.space()).await {
        Ok(space) => space,
        Err(error) => return (case.name, Err(error), began.elapsed()),
    };
    let mut task = tokio::spawn((case.body)(space.clone()));
    let mut verdict = match tokio::time::timeout(case.within, &mut task).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(panic)) => Err(anyhow::anyhow!("{panic}")),
        Err(_) => {
            task.abort();
            // Only then has it released the cluster.
            task.await.ok();
            Err(anyhow::anyhow!("it did not end within {:?}", case.within))
        }
    };
    let took = began.elapsed();
    if let Err(error) = verdict {
        let story = space.story().await;
        let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
        let causes = causes.join("\ncaused by: ");
        verdict = Err(anyhow::anyhow!("{causes}\n{story}"));
    }
    if let Err(error) = space.remove().await {
        let before = verdict.err().map(|error| format!("{error:#}\n"));
        let before = before.unwrap_or_default();
        verdict = Err(anyhow::anyhow!(
            "{before}its namespace is not deleted: {error:#}"
        ));
    }
    (case.name, verdict, took)
}
