//! Plots tokens per second and memory against the parameters of a workload.

use crate::axis::Axis;
use crate::kl_reward::STYLE;
use crate::svg::Svg;

/// A workload of one size, and its cost.
#[derive(Debug, Clone, PartialEq)]
pub struct GrowthPoint {
    /// The name of the varied parameter; each has its own row of panels.
    pub against: String,
    /// The value of that parameter, greater than 0.
    pub value: f64,
    /// The name of the workload; each has its own curve.
    pub workload: String,
    /// Tokens per second.
    pub tokens_per_second: f64,
    /// The peak resident memory, MB of 2²⁰ bytes.
    pub peak_memory_mb: f64,
}

const WIDTH: f64 = 560.0;
const TOP: f64 = 92.0;
/// The height of a panel without and with its labels.
const PANEL: f64 = 120.0;
const ROW: f64 = 196.0;
/// The left and right edges of the two columns.
const COLUMNS: [(f64, f64); 2] = [(62.0, 266.0), (344.0, 548.0)];

/// An SVG with two panels per row, tokens per second and memory, and a curve per workload. The horizontal
/// axis is logarithmic; the vertical axes start at 0.
#[must_use]
pub fn growth_svg(points: &[GrowthPoint]) -> String {
    let rows = distinct(points.iter().map(|point| point.against.as_str()));
    let workloads = distinct(points.iter().map(|point| point.workload.as_str()));
    let mut svg = Svg::default();
    svg.text("title", (16.0, 28.0), "start", "How cost grows");
    for (index, workload) in workloads.iter().enumerate() {
        let (x, class) = (16.0 + 130.0 * index as f64, format!("s{}", index % 5));
        svg.path(&format!("line {class}"), &[(x, 52.0), (x + 30.0, 52.0)]);
        svg.dot(&class, (x + 15.0, 52.0), 4.0, workload);
        svg.text("", (x + 38.0, 57.0), "start", workload);
    }
    let measures: [(&str, Measure); 2] = [
        ("tokens a second", |point| point.tokens_per_second),
        ("peak memory, MB", |point| point.peak_memory_mb),
    ];
    for (row, against) in rows.iter().enumerate() {
        let of_row: Vec<_> = points.iter().filter(|p| p.against == *against).collect();
        let top = TOP + row as f64 * ROW + 18.0;
        for ((name, measure), column) in measures.iter().zip(COLUMNS) {
            let place = Panel {
                column,
                top,
                against,
            };
            panel(&mut svg, &place, (&of_row, &workloads), (name, *measure));
        }
    }
    let height = TOP + rows.len() as f64 * ROW;
    let about = format!(
        "Tokens a second and peak memory of {} against {}.",
        workloads.join(" and "),
        rows.join(", ")
    );
    svg.finish((WIDTH, height), "How cost grows", &about, STYLE)
}

/// The position of a panel.
struct Panel<'a> {
    column: (f64, f64),
    top: f64,
    against: &'a str,
}

type Measure = fn(&GrowthPoint) -> f64;

fn panel(
    svg: &mut Svg,
    place: &Panel<'_>,
    (points, workloads): (&[&GrowthPoint], &[&str]),
    (name, measure): (&str, Measure),
) {
    let ((left, right), top) = (place.column, place.top);
    let bottom = top + PANEL;
    let y = points.iter().map(|point| measure(point)).chain([0.0]);
    let y = Axis::new(y, bottom, top);
    svg.text("", (left, top - 10.0), "start", name);
    for (value, label) in y.ticks() {
        let at = y.at(value);
        svg.line("grid", (left, at), (right, at));
        svg.text("", (left - 6.0, at + 5.5), "end", &short(value, &label));
    }
    let mut values: Vec<f64> = points.iter().map(|point| point.value).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let (low, high) = (values[0].log2(), values[values.len() - 1].log2());
    let inset = 16.0;
    let x = |value: f64| {
        let share = (value.log2() - low) / (high - low).max(1e-9);
        left + inset + share * (right - left - 2.0 * inset)
    };
    // Labels that would overlap are left out; the last is always drawn.
    let mut free = f64::INFINITY;
    for value in values.iter().rev() {
        svg.line("grid", (x(*value), top), (x(*value), bottom));
        let label = short(*value, &format!("{value}"));
        let half = 5.0 * label.chars().count() as f64;
        if x(*value) + half < free {
            svg.text("", (x(*value), bottom + 20.0), "middle", &label);
            free = x(*value) - half;
        }
    }
    let middle = f64::midpoint(left, right);
    svg.text("", (middle, bottom + 40.0), "middle", place.against);
    for (index, workload) in workloads.iter().enumerate() {
        let class = format!("s{}", index % 5);
        let curve: Vec<_> = points.iter().filter(|p| p.workload == *workload).collect();
        let at = |point: &GrowthPoint| (x(point.value), y.at(measure(point)));
        let path: Vec<_> = curve.iter().map(|point| at(point)).collect();
        svg.path(&format!("line {class}"), &path);
        for point in curve {
            let (value, number) = (point.value, measure(point));
            let title = format!("{workload}, {} {value}: {number:.0} {name}", place.against);
            svg.dot(&class, at(point), 4.0, &title);
        }
    }
}

/// Abbreviates thousands with k.
fn short(value: f64, label: &str) -> String {
    match value.abs() {
        1000.0.. if value % 1000.0 == 0.0 => format!("{}k", value / 1000.0),
        10_000.0.. => format!("{:.1}k", value / 1000.0),
        _ => label.to_string(),
    }
}

/// The distinct names, in order of first appearance.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_drawn_in_both_columns() {
        let point = |against: &str, workload: &str, value: f64| GrowthPoint {
            against: against.into(),
            value,
            workload: workload.into(),
            tokens_per_second: 900.0 / value,
            peak_memory_mb: 100.0 * value,
        };
        let mut points = Vec::new();
        for value in [1.0, 2.0, 4.0] {
            points.push(point("batch", "train", value));
            points.push(point("batch", "generate", value));
        }
        points.push(point("threads", "train", 1.0));
        let svg = growth_svg(&points);
        // Two keys, and each point twice.
        assert_eq!(svg.matches("<circle").count(), 2 + 2 * points.len());
        // Two legend lines, and two curves in both panels of the first row. A single point has no line.
        assert_eq!(svg.matches("<polyline").count(), 2 + 4);
        assert!(svg.contains("train, batch 4: 225 tokens a second"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert!(growth_svg(&[]).contains("How cost grows"));
    }

    #[test]
    fn thousands_are_abbreviated() {
        assert_eq!(short(65536.0, "65536"), "65.5k");
        assert_eq!(short(1024.0, "1024"), "1024");
        assert_eq!(short(50_000.0, "50000"), "50k");
        assert_eq!(short(64.0, "64"), "64");
    }
}
