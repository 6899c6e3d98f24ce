//! Many small figures on one page, each with the empirical distributions of a few samples: what was measured beside what
//! was simulated, for one point of a calibration each.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ecdf::{Area, Drawn, EcdfSeries, FONT, colour, counts, draw_curves};

/// One small figure.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// What its time axis shows.
    pub time_axis: String,
    /// Its curves.
    pub series: Vec<EcdfSeries>,
}

const COLUMNS: usize = 2;
const PANEL_WIDTH: u32 = 560;
const PANEL_HEIGHT: u32 = 400;
const HEAD: u32 = 48;

/// Draws the panels, two in a line, and returns the text of the SVG.
///
/// # Panics
/// Never for well-formed input: drawing into a string cannot fail.
pub fn panels(panels: &[Panel], title: &str) -> String {
    let mut svg = String::new();
    draw(&mut svg, panels, title).expect("drawing into a string does not fail");
    svg
}

fn draw(svg: &mut String, panels: &[Panel], title: &str) -> Drawn {
    let rows = panels.len().div_ceil(COLUMNS).max(1);
    let size = (PANEL_WIDTH * COLUMNS as u32, HEAD + PANEL_HEIGHT * rows as u32);
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(HEAD);
    let heading = (FONT, 22).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    head.draw(&Text::new(title.to_owned(), (20, 26), heading))?;
    for (panel, area) in panels.iter().zip(body.split_evenly((rows, COLUMNS))) {
        draw_panel(&area, panel)?;
    }
    root.present()?;
    Ok(())
}

/// The title, one line for each curve, and the curves.
fn draw_panel(area: &Area<'_>, panel: &Panel) -> Drawn {
    let legend_height = 30 + 20 * panel.series.len() as u32;
    let (head, plot) = area.split_vertically(legend_height);
    let style = |size: u32| (FONT, size).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    head.draw(&Text::new(panel.title.clone(), (20, 16), style(17)))?;
    for ((index, series), middle) in panel.series.iter().enumerate().zip((40_i32..).step_by(20)) {
        let line = [(24, middle), (64, middle)];
        head.draw(&PathElement::new(line, colour(index).stroke_width(2)))?;
        let text = format!("{} ({})", series.label, counts(&series.sample));
        head.draw(&Text::new(text, (74, middle), style(14)))?;
    }
    draw_curves(&plot, &panel.series, &panel.time_axis)
}

#[cfg(test)]
mod tests {
    use sim_core::SimDuration;

    use super::*;
    use crate::stats::Sample;

    #[test]
    fn every_panel_has_its_title_and_its_curves() {
        let series = |label: &str, times: &[u64]| EcdfSeries {
            label: label.to_owned(),
            sample: Sample::new(times.iter().map(|time| Some(SimDuration::from_secs(*time)))),
        };
        let panel = |title: &str| Panel {
            title: title.to_owned(),
            time_axis: "outage (s)".to_owned(),
            series: vec![series("measured", &[1, 2]), series("simulated", &[2, 3, 4])],
        };
        let svg = panels(&[panel("one"), panel("two"), panel("three")], "Calibration");
        for text in ["Calibration", "one", "two", "three", "measured (n = 2)", "simulated (n = 3)"] {
            assert!(svg.contains(text), "{text} is missing");
        }
        assert_eq!(svg.matches("outage (s)").count(), 3);
        assert!(svg.trim_end().ends_with("</svg>"));
        assert!(panels(&[], "Calibration").contains("Calibration"));
    }
}
