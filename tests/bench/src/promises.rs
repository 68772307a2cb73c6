//! The project's promises in numbers, and how figures are judged by them.
//!
//! A promise has two numbers: the one that a release must reach, and the design's more
//! ambitious target. Either may be missing.

use serde::Serialize;

use Bound::{AtLeast, AtMost};

/// On which side of a number a figure has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    AtMost(f64),
}

impl Bound {
    /// Whether the figure keeps the promise.
    pub fn holds(self, figure: f64) -> bool {
        match self {
            AtLeast(number) => figure >= number,
            AtMost(number) => figure <= number,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AtLeast(number) => write!(out, "≥ {number}"),
            AtMost(number) => write!(out, "≤ {number}"),
        }
    }
}

/// The unit of a row's figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Times the base.
    Ratio,
    /// Seconds.
    Seconds,
    /// Megabytes of 1,000,000 bytes.
    Megabytes,
    /// How many.
    Count,
}

/// One promise.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// The series that is judged.
    pub key: &'static str,
    /// The series it is divided by, if any.
    pub base: Option<&'static str>,
    /// The name of the row.
    pub what: &'static str,
    /// The unit of the figure.
    pub unit: Unit,
    /// The number that a release must reach.
    pub required: Option<Bound>,
    /// The design's target.
    pub target: Option<Bound>,
}

/// A ratio of two series; most promises are one.
const fn ratio(
    what: &'static str,
    key: &'static str,
    base: &'static str,
    required: Option<Bound>,
    target: Option<Bound>,
) -> Promise {
    Promise {
        key,
        base: Some(base),
        what,
        unit: Unit::Ratio,
        required,
        target,
    }
}

/// A promise in the figure's own unit.
const fn plain(
    what: &'static str,
    key: &'static str,
    unit: Unit,
    required: Option<Bound>,
    target: Option<Bound>,
) -> Promise {
    Promise {
        key,
        base: None,
        what,
        unit,
        required,
        target,
    }
}

/// Every promise, in the order of the table.
pub const PROMISES: &[Promise] = &[
    ratio(
        "processor time a request, hello WASI 0.2, fresh instance, times native",
        "time/skiff/hello-wasi",
        "time/native",
        Some(AtMost(1.6)),
        Some(AtMost(1.4)),
    ),
    ratio(
        "processor time a request, hello WASI 0.2, instance reused, times native",
        "time/skiff-reuse/hello-wasi",
        "time/native",
        Some(AtMost(1.15)),
        None,
    ),
    ratio(
        "processor time a request, hello WASI 0.3, default reuse, times native",
        "time/skiff/hello-rust",
        "time/native",
        Some(AtMost(1.8)),
        Some(AtMost(1.5)),
    ),
    ratio(
        "processor time a request, JavaScript hello, fresh instance, times native",
        "time/skiff/hello-js",
        "time/native",
        Some(AtMost(6.5)),
        Some(AtMost(5.0)),
    ),
    plain(
        "minor faults a request, JavaScript hello, fresh instance",
        "faults/skiff/hello-js",
        Unit::Count,
        Some(AtMost(3.0)),
        None,
    ),
    ratio(
        "processor time a request, Python hello, default reuse, times native",
        "time/skiff/hello-python",
        "time/native",
        Some(AtMost(11.0)),
        Some(AtMost(10.0)),
    ),
    ratio(
        "hello WASI 0.2, fresh instance, against native",
        "throughput/skiff/hello-wasi",
        "throughput/native",
        Some(AtLeast(0.80)),
        None,
    ),
    ratio(
        "hello WASI 0.2, fresh instance, against the best-tuned wasmtime serve",
        "throughput/skiff/hello-wasi",
        "throughput/wasmtime-tuned/hello-wasi",
        Some(AtLeast(2.4)),
        None,
    ),
    ratio(
        "hello WASI 0.2, fresh instance, against the floor's best",
        "throughput/skiff/hello-wasi",
        "throughput/floor-best/hello-wasi",
        Some(AtLeast(0.85)),
        None,
    ),
    ratio(
        "hello WASI 0.2, instance reused, against native",
        "throughput/skiff-reuse/hello-wasi",
        "throughput/native",
        None,
        Some(AtLeast(0.85)),
    ),
    ratio(
        "hello WASI 0.3 (spin-sdk 7), default reuse, against native",
        "throughput/skiff/hello-rust",
        "throughput/native",
        Some(AtLeast(0.45)),
        Some(AtLeast(0.70)),
    ),
    ratio(
        "JavaScript hello, fresh instance, against native",
        "throughput/skiff/hello-js",
        "throughput/native",
        None,
        Some(AtLeast(0.15)),
    ),
    ratio(
        "JavaScript hello, fresh instance, against the best-tuned wasmtime serve",
        "throughput/skiff/hello-js",
        "throughput/wasmtime-tuned/hello-js",
        Some(AtLeast(2.5)),
        None,
    ),
    ratio(
        "Python hello (WASI 0.3), against native",
        "throughput/skiff/hello-python",
        "throughput/native",
        None,
        Some(AtLeast(0.15)),
    ),
    ratio(
        "a guest that calls a native server, against hello WASI 0.2",
        "throughput/skiff-outbound/forward",
        "throughput/skiff/hello-wasi",
        Some(AtLeast(0.5)),
        None,
    ),
    ratio(
        "a guest that calls a native server, against wasmtime serve",
        "throughput/skiff-outbound/forward",
        "throughput/wasmtime-outbound/forward",
        Some(AtLeast(3.0)),
        None,
    ),
    ratio(
        "three components that call each other in the process, against over sockets",
        "throughput/skiff-chained/forward",
        "throughput/skiff-by-sockets/forward",
        Some(AtLeast(2.0)),
        None,
    ),
    ratio(
        "a read of the default key-value store from a guest, times bare SQLite",
        "state/get/skiff",
        "state/get/bare",
        Some(AtMost(3.0)),
        None,
    ),
    ratio(
        "writes to the default key-value store, eight at once against one at a time",
        "state/sets/8",
        "state/sets/1",
        Some(AtLeast(1.0)),
        None,
    ),
    ratio(
        "one connection, mean latency of hello WASI 0.2, times native",
        "latency/skiff/hello-wasi",
        "latency/native",
        Some(AtMost(1.5)),
        Some(AtMost(1.2)),
    ),
    ratio(
        "cached image, create to first 200, times native under runc",
        "start/skiff/hello-wasi",
        "start/runc",
        Some(AtMost(1.0)),
        Some(AtMost(0.6)),
    ),
    ratio(
        "cached JavaScript image, create to first 200, times native under runc",
        "start/skiff/hello-js",
        "start/runc",
        Some(AtMost(1.1)),
        Some(AtMost(0.6)),
    ),
    ratio(
        "memory of a container, 20 alike, times native under runc",
        "memory/skiff/hello-wasi",
        "memory/runc",
        Some(AtMost(1.0)),
        Some(AtMost(0.35)),
    ),
    ratio(
        "memory of a dense container, 20 alike, times native under runc",
        "memory/skiff-dense/hello-wasi",
        "memory/runc",
        None,
        Some(AtMost(0.05)),
    ),
    plain(
        "memory of a container 60 s after a burst of 64, times before",
        "burst/skiff/hello-wasi",
        Unit::Ratio,
        Some(AtMost(1.1)),
        None,
    ),
    plain(
        "memory of a JavaScript container 60 s after a burst of 64, times before",
        "burst/skiff/hello-js",
        Unit::Ratio,
        Some(AtMost(1.1)),
        None,
    ),
    plain(
        "memory of a JavaScript container, 10 alike",
        "memory/skiff/hello-js",
        Unit::Megabytes,
        Some(AtMost(8.0)),
        Some(AtMost(4.0)),
    ),
    plain(
        "first start of the JavaScript image on a node",
        "first-start/skiff/hello-js",
        Unit::Seconds,
        Some(AtMost(2.5)),
        Some(AtMost(1.0)),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_on_the_number_keeps_the_promise() {
        assert!(AtLeast(0.5).holds(0.5) && AtMost(0.5).holds(0.5));
    }

    #[test]
    fn a_figure_on_the_wrong_side_breaks_it() {
        assert!(!AtLeast(0.5).holds(0.49) && !AtMost(1.2).holds(1.21));
    }

    #[test]
    fn a_target_is_never_easier_than_what_is_required() {
        for promise in PROMISES {
            if let (Some(required), Some(target)) = (promise.required, promise.target) {
                let (AtLeast(number) | AtMost(number)) = target;
                assert!(required.holds(number), "{}", promise.what);
            }
        }
    }
}
