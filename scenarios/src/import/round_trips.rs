//! Recorded round trips: what `ping` printed, or a table whose last column is the round trip in milliseconds.
//!
//! Half of a round trip is taken for one way, because a recording of round trips does not tell the ways apart.

use std::sync::Arc;

use sim_core::{Distribution, SimDuration};

use crate::diagnostic::{Source, Spot, UserError};

/// Reads one-way latencies from a recording of round trips.
///
/// In the output of `ping`, the lines with `time=` count. In any other file, each line is one measurement: fields are
/// separated by commas, semicolons or white space and the last one counts; empty lines, lines that begin with `#`, and
/// a first line without a number are left out.
///
/// # Errors
/// A line whose last field is not a time in milliseconds, or a file without measurements.
pub fn read_round_trips(source: &Arc<Source>) -> Result<Distribution, UserError> {
    let is_ping = source.text.contains("time=");
    let mut one_way = Vec::new();
    let mut start = 0;
    for (index, whole) in source.text.split_inclusive('\n').enumerate() {
        let line = whole.trim();
        let begins = start + (whole.len() - whole.trim_start().len());
        start += whole.len();
        let field = if is_ping {
            line.split("time=").nth(1).and_then(|rest| rest.split_whitespace().next())
        } else if line.starts_with('#') {
            None
        } else {
            line.rsplit(|c: char| c == ',' || c == ';' || c.is_whitespace())
                .next()
                .filter(|field| !field.is_empty())
        };
        let Some(field) = field else { continue };
        match nanos(field.trim_end_matches("ms")) {
            Some(nanos) => one_way.push(SimDuration::from_nanos(nanos / 2)),
            None if index == 0 => {}
            None => {
                let spot = Spot::new(source, begins..begins + line.len());
                let message = format!("`{field}` is not a round trip in milliseconds");
                return Err(UserError::at(spot, message, "expected a number such as 0.231"));
            }
        }
    }
    if one_way.is_empty() {
        let spot = Spot::new(source, 0..source.text.len().min(1));
        return Err(UserError::at(spot, "there are no round trips in this file", "expected one to a line")
            .help("a column of milliseconds, or the output of `ping`"));
    }
    Ok(Distribution::Empirical(one_way))
}

/// A decimal number of milliseconds in whole nanoseconds; digits beyond those are cut off. At most an hour.
fn nanos(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<6.6}").parse().ok()?;
    let nanos = whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)?;
    (nanos <= 3_600_000_000_000).then_some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Result<Vec<u64>, String> {
        let read = read_round_trips(&Source::new("rtt.csv", text)).map_err(|error| error.report(false))?;
        let Distribution::Empirical(lengths) = read else { unreachable!("recordings are empirical") };
        Ok(lengths.into_iter().map(|length| length.as_nanos() / 1_000).collect())
    }

    #[test]
    fn the_last_column_counts_whatever_separates_it() {
        assert_eq!(micros("0.5\n1\n\n# a remark\n2.25\n"), Ok(vec![250, 500, 1_125]));
        assert_eq!(micros("time,rtt_ms\n1,0.5\n2,0.75\n"), Ok(vec![250, 375]));
        assert_eq!(micros("1700000000;0.5ms\r\n1700000001 \t 0.7\r\n"), Ok(vec![250, 350]));
    }

    #[test]
    fn the_output_of_ping_is_understood() {
        let text = "PING db-2 (10.0.0.2) 56(84) bytes of data.\n\
            64 bytes from db-2: icmp_seq=1 ttl=64 time=0.231 ms\n\
            64 bytes from db-2: icmp_seq=2 ttl=64 time=12.4 ms\n\n\
            2 packets transmitted, 2 received, 0% packet loss, time 1001ms\n";
        assert_eq!(micros(text), Ok(vec![115, 6_200]));
    }

    #[test]
    fn what_is_no_time_is_refused_with_its_line() {
        for (text, place) in
            [("1\nabc\n", "rtt.csv:2:1"), ("1\n  2,-3\n", "rtt.csv:2:3"), ("", "rtt.csv:1:1")]
        {
            let message = micros(text).unwrap_err();
            assert!(message.contains(place), "{message}");
        }
    }
}
