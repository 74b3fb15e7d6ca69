//! One picture of all outages: a row for each case, a dot for each run, on a logarithmic axis.

use super::report::{Report, Summary};
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 180.0;
const RIGHT: f64 = 80.0;
const TOP: f64 = 84.0;
const ROW: f64 = 30.0;
/// Ends of the axis, in seconds.
const FROM: f64 = 0.005;
const TO: f64 = 20.0;
const TICKS: [(f64, &str); 7] =
    [(0.01, "10 ms"), (0.03, "30 ms"), (0.1, "100 ms"), (0.3, "300 ms"), (1.0, "1 s"), (3.0, "3 s"), (10.0, "10 s")];

const DOT: &str = "#1f6fb4";
const FLOOR: &str = "#2a8a3a";
const BOUND: &str = "#c0392b";

fn x(seconds: f64) -> f64 {
    let share = (seconds.clamp(FROM, TO) / FROM).ln() / (TO / FROM).ln();
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

pub fn svg(report: &Report) -> String {
    let cases = report.summaries();
    let rows = f64::from(u32::try_from(cases.len()).unwrap_or(u32::MAX));
    let bottom = TOP + ROW * rows;
    let height = bottom + 40.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let title = format!("Writes out, as a client sees it that inserts every 10 ms (PostgreSQL {})", report.postgres);
    out += &format!("<text x=\"16\" y=\"26\" font-size=\"16\">{title}</text>\n");
    legend(&mut out);
    for (seconds, label) in TICKS {
        let x = x(seconds);
        line(&mut out, x, TOP - 8.0, bottom, "#dddddd", "");
        out += &format!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>\n", bottom + 20.0);
    }
    for (i, case) in (0u32..).zip(&cases) {
        row(&mut out, case, TOP + ROW * (f64::from(i) + 0.5));
    }
    out + "</svg>\n"
}

fn legend(out: &mut String) {
    let y = 52.0;
    dot(out, LEFT, y);
    line(out, LEFT + 110.0, y - 9.0, y + 9.0, "black", "");
    line(out, LEFT + 210.0, y - 9.0, y + 9.0, FLOOR, "4 2");
    line(out, LEFT + 430.0, y - 9.0, y + 9.0, BOUND, "1 2");
    let words =
        [(12.0, "one run"), (122.0, "median"), (222.0, "Postgres itself, by hand"), (442.0, "bound of the median")];
    for (at, word) in words {
        *out += &format!("<text x=\"{:.1}\" y=\"{:.1}\">{word}</text>\n", LEFT + at, y + 5.0);
    }
}

fn row(out: &mut String, case: &Summary, y: f64) {
    *out += &format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n", LEFT - 12.0, y + 5.0, case.case);
    if let Some(floor) = case.floor {
        line(out, x(floor), y - 11.0, y + 11.0, FLOOR, "4 2");
    }
    line(out, x(case.bound), y - 11.0, y + 11.0, BOUND, "1 2");
    for run in &case.runs {
        dot(out, x(run.outage), y);
    }
    line(out, x(case.outage.median), y - 11.0, y + 11.0, "black", "");
    let (at, median) = (WIDTH - 12.0, case.outage.median);
    *out += &format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"end\">{median:.3} s</text>\n", y + 5.0);
}

fn dot(out: &mut String, x: f64, y: f64) {
    *out += &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{DOT}\" fill-opacity=\"0.55\"/>\n");
}

fn line(out: &mut String, x: f64, from: f64, to: f64, colour: &str, dashes: &str) {
    let place = format!("x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{to:.1}\"");
    let _infallible = writeln!(
        out,
        "<line {place} stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{}\"/>",
        if dashes.is_empty() { "none" } else { dashes }
    );
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    /// Every element that is opened is closed, in order, and nothing stray stands between.
    fn well_formed(text: &str) -> bool {
        let mut open = Vec::new();
        for tag in text.split('<').skip(1) {
            let Some((tag, content)) = tag.split_once('>') else { return false };
            let name = |tag: &str| tag.split_whitespace().next().unwrap_or_default().to_string();
            if content.contains('&') || tag.matches('"').count() % 2 == 1 {
                return false;
            }
            match tag.strip_prefix('/') {
                Some(closed) if open.pop() == Some(name(closed)) => {}
                Some(_) => return false,
                None if tag.ends_with('/') => {}
                None => open.push(name(tag)),
            }
        }
        open.is_empty()
    }

    #[test]
    fn the_picture_is_well_formed_and_holds_each_case_and_run() {
        let report = sample();
        let text = svg(&report);
        assert!(well_formed(&text), "{text}");
        assert!(!well_formed("<a><b></a></b>"));
        for case in report.summaries() {
            assert!(text.contains(&format!(">{}</text>", case.case)), "{}", case.case);
        }
        assert_eq!(text.matches("<circle").count(), 1 + 6, "the legend's, and one for each run");
    }

    #[test]
    fn the_axis_is_logarithmic_and_nothing_leaves_it() {
        assert!((x(1.0) - x(0.1) - (x(0.1) - x(0.01))).abs() < 1e-9);
        assert_eq!((x(0.0), x(1e9)), (LEFT, WIDTH - RIGHT));
    }
}
