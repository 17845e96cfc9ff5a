//! The points of the reward–KL plane as text.

use rlhf_journal::{Estimate, FrontierPoint, Point};

/// One line a point, in aligned columns: what it is, reward and KL (nats per sequence) with their
/// 95 % intervals, and on how many responses it was measured. The many points of the optimal curve
/// are left to the picture.
#[must_use]
pub fn table(points: &[FrontierPoint]) -> String {
    let head = ["run", "point", "reward", "KL, nats", "responses"].map(str::to_string);
    let shown = points
        .iter()
        .filter(|point| !matches!(point.point, Point::Optimal { .. }));
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(shown.map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..5).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let gap = " ".repeat(widths[column] - cell.chars().count());
            // Text to the left, numbers to the right.
            text += &if column < 2 {
                format!("{cell}{gap}")
            } else {
                format!("{gap}{cell}")
            };
            text += if column < 4 { "  " } else { "\n" };
        }
    }
    text
}

fn row(point: &FrontierPoint) -> [String; 5] {
    let what = match point.point {
        Point::Checkpoint { step } => format!("step {step}"),
        Point::Optimal { beta } => format!("optimum at β = {beta:.3}"),
        Point::BestOfN { n } => format!("best of {n}"),
    };
    let number = |e: &Estimate| format!("{:.3} [{:.3}, {:.3}]", e.value, e.low, e.high);
    let responses = point.samples.to_string();
    [
        point.label.clone(),
        what,
        number(&point.reward),
        number(&point.kl),
        responses,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let at = |value| Estimate {
            value,
            low: value - 0.5,
            high: value + 0.5,
        };
        let point = |label: &str, point, kl| FrontierPoint {
            label: label.into(),
            point,
            kl: at(kl),
            reward: at(1.0),
            kl_k1: None,
            kl_k1_error: None,
            prompts: 1,
            samples: 8,
        };
        let text = table(&[
            point("a", Point::Checkpoint { step: 0 }, 0.0),
            point("prior", Point::BestOfN { n: 16 }, 12.25),
        ]);
        assert_eq!(
            text,
            "\
run    point                     reward                 KL, nats  responses
a      step 0      1.000 [0.500, 1.500]    0.000 [-0.500, 0.500]          8
prior  best of 16  1.000 [0.500, 1.500]  12.250 [11.750, 12.750]          8
"
        );
    }
}
