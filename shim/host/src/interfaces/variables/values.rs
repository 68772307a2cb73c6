//! The values of an application's variables: those that are known at its start, and those
//! that a provider is asked for while guests run.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use skiff_manifest::VariableName;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a provider may take. A guest's request waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an answer is kept, or a failure. A changed value is seen after this time, and a
/// provider is asked at most that often by a worker, for each variable.
const KEPT: Duration = Duration::from_secs(1);

/// What a provider has for a variable; `None` if it does not know it.
pub type Asking<'a> =
    Pin<Box<dyn Future<Output = Result<Option<String>, ProviderError>> + Send + 'a>>;

/// Someone who is asked for the values of variables while guests run, such as a server for
/// secrets.
///
/// It has no part in limiting how long a guest waits, or how often it is asked.
pub trait VariablesProvider: fmt::Debug + Send + Sync {
    /// Asks for a variable. This may be called in any worker, and so must not use anything
    /// that was opened elsewhere.
    fn ask<'a>(&'a self, name: &'a VariableName) -> Asking<'a>;
}

/// Why a provider has no answer. It must not hold secrets, as guests and the log show it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProviderError(pub String);

/// A place where values come from.
#[derive(Debug, Clone)]
pub enum ValueSource {
    /// Values that do not change, by name.
    Known(KnownValues),
    /// A provider.
    Asked(Arc<dyn VariablesProvider>),
}

/// Values that no message shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KnownValues(pub BTreeMap<String, String>);

impl fmt::Debug for KnownValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The values of an application's variables.
#[derive(Debug)]
pub struct Values {
    /// Sources in the order in which they are asked.
    sources: Vec<ValueSource>,
    values: BTreeMap<VariableName, Value>,
    /// [`PATIENCE`] and [`KEPT`], but for tests.
    patience: Duration,
    kept: Duration,
}

impl Default for Values {
    fn default() -> Self {
        Values::new([], Vec::new())
    }
}

enum Value {
    Known(String),
    /// Beginning with this source, somebody is asked.
    Asked(usize, Mutex<Option<Answer>>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Value::Known(_) => "known",
            Value::Asked(..) => "asked",
        })
    }
}

/// An answer, and since when it is known.
type Answer = (Instant, Result<Option<String>, ProviderError>);

impl Values {
    /// The values of these variables; the first source that has one counts.
    pub fn new(names: impl IntoIterator<Item = VariableName>, sources: Vec<ValueSource>) -> Self {
        let value = |name: &VariableName| {
            let mut sources = sources.iter().enumerate();
            sources.find_map(|(index, source)| match source {
                ValueSource::Known(known) => known.0.get(name.as_ref()).cloned().map(Value::Known),
                ValueSource::Asked(_) => Some(Value::Asked(index, Mutex::default())),
            })
        };
        let values = names.into_iter().filter_map(|name| {
            let value = value(&name)?;
            Some((name, value))
        });
        Values {
            values: values.collect(),
            sources,
            patience: PATIENCE,
            kept: KEPT,
        }
    }

    /// The value of a variable for which nobody has to be asked.
    pub fn known(&self, name: &str) -> Option<&str> {
        match self.values.get(name)? {
            Value::Known(value) => Some(value),
            Value::Asked(..) => None,
        }
    }

    /// Whether somebody has to be asked for a variable.
    pub fn is_asked(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(Value::Asked(..)))
    }

    /// The value of any variable; `None` if no source has one. Providers have five seconds
    /// each, and what they say is kept for a second.
    ///
    /// # Errors
    /// The first provider that was asked and has no answer.
    pub async fn get(&self, name: &str) -> Result<Option<String>, ProviderError> {
        let Some((name, value)) = self.values.get_key_value(name) else {
            return Ok(None);
        };
        let (first, kept) = match value {
            Value::Known(value) => return Ok(Some(value.clone())),
            Value::Asked(first, kept) => (*first, kept),
        };
        // One asks, and those that come meanwhile take its answer.
        let mut kept = kept.lock().await;
        if let Some((since, answer)) = &*kept
            && since.elapsed() < self.kept
        {
            return answer.clone();
        }
        let answer = self.ask(name, first).await;
        if let Err(error) = &answer {
            tracing::error!(variable = %name, %error, "A variable's provider has no answer");
        }
        *kept = Some((Instant::now(), answer.clone()));
        answer
    }

    async fn ask(
        &self,
        name: &VariableName,
        first: usize,
    ) -> Result<Option<String>, ProviderError> {
        for source in self.sources.iter().skip(first) {
            let value = match source {
                ValueSource::Known(known) => known.0.get(name.as_ref()).cloned(),
                ValueSource::Asked(provider) => {
                    let patience = self.patience;
                    let asked = tokio::time::timeout(patience, provider.ask(name)).await;
                    asked.map_err(|_| {
                        ProviderError(format!("{provider:?} gave no answer within {patience:?}"))
                    })??
                }
            };
            if value.is_some() {
                return Ok(value);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Knows one variable after a while, and counts how often it is asked.
    #[derive(Debug, Default)]
    struct Slow {
        asked: AtomicUsize,
        takes: Duration,
        fails: bool,
    }

    impl VariablesProvider for Slow {
        fn ask<'a>(&'a self, name: &'a VariableName) -> Asking<'a> {
            Box::pin(async move {
                let count = self.asked.fetch_add(1, Relaxed) + 1;
                tokio::time::sleep(self.takes).await;
                if self.fails {
                    return Err(ProviderError("the vault is locked".into()));
                }
                Ok((name.as_ref() == "pass").then(|| format!("s3cret{count}")))
            })
        }
    }

    fn known(pairs: &[(&str, &str)]) -> ValueSource {
        let pairs = pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        ValueSource::Known(KnownValues(pairs.collect()))
    }

    fn values(slow: &Arc<Slow>) -> Values {
        let names = ["before", "pass", "after", "none"].map(|name| name.parse().unwrap());
        let provider: Arc<dyn VariablesProvider> = Arc::<Slow>::clone(slow);
        let sources = vec![
            known(&[("before", "s3cret")]),
            ValueSource::Asked(provider),
            known(&[("before", "no"), ("pass", "no"), ("after", "default")]),
        ];
        Values::new(names, sources)
    }

    #[tokio::test]
    async fn the_first_source_that_has_a_value_counts() {
        let slow = Arc::default();
        let values = values(&slow);
        assert_eq!(values.known("before"), Some("s3cret"));
        assert!(values.is_asked("pass") && values.is_asked("after") && !values.is_asked("before"));
        let get = async |name| values.get(name).await.unwrap();
        assert_eq!(get("before").await.as_deref(), Some("s3cret"));
        assert_eq!(slow.asked.load(Relaxed), 0);
        assert_eq!(get("pass").await.as_deref(), Some("s3cret1"));
        assert_eq!(get("after").await.as_deref(), Some("default"));
        assert_eq!(get("none").await, None);
        assert_eq!(get("undeclared").await, None);
        assert!(!format!("{values:?}").contains("s3cret"), "{values:?}");
    }

    #[tokio::test]
    async fn a_provider_is_asked_once_in_its_time_however_many_want_to_know() {
        let slow = Arc::new(Slow {
            takes: Duration::from_millis(10),
            ..Slow::default()
        });
        let mut values = values(&slow);
        let both = tokio::join!(values.get("pass"), values.get("pass"));
        assert_eq!(
            both,
            (Ok(Some("s3cret1".into())), Ok(Some("s3cret1".into())))
        );
        values.kept = Duration::ZERO;
        assert_eq!(values.get("pass").await, Ok(Some("s3cret2".into())));
        assert_eq!(slow.asked.load(Relaxed), 2);
    }

    #[tokio::test]
    async fn a_provider_that_does_not_answer_is_given_up_for_all_who_wait() {
        let slow = Arc::new(Slow {
            takes: Duration::from_secs(3600),
            ..Slow::default()
        });
        let mut values = values(&slow);
        values.patience = Duration::from_millis(20);
        let (first, second) = tokio::join!(values.get("pass"), values.get("pass"));
        assert_eq!(first, second);
        assert_eq!(slow.asked.load(Relaxed), 1);
        let error = first.unwrap_err().to_string();
        assert!(error.ends_with("gave no answer within 20ms"), "{error}");
    }

    #[tokio::test]
    async fn a_failure_is_not_taken_for_a_missing_value() {
        let slow = Arc::new(Slow {
            fails: true,
            ..Slow::default()
        });
        let error = values(&slow).get("after").await.unwrap_err();
        assert_eq!(error.to_string(), "the vault is locked");
    }
}
