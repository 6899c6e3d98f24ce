//! Criterion measures the CPU time of the thread instead of wall time: on a machine that others use as well, a
//! benchmark would otherwise mostly measure them.

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// CPU time of the current thread, in nanoseconds. Benchmarks of one thread only.
#[derive(Debug)]
pub(crate) struct CpuTime;

impl CpuTime {
    fn now() -> i128 {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
        i128::from(tv_sec) * 1_000_000_000 + i128::from(tv_nsec)
    }
}

impl Measurement for CpuTime {
    type Intermediate = i128;
    type Value = i128;

    fn start(&self) -> i128 {
        Self::now()
    }

    fn end(&self, start: i128) -> i128 {
        Self::now() - start
    }

    fn add(&self, a: &i128, b: &i128) -> i128 {
        a + b
    }

    fn zero(&self) -> i128 {
        0
    }

    fn to_f64(&self, value: &i128) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &PerElement
    }
}

/// Times as Criterion writes them; rates also as a time for each element, which for events is the figure to watch.
struct PerElement;

impl ValueFormatter for PerElement {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_values(typical, values)
    }

    fn scale_throughputs(&self, typical: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let Throughput::Elements(elements) = throughput else {
            return WallTime.formatter().scale_throughputs(typical, throughput, values);
        };
        for value in values {
            *value /= *elements as f64;
        }
        "ns/event"
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "ns"
    }
}
