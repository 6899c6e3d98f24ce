//! `hasim calibrate`: the models beside failovers that were measured.

use std::path::PathBuf;

use analysis::plot::{EcdfSeries, Panel, panels};
use analysis::stats::{Quantile, Sample};
use clap::Args;
use serde::Serialize;
use sim_core::SimDuration;

use super::{Failure, Terminal, campaign_options, table};
use crate::calibrate::{self, Agreement, Compared, Comparison, OUTAGE, Side};
use crate::exit::Exit;
use crate::{VERSION, atomic_file};

/// Options of `calibrate`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// A folder with some of `patroni.csv`, `etcd.csv`, `sentinel.csv`, `redis-cluster.csv`: one row for each failover that was measured.
    folder: PathBuf,
    /// How many runs stand for a point.
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    runs: u64,
    /// How many threads; all processors without. The result does not depend on it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024), env = "HASIM_JOBS", hide_env_values = true)]
    jobs: Option<u16>,
    /// Writes all quantiles, distances and observations as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws the measured and the simulated distribution of each point as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// The layout of the JSON file; grows when a field changes its meaning or goes away.
const FORMAT_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    format_version: u32,
    version: &'static str,
    exit_code: u8,
    points: &'a [Compared],
}

pub(super) fn run(options: &Options, terminal: &mut Terminal<'_>) -> Result<Exit, Failure> {
    let measurements = calibrate::read(&options.folder)?;
    for remark in &measurements.remarks {
        terminal.say(&remark.to_string());
    }
    for path in [&options.json, &options.plot].into_iter().flatten() {
        atomic_file::check(path)?;
    }
    let threads = campaign_options::threads(options.jobs)?;
    let progress = campaign_options::progress_bar(measurements.points.len() as u64, terminal.interactive);
    let mut compared = Vec::new();
    for point in &measurements.points {
        progress.set_message(point.title.clone());
        compared.push(threads.install(|| point.compare(options.runs)));
        progress.inc(1);
    }
    progress.finish_and_clear();
    let agree = compared.iter().filter(|point| point.agreement == Agreement::Agrees).count();
    let close = compared
        .iter()
        .filter(|point| matches!(point.agreement, Agreement::Agrees | Agreement::ShapeApart))
        .count();
    let outages =
        compared.iter().filter_map(shown).filter(|outage| outage.agreement == Agreement::Agrees).count();
    let exit = match compared.iter().map(|point| point.agreement).max() {
        None | Some(Agreement::Agrees) => Exit::Kept,
        Some(Agreement::Undecided) => Exit::Undecided,
        Some(Agreement::ShapeApart | Agreement::Apart) => Exit::Violated,
    };
    for point in &compared {
        terminal.print(&describe(point))?;
    }
    terminal.print(&format!(
        "{agree} of {} points agree in everything, {close} in p50 and p90 of everything, {outages} in the outage (or what was \
         measured in its place). hasim {VERSION}, {} runs for each point; seconds, [95 % confidence interval]. A \
         quantity agrees if p50 and p90 are within 10 % or 0.5 s (0.25 s of Sentinel) and KS, the distance of the distributions, is at most 0.2, or \
         at most what chance alone exceeds in 1 % of samples of this size, if that is more. Undecided: outside that, inside the \
         measured 95 % intervals.\n",
        compared.len(),
        options.runs
    ))?;
    write_files(options, &compared, exit)?;
    Ok(exit)
}

fn describe(point: &Compared) -> String {
    let header = [
        "quantity",
        "verdict",
        "n",
        "p10 measured",
        "simulated",
        "p50 measured",
        "simulated",
        "p90 measured",
        "simulated",
        "KS",
        "1 % limit",
    ];
    let rows = point.quantities.iter().map(row);
    format!(
        "{} {}: {} measured, {} simulated: {}\n{}\n\n",
        point.system,
        point.title,
        point.measured_count,
        point.simulated_count,
        point.agreement,
        table::aligned(&header, 2, rows)
    )
}

fn row(one: &Comparison) -> Vec<String> {
    let mut row = vec![one.quantity.to_owned(), one.agreement.to_string(), one.measured.count.to_string()];
    for quantile in [|side: &Side| side.p10, |side: &Side| side.p50, |side: &Side| side.p90] {
        row.push(text(&quantile(&one.measured)));
        row.push(text(&quantile(&one.simulated)));
    }
    row.push(format!("{:.2}", one.distance.distance));
    row.push(format!("{:.2}", one.distance.critical_99));
    row
}

fn text(quantile: &Quantile) -> String {
    let seconds = |length: SimDuration| format!("{:.2}", length.as_secs_f64());
    let bound = |length: Option<SimDuration>| length.map_or("-".to_owned(), seconds);
    let value = quantile.value.map_or("never".to_owned(), seconds);
    format!("{value} [{}, {}]", bound(quantile.low), bound(quantile.high))
}

fn write_files(options: &Options, compared: &[Compared], exit: Exit) -> Result<(), Failure> {
    if let Some(path) = &options.json {
        let document = Document {
            format_version: FORMAT_VERSION,
            version: VERSION,
            exit_code: exit.code(),
            points: compared,
        };
        let mut text =
            serde_json::to_vec_pretty(&document).map_err(|error| Failure::Internal(error.to_string()))?;
        text.push(b'\n');
        atomic_file::write(path, &text)?;
    }
    if let Some(path) = &options.plot {
        let title = format!("Measured and simulated (hasim {VERSION}, {} runs for each point)", options.runs);
        let all: Vec<Panel> = compared.iter().filter_map(panel).collect();
        atomic_file::write(path, panels(&all, &title).as_bytes())?;
    }
    Ok(())
}

/// The outage of a point, or, where none was measured, the first of its quantities.
fn shown(point: &Compared) -> Option<&Comparison> {
    let outage = point.quantities.iter().find(|one| one.quantity == OUTAGE);
    outage.or(point.quantities.first())
}

fn panel(point: &Compared) -> Option<Panel> {
    let shown = shown(point)?;
    let series = |label: &str, side: &Side| EcdfSeries {
        label: label.to_owned(),
        sample: Sample::from_parts(side.values.clone(), side.count - side.values.len()),
    };
    Some(Panel {
        title: format!("{} {}", point.system, point.title),
        time_axis: format!("{} (s)", shown.quantity),
        series: vec![series("measured", &shown.measured), series("simulated", &shown.simulated)],
    })
}
