//! Plots reward against KL for the checkpoints of runs.

use crate::axis::Axis;
use crate::svg::Svg;
use rlhf_journal::{Estimate, FrontierPoint, Interval, Point};

/// Narrow, so that the text stays readable when scaled to a phone.
const WIDTH: f64 = 560.0;
/// Plot area: left, right, top, bottom.
const PLOT: [f64; 4] = [78.0, 536.0, 50.0, 370.0];
const ROW: f64 = 26.0;
/// The longest label of the legend, in characters.
const LABEL: usize = 48;

/// Colours for red–green colour blindness (Okabe & Ito 2008), for light and dark backgrounds.
pub(crate) const STYLE: &str = "
text{font-family:system-ui,sans-serif;font-size:16px;fill:#222}
.title{font-size:19px;font-weight:600}
.ground{fill:#fff}
.grid{stroke:#ddd;stroke-width:1}
.line{fill:none;stroke-width:2}
.bar{stroke-width:1.5;opacity:.55}
.s0{stroke:#0072b2}.s1{stroke:#d55e00}.s2{stroke:#009e73}.s3{stroke:#cc79a7}.s4{stroke:#8c6d00}
circle{stroke-width:2;fill:#fff}
.optimal{stroke:#555;stroke-dasharray:7 5}
.best{stroke:#777}polyline.best{stroke-dasharray:2 4}
@media (prefers-color-scheme:dark){
text{fill:#e6e6e6}.ground,circle{fill:#16181c}.grid{stroke:#3a3d44}
.s0{stroke:#56b4e9}.s1{stroke:#f0904a}.s2{stroke:#35c79a}.s3{stroke:#e2a3c6}.s4{stroke:#f0e442}
.optimal{stroke:#bbb}.best{stroke:#999}}
";

/// One curve.
struct Series<'a> {
    label: String,
    class: String,
    points: Vec<&'a FrontierPoint>,
}

/// The plot as SVG: the checkpoints of each run, joined in the order of their steps, with 95 % intervals;
/// and the optimal curve and best-of-n if there are such points.
#[must_use]
pub fn kl_reward_svg(points: &[FrontierPoint]) -> String {
    let series = series(points);
    let [left, right, top, bottom] = PLOT;
    let kl = points
        .iter()
        .flat_map(|p| drawn(p, &p.kl).into_iter().map(|nats| nats.max(floor(p))));
    let kl = kl.chain([0.0]);
    let reward = points.iter().flat_map(|p| drawn(p, &p.reward));
    let (x, y) = (Axis::new(kl, left, right), Axis::new(reward, bottom, top));
    let mut svg = Svg::default();
    frame(&mut svg, &x, &y);
    // The runs are drawn last, over the reference curves.
    for series in series.iter().rev() {
        draw(&mut svg, series, &x, &y);
    }
    let legend = bottom + 92.0;
    for (row, series) in series.iter().enumerate() {
        let middle = legend + row as f64 * ROW;
        let class = format!("line {}", series.class);
        svg.path(&class, &[(left, middle), (left + 36.0, middle)]);
        if let Some(radius) = radius(series.points[0]) {
            svg.dot(&series.class, (left + 18.0, middle), radius, &series.label);
        }
        let label = shortened(&series.label);
        svg.text("", (left + 48.0, middle + 5.0), "start", &label);
    }
    let height = legend + series.len() as f64 * ROW;
    let about = format!(
        "Expected reward against KL to the prior in nats per sequence, for {}.",
        series
            .iter()
            .map(|s| s.label.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    );
    svg.finish((WIDTH, height), "Reward and KL", &about, STYLE)
}

/// The curves in the order of their first points, with the reference curves (optimum, best-of-n) last.
fn series(points: &[FrontierPoint]) -> Vec<Series<'_>> {
    let mut all: Vec<Series<'_>> = Vec::new();
    let mut runs = 0;
    for point in points {
        let label = match point.point {
            Point::Checkpoint { .. } => point.label.clone(),
            // A point without samples is exact, and its label describes it.
            Point::Optimal { .. } if point.samples == 0 => point.label.clone(),
            Point::Optimal { .. } => format!("best possible, from samples of {}", point.label),
            Point::BestOfN { .. } => format!("best of n samples of {}", point.label),
        };
        if let Some(series) = all.iter_mut().find(|series| series.label == label) {
            series.points.push(point);
            continue;
        }
        let class = match point.point {
            Point::Checkpoint { .. } => format!("s{}", runs % 5),
            Point::Optimal { .. } => "optimal".into(),
            Point::BestOfN { .. } => "best".into(),
        };
        runs += usize::from(matches!(point.point, Point::Checkpoint { .. }));
        all.push(Series {
            label,
            class,
            points: vec![point],
        });
    }
    for series in &mut all {
        series.points.sort_by(|a, b| order(a).total_cmp(&order(b)));
    }
    all.sort_by_key(|series| !is_run(series.points[0]));
    all
}

/// The sort key of a point on its curve.
fn order(point: &FrontierPoint) -> f64 {
    match point.point {
        Point::Checkpoint { step } => step as f64,
        Point::Optimal { beta } => -beta,
        Point::BestOfN { n } => n as f64,
    }
}

fn is_run(point: &FrontierPoint) -> bool {
    matches!(point.point, Point::Checkpoint { .. })
}

/// The radius of a point's dot; points of the optimal curve have none.
fn radius(point: &FrontierPoint) -> Option<f64> {
    match point.point {
        Point::Checkpoint { .. } => Some(5.0),
        Point::BestOfN { .. } => Some(3.0),
        Point::Optimal { .. } => None,
    }
}

/// The values that an axis must cover: the estimate, and for runs the ends of its interval.
fn drawn(point: &FrontierPoint, estimate: &Estimate) -> Vec<f64> {
    let interval = estimate.interval.filter(|_| is_run(point));
    let ends = interval.map(|Interval { low, high }| [low, high]);
    std::iter::once(estimate.value)
        .chain(ends.into_iter().flatten())
        .collect()
}

/// The least KL to which an interval is drawn: 0, except for a prior that is not a distribution, whose
/// "KL" is minus the entropy.
fn floor(point: &FrontierPoint) -> f64 {
    if point.kl.value < 0.0 {
        f64::NEG_INFINITY
    } else {
        0.0
    }
}

/// Shortens a long label to its end, which distinguishes runs better than its start.
fn shortened(label: &str) -> String {
    let length = label.chars().count();
    if length <= LABEL {
        return label.to_string();
    }
    let end: String = label.chars().skip(length - LABEL + 1).collect();
    format!("…{end}")
}

fn frame(svg: &mut Svg, x: &Axis, y: &Axis) {
    let [left, right, top, bottom] = PLOT;
    svg.text(
        "title",
        (left, top - 24.0),
        "start",
        "Reward bought with KL",
    );
    for (value, label) in x.ticks() {
        let at = x.at(value);
        svg.line("grid", (at, top), (at, bottom));
        svg.text("", (at, bottom + 24.0), "middle", &label);
    }
    for (value, label) in y.ticks() {
        let at = y.at(value);
        svg.line("grid", (left, at), (right, at));
        svg.text("", (left - 10.0, at + 5.5), "end", &label);
    }
    let middle = (left + right) / 2.0;
    svg.text(
        "",
        (middle, bottom + 54.0),
        "middle",
        "KL(π‖p₀), nats per sequence",
    );
    svg.vertical_text("", (24.0, (top + bottom) / 2.0), "expected reward");
}

fn draw(svg: &mut Svg, series: &Series<'_>, x: &Axis, y: &Axis) {
    let at = |point: &FrontierPoint| (x.at(point.kl.value), y.at(point.reward.value));
    let path: Vec<_> = series.points.iter().map(|point| at(point)).collect();
    svg.path(&format!("line {}", series.class), &path);
    let bar = format!("bar {}", series.class);
    for point in series.points.iter().filter(|point| is_run(point)) {
        let (px, py) = at(point);
        if let Some(Interval { low, high }) = point.kl.interval {
            let least = low.max(floor(point));
            svg.line(&bar, (x.at(least), py), (x.at(high), py));
        }
        if let Some(Interval { low, high }) = point.reward.interval {
            svg.line(&bar, (px, y.at(low)), (px, y.at(high)));
        }
    }
    for point in &series.points {
        if let Some(radius) = radius(point) {
            let title = title(&series.label, point);
            svg.dot(&series.class, at(point), radius, &title);
        }
    }
}

fn title(label: &str, point: &FrontierPoint) -> String {
    let which = match point.point {
        Point::Checkpoint { step } => format!("step {step}"),
        Point::Optimal { beta } => format!("β = {beta:.3}"),
        Point::BestOfN { n } => format!("n = {n}"),
    };
    let (reward, kl) = (point.reward.value, point.kl.value);
    let on = match (point.samples, point.prompts) {
        (0, _) => String::new(),
        (responses, 1) => format!(", on {responses} responses to one prompt"),
        (responses, prompts) => format!(", on {responses} responses to {prompts} prompts"),
    };
    format!("{label}, {which}: reward {reward:.3}, KL {kl:.3} nats{on}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_journal::Intervals;

    fn point(label: &str, point: Point, kl: f64, reward: f64) -> FrontierPoint {
        let around = |value: f64| Estimate::within(value, value - 0.05, value + 0.05);
        let (kl, reward) = (around(kl), around(reward));
        let label = label.into();
        FrontierPoint {
            label,
            point,
            kl,
            reward,
            kl_k1: None,
            kl_k1_error: None,
            intervals: Intervals::AllPrompts,
            prompts: 9,
            reward_prompts: None,
            rows: Some(9),
            samples: 90,
            no_opinion: 0,
        }
    }

    #[test]
    fn every_point_and_label_is_drawn() {
        let mut points = Vec::new();
        for (run, slope) in [("ppo-kl-000", 0.1), ("dpo <1>", 0.08)] {
            points.extend((0..4).map(|i| {
                let kl = f64::from(i) * 0.4;
                point(
                    run,
                    Point::Checkpoint {
                        step: i as usize * 10,
                    },
                    kl,
                    0.37 + slope * kl,
                )
            }));
        }
        points.extend((1..4).map(|i| {
            let kl = f64::from(i) * 0.4;
            point(
                "reference",
                Point::Optimal { beta: 1.0 / kl },
                kl,
                0.37 + 0.15 * kl,
            )
        }));
        points.push(point("reference", Point::BestOfN { n: 4 }, 0.5, 0.4));
        let svg = kl_reward_svg(&points);
        // Nine points and three legend entries.
        assert_eq!(svg.matches("<circle").count(), 12);
        assert!(svg.contains("dpo &lt;1&gt;</text>"));
        assert!(svg.contains("best possible, from samples of reference"));
        assert!(svg.contains("nats per sequence"));
        let numbers = svg
            .split(['"', ',', ' '])
            .filter_map(|s| s.parse::<f64>().ok());
        assert!(
            numbers
                .into_iter()
                .all(|x| x.is_finite() && x.abs() < 1000.0)
        );
    }

    /// For a prior that is not a distribution, the KL is minus the entropy.
    #[test]
    fn a_negative_kl_is_inside_the_plot() {
        let at = |step, kl| point("maxent", Point::Checkpoint { step }, kl, 0.3);
        let svg = kl_reward_svg(&[at(0, -10.5), at(9, -48.1)]);
        let of_circles = svg.split("<circle").skip(1);
        let places = of_circles.filter_map(|circle| {
            let x = circle.split_once("cx=\"")?.1.split_once('"')?.0;
            x.parse::<f64>().ok()
        });
        let places: Vec<f64> = places.collect();
        assert_eq!(places.len(), 3);
        assert!(
            places.iter().all(|x| (PLOT[0]..=PLOT[1]).contains(x)),
            "{places:?}"
        );
    }

    #[test]
    fn kl_starts_at_zero_and_long_labels_keep_their_ends() {
        let mut low = point("run", Point::Checkpoint { step: 0 }, 0.01, 0.3);
        low.label = format!("{}ppo-kl-007", "folder/".repeat(20));
        let svg = kl_reward_svg(&[low]);
        assert!(svg.contains("ppo-kl-007</text>"));
        // The left edge of the plot is 0.
        assert!(
            svg.contains(r#"x="78" y="394" text-anchor="middle">0.0"#),
            "{svg}"
        );
    }

    #[test]
    fn a_missing_interval_has_no_bar() {
        let mut one = point("run", Point::Checkpoint { step: 0 }, 0.5, 0.37);
        let bars = |point: &FrontierPoint| {
            let svg = kl_reward_svg(std::slice::from_ref(point));
            svg.matches("class=\"bar ").count()
        };
        assert_eq!(bars(&one), 2);
        one.kl.interval = None;
        assert_eq!(bars(&one), 1);
        one.reward.interval = None;
        assert_eq!(bars(&one), 0);
        let svg = kl_reward_svg(&[one]);
        assert!(
            svg.contains("KL 0.500 nats, on 90 responses to 9 prompts"),
            "{svg}"
        );
    }

    #[test]
    fn no_points_and_one_point_still_make_a_picture() {
        assert!(kl_reward_svg(&[]).contains("expected reward"));
        let one = point("run", Point::Checkpoint { step: 0 }, 0.0, 0.37);
        assert_eq!(kl_reward_svg(&[one]).matches("<circle").count(), 2);
    }
}
