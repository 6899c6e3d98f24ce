//! The empirical distribution of failover times, one curve per scenario.
//!
//! A curve rises by `1/n` at each observed time. Runs that never recovered are part of n and never rise, so the curve
//! of a scenario with such runs ends below 1, with a horizontal line to the right edge, where the missing rest is to
//! be imagined; the legend says how many they are. A curve that reaches 1 stops there. The legend stands beside the plot and so covers nothing.
//!
//! Curves are told apart by colour (Okabe and Ito 2008, made for colour-blind readers; without the yellow, which is
//! too pale for a line), by dash, and by a marker, so the figure also works in grey.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::stats::Sample;

/// One curve.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EcdfSeries {
    /// What the legend calls it.
    pub label: String,
    /// The times, with the runs that never ended.
    pub sample: Sample,
}

const WIDTH: u32 = 1_000;
const LEGEND_WIDTH: u32 = 330;
const LEGEND_LINE: u32 = 44;
pub(super) const FONT: &str = "sans-serif";
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
pub(super) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws the curves and returns the text of the SVG. Curves without an observation appear in the legend only.
///
/// # Panics
/// Never for well-formed input: drawing into a string cannot fail.
pub fn ecdf(series: &[EcdfSeries], title: &str) -> String {
    let height = 520.max(110 + LEGEND_LINE * series.len() as u32);
    let mut svg = String::new();
    draw(&mut svg, height, series, title).expect("drawing into a string does not fail");
    svg
}

fn draw(svg: &mut String, height: u32, series: &[EcdfSeries], title: &str) -> Drawn {
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(48);
    let heading = (FONT, 22).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    head.draw(&Text::new(title.to_owned(), (20, 26), heading))?;
    let (plot, legend) = body.split_horizontally(WIDTH - LEGEND_WIDTH);
    draw_curves(&plot, series, "time without a successful write (s)")?;
    draw_legend(&legend, series)?;
    root.present()?;
    Ok(())
}

/// The right edge of the time axis: the longest observed time and a little more, so that a last step is seen.
fn time_limit(series: &[EcdfSeries]) -> f64 {
    let longest = series
        .iter()
        .filter_map(|series| series.sample.finite().last())
        .map(|length| length.as_secs_f64())
        .fold(0.0, f64::max);
    if longest > 0.0 { longest * 1.06 } else { 1.0 }
}

/// Draws the curves with their axes into an area.
pub(super) fn draw_curves(area: &Area<'_>, series: &[EcdfSeries], time_axis: &str) -> Drawn {
    let limit = time_limit(series);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(52)
        .y_label_area_size(66)
        .build_cartesian_2d(0.0..limit, 0.0..1.0)?;
    chart
        .configure_mesh()
        .x_desc(time_axis)
        .y_desc("share of runs")
        .axis_desc_style((FONT, 17))
        .label_style((FONT, 15))
        .x_labels(8)
        .x_label_formatter(&|time| time_label(*time, limit))
        .y_labels(6)
        .y_label_formatter(&|share| format!("{share:.1}"))
        .bold_line_style(BLACK.mix(0.15))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (index, one) in series.iter().enumerate().filter(|(_, one)| !one.sample.is_empty()) {
        draw_curve(&mut chart, index, &one.sample, limit)?;
    }
    Ok(())
}

fn draw_curve(chart: &mut Chart<'_, '_>, index: usize, sample: &Sample, limit: f64) -> Drawn {
    let steps = steps(sample, limit);
    let mut path = Vec::with_capacity(2 * steps.len() + 1);
    let mut share_before = 0.0;
    for (time, share) in &steps {
        path.extend([(*time, share_before), (*time, *share)]);
        share_before = *share;
    }
    if sample.censored_count() > 0 {
        let (last, _) = steps.last().copied().unwrap_or_default();
        path.extend([(last, share_before), (limit, share_before)]);
    }
    let style = colour(index).stroke_width(2);
    if is_dashed(index) {
        chart.draw_series(DashedLineSeries::new(path, 7, 4, style))?;
    } else {
        chart.draw_series(LineSeries::new(path, style))?;
    }
    // Markers at a few heights that differ from curve to curve, so that curves on top of each other show theirs; one
    // more on the tail of a curve that ends below 1, staggered for the same reason.
    let total = steps.len();
    let heights = (0..4).filter_map(|part| steps.get((2 * part + 1) * total / 8 + index % 3 * total / 24));
    let tail =
        (sample.censored_count() > 0).then_some((limit * (0.985 - 0.022 * (index % 8) as f64), share_before));
    for point in heights.copied().chain(tail) {
        let shape = Polygon::new(marker_outline(index), colour(index).filled());
        chart.draw_series([EmptyElement::at(point) + shape])?;
    }
    Ok(())
}

/// Ticks are at least a tenth of the axis apart, so one decimal more than the axis' own size tells them apart.
fn time_label(time: f64, limit: f64) -> String {
    let decimals = match limit {
        _ if limit >= 20.0 => 0,
        _ if limit >= 2.0 => 1,
        _ if limit >= 0.2 => 2,
        _ => 4,
    };
    format!("{time:.decimals$}")
}

/// The points (seconds, share of runs) where the curve rises. Steps closer than a third of a pixel become one, which keeps
/// the figure small for a million runs and cannot be seen.
fn steps(sample: &Sample, limit: f64) -> Vec<(f64, f64)> {
    let resolution = limit / (3.0 * f64::from(WIDTH));
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for (rank, length) in (1_u64..).zip(sample.finite()) {
        let time = length.as_secs_f64();
        let share = rank as f64 / sample.len() as f64;
        match steps.last_mut() {
            Some(last) if time - last.0 < resolution => last.1 = share,
            _ => steps.push((time, share)),
        }
    }
    steps
}

fn draw_legend(area: &Area<'_>, series: &[EcdfSeries]) -> Drawn {
    let label_style = (FONT, 15).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    let count_style =
        (FONT, 13).into_font().color(&RGBColor(80, 80, 80)).pos(Pos::new(HPos::Left, VPos::Center));
    let middles = (26..).step_by(LEGEND_LINE as usize);
    for ((index, one), middle) in series.iter().enumerate().zip(middles) {
        let line = [(8, middle), (48, middle)];
        let style = colour(index).stroke_width(2);
        if is_dashed(index) {
            for start in [8, 19, 30, 41] {
                area.draw(&PathElement::new([(start, middle), (start + 7, middle)], style))?;
            }
        } else {
            area.draw(&PathElement::new(line, style))?;
        }
        area.draw(
            &(EmptyElement::at((28, middle)) + Polygon::new(marker_outline(index), colour(index).filled())),
        )?;
        area.draw(&Text::new(shortened(&one.label), (58, middle - 8), label_style.clone()))?;
        area.draw(&Text::new(counts(&one.sample), (58, middle + 10), count_style.clone()))?;
    }
    Ok(())
}

/// The sample size, and how many runs the curve never shows.
pub(super) fn counts(sample: &Sample) -> String {
    match sample.censored_count() {
        0 => format!("n = {}", sample.len()),
        never => format!("n = {}, {never} never recovered", sample.len()),
    }
}

/// A label that fits beside the plot; the end of a scenario's name tells more than its middle.
fn shortened(label: &str) -> String {
    const LONGEST: usize = 34;
    let characters: Vec<char> = label.chars().collect();
    if characters.len() <= LONGEST {
        return label.to_owned();
    }
    let (head, tail) = (12, LONGEST - 13);
    let start: String = characters[..head].iter().collect();
    let end: String = characters[characters.len() - tail..].iter().collect();
    format!("{start}…{end}")
}

pub(super) fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// The second round through the palette is dashed.
fn is_dashed(index: usize) -> bool {
    index / PALETTE.len() % 2 == 1
}

/// The outline of one of four markers (square, diamond, triangle, inverted triangle) around the origin, in pixels. With
/// seven colours, colour and marker together repeat only after 28 curves.
fn marker_outline(index: usize) -> Vec<(i32, i32)> {
    match index % 4 {
        0 => vec![(-4, -4), (4, -4), (4, 4), (-4, 4)],
        1 => vec![(0, -6), (6, 0), (0, 6), (-6, 0)],
        2 => vec![(0, -6), (6, 5), (-6, 5)],
        _ => vec![(0, 6), (6, -5), (-6, -5)],
    }
}

#[cfg(test)]
mod tests {
    use sim_core::SimDuration;

    use super::*;

    fn series(label: &str, times: impl IntoIterator<Item = Option<u64>>) -> EcdfSeries {
        EcdfSeries {
            label: label.to_owned(),
            sample: Sample::new(times.into_iter().map(|time| time.map(SimDuration::from_millis))),
        }
    }

    #[test]
    fn the_steps_are_the_empirical_distribution() {
        let one = series("a", [Some(2_000), Some(1_000), None, Some(2_000)]);
        assert_eq!(steps(&one.sample, 10.0), [(1.0, 0.25), (2.0, 0.75)]);
    }

    #[test]
    fn a_million_runs_make_a_figure_of_ordinary_size() {
        let one = series("a", (0..1_000_000).map(Some));
        let steps = steps(&one.sample, 1_060.0);
        assert!(steps.len() <= 3_000, "{} steps", steps.len());
        assert!((steps.last().unwrap().1 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_figure_is_text_and_always_the_same() {
        let all = [series("x < y & z", [Some(1_000), None]), series("nothing", [])];
        let svg = ecdf(&all, "Failover times");
        assert_eq!(svg, ecdf(&all, "Failover times"));
        for text in
            ["Failover times", "x &lt; y &amp; z", "n = 2, 1 never recovered", "n = 0", "share of runs"]
        {
            assert!(svg.contains(text), "{text} is missing");
        }
        assert!(svg.trim_end().ends_with("</svg>") && svg.contains("<text"));
    }

    #[test]
    fn long_labels_keep_their_ends() {
        let short = shortened("patroni/primary-crash-during-switchover/synchronous-strict");
        assert_eq!(short, "patroni/prim…er/synchronous-strict");
        assert_eq!(shortened("patroni/primary-crash/async"), "patroni/primary-crash/async");
    }
}
