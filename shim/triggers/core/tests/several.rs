//! Several triggers of one application: one that every worker runs, and one that runs once.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use skiff_trigger::{BoxError, DrainOutcome, Run, Runs, ServeError, State, Trigger, Triggers};
use tokio::sync::{Notify, oneshot};

const LIMIT: Duration = Duration::from_secs(20);

/// What both triggers of a test do.
#[derive(Default, Clone)]
struct Script(Arc<Inner>);

#[derive(Default)]
struct Inner {
    served: AtomicUsize,
    gets_ready: Notify,
    finishes: Notify,
    fails: Notify,
    ends: Mutex<Vec<Instant>>,
}

impl Script {
    async fn serve(self, mut run: Run, left: usize) -> Result<DrainOutcome, BoxError> {
        self.0.served.fetch_add(1, Ordering::Relaxed);
        self.0.gets_ready.notified().await;
        run.ready();
        run.ready();
        tokio::select! {
            end = run.stopped() => self.0.ends.lock().unwrap().push(end),
            () = self.0.fails.notified() => return Err("the broker is gone".into()),
        }
        self.0.finishes.notified().await;
        Ok(match left {
            0 => DrainOutcome::Finished,
            left => DrainOutcome::Cut { left },
        })
    }
}

/// Behaves like a listener.
struct Everywhere(Script);

impl Trigger for Everywhere {
    const TYPE: &'static str = "everywhere";
    const RUNS: Runs = Runs::OncePerWorker;
    type Declared = ();
    type Mistake = Infallible;

    fn prepare(_: &str, (): &()) -> Result<(), Infallible> {
        Ok(())
    }

    async fn serve(self, run: Run) -> Result<DrainOutcome, BoxError> {
        self.0.serve(run, 0).await
    }
}

/// Behaves like a schedule. Two of its jobs are never finished.
struct Once(Script);

impl Trigger for Once {
    const TYPE: &'static str = "once";
    const RUNS: Runs = Runs::OncePerApplication;
    type Declared = ();
    type Mistake = Infallible;

    fn prepare(_: &str, (): &()) -> Result<(), Infallible> {
        Ok(())
    }

    async fn serve(self, run: Run) -> Result<DrainOutcome, BoxError> {
        self.0.serve(run, 2).await
    }
}

/// Serves both triggers in a worker, until the sender signals.
fn start(
    worker: usize,
    everywhere: &Script,
    once: &Script,
) -> (
    skiff_trigger::Health,
    oneshot::Sender<Instant>,
    tokio::task::JoinHandle<Result<DrainOutcome, ServeError>>,
) {
    let triggers = Triggers::of_worker(worker)
        .with(Everywhere(everywhere.clone()))
        .with(Once(once.clone()));
    let (stop, stopped) = oneshot::channel();
    let health = triggers.health();
    let serve = triggers.serve(LIMIT, async move { stopped.await.unwrap() });
    (health, stop, tokio::spawn(serve))
}

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.unwrap()
}

#[tokio::test]
async fn what_runs_once_runs_in_the_first_worker_alone() {
    let (everywhere, once) = (Script::default(), Script::default());
    let workers: Vec<_> = (0..4)
        .map(|worker| start(worker, &everywhere, &once))
        .collect();
    once.0.gets_ready.notify_one();
    for _ in 0..4 {
        everywhere.0.gets_ready.notify_one();
        tokio::task::yield_now().await;
    }
    for (health, ..) in &workers {
        assert_eq!(soon(health.started()).await, State::Ready);
    }
    assert_eq!(everywhere.0.served.load(Ordering::Relaxed), 4);
    assert_eq!(once.0.served.load(Ordering::Relaxed), 1);
    for (number, (_, stop, served)) in workers.into_iter().enumerate() {
        stop.send(Instant::now()).unwrap();
        everywhere.0.finishes.notify_one();
        once.0.finishes.notify_one();
        let expected = match number {
            0 => DrainOutcome::Cut { left: 2 },
            _ => DrainOutcome::Finished,
        };
        assert_eq!(soon(served).await.unwrap().unwrap(), expected);
    }
}

#[tokio::test]
async fn an_application_is_ready_and_gone_with_its_last_trigger() {
    let (everywhere, once) = (Script::default(), Script::default());
    let (health, stop, served) = start(0, &everywhere, &once);
    everywhere.0.gets_ready.notify_one();
    let early = tokio::time::timeout(Duration::from_millis(50), health.started()).await;
    assert!(early.is_err(), "one trigger is not ready");
    once.0.gets_ready.notify_one();
    assert_eq!(soon(health.started()).await, State::Ready);

    let told = Instant::now();
    stop.send(told).unwrap();
    once.0.finishes.notify_one();
    soon(async {
        while health.state() != State::Going {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!served.is_finished(), "one trigger has not finished");
    everywhere.0.finishes.notify_one();
    assert_eq!(
        soon(served).await.unwrap().unwrap(),
        DrainOutcome::Cut { left: 2 }
    );
    // Both were stopped at once, with the same limit.
    for script in [everywhere, once] {
        assert_eq!(*script.0.ends.lock().unwrap(), [told + LIMIT]);
    }
}

#[tokio::test]
async fn a_trigger_that_fails_takes_the_others_down_in_order() {
    let (everywhere, once) = (Script::default(), Script::default());
    let (health, _stop, served) = start(0, &everywhere, &once);
    everywhere.0.gets_ready.notify_one();
    once.0.gets_ready.notify_one();
    assert_eq!(soon(health.started()).await, State::Ready);
    once.0.fails.notify_one();
    everywhere.0.finishes.notify_one();
    let error = soon(served).await.unwrap().unwrap_err();
    assert!(matches!(
        error,
        ServeError::Failed {
            trigger: "once",
            ..
        }
    ));
    assert_eq!(health.state(), State::Failed);
    assert_eq!(everywhere.0.ends.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_worker_without_triggers_is_ready_and_waits() {
    let triggers = Triggers::of_worker(1).with(Once(Script::default()));
    let health = triggers.health();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(triggers.serve(LIMIT, async move { stopped.await.unwrap() }));
    assert_eq!(soon(health.started()).await, State::Ready);
    assert!(!served.is_finished());
    stop.send(Instant::now()).unwrap();
    assert_eq!(soon(served).await.unwrap().unwrap(), DrainOutcome::Finished);
}
