//! Formats measurements of reward and KL as a text table.

use rlhf_journal::{Estimate, FrontierPoint, Intervals, LEAST_PROMPTS, Point};

const COLUMNS: usize = 6;

/// One line per point, in aligned columns: reward and KL (nats per sequence) with their 95 % intervals, and
/// the numbers of distinct prompts and responses. Points of the optimal curve are left out. Below the lines
/// are notes about intervals that are missing or do not apply to other prompts.
#[must_use]
pub fn table(points: &[FrontierPoint]) -> String {
    let head = ["run", "point", "reward", "KL, nats", "prompts", "responses"];
    let shown = || {
        let all = points.iter();
        all.filter(|point| !matches!(point.point, Point::Optimal { .. }))
    };
    let rows: Vec<[String; COLUMNS]> = std::iter::once(head.map(str::to_string))
        .chain(shown().map(row))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..COLUMNS)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let gap = " ".repeat(widths[column] - cell.chars().count());
            // Text is aligned left, numbers right.
            text += &if column < 2 {
                format!("{cell}{gap}")
            } else {
                format!("{gap}{cell}")
            };
            text += if column + 1 < COLUMNS { "  " } else { "\n" };
        }
    }
    for note in notes(&shown().collect::<Vec<_>>()) {
        text += &format!("{note}\n");
    }
    text
}

fn row(point: &FrontierPoint) -> [String; COLUMNS] {
    let what = match point.point {
        Point::Checkpoint { step } => format!("step {step}"),
        Point::Optimal { beta } => format!("optimum at β = {beta:.3}"),
        Point::BestOfN { n } => format!("best of {n}"),
    };
    let mut prompts = point.prompts.to_string();
    if let Some(rows) = point.rows.filter(|rows| *rows != point.prompts) {
        prompts += &format!(" in {rows} rows");
    }
    if let Some(count) = point.reward_prompts {
        prompts += &format!(", {count} with a reward");
    }
    if point.intervals == Intervals::ThisPromptOnly {
        prompts += ", this prompt only";
    }
    let mut responses = point.samples.to_string();
    if point.no_opinion > 0 {
        responses += &format!(", {} without a score", point.no_opinion);
    }
    [
        point.label.clone(),
        what,
        number(&point.reward),
        number(&point.kl),
        prompts,
        responses,
    ]
}

fn number(estimate: &Estimate) -> String {
    match estimate.interval {
        Some(interval) => format!(
            "{:.3} [{:.3}, {:.3}]",
            estimate.value, interval.low, interval.high
        ),
        None => format!("{:.3}", estimate.value),
    }
}

/// The notes below the table.
fn notes(points: &[&FrontierPoint]) -> Vec<String> {
    let about = |intervals| {
        points
            .iter()
            .filter(move |point| point.intervals == intervals)
    };
    let mut notes = Vec::new();
    if about(Intervals::ThisPromptOnly).next().is_some() {
        notes.push(
            "this prompt only: the intervals are for more responses to that prompt and do not apply to \
             other prompts; measure on 5 or more"
                .into(),
        );
    }
    if let Some(point) = about(Intervals::TooFewPrompts).next() {
        notes.push(format!(
            "no intervals: {} {}, too few to generalize; measure on 5 or more",
            point.prompts,
            if point.prompts == 1 {
                "distinct prompt"
            } else {
                "distinct prompts"
            }
        ));
    }
    let scored_prompts = |point: &FrontierPoint| {
        let count = point.reward_prompts.filter(|&count| count < LEAST_PROMPTS);
        count.filter(|_| point.reward.interval.is_none())
    };
    let few = about(Intervals::AllPrompts).filter_map(|point| scored_prompts(point));
    let few = few.min();
    if let Some(count) = few {
        let s = if count == 1 { "" } else { "s" };
        notes.push(format!(
            "a reward without an interval is from {count} prompt{s}: no response to the others has a \
             score, and fewer than {LEAST_PROMPTS} prompts are too few to generalize"
        ));
    }
    // A KL of exactly 0 is the prior's own and needs no note.
    let same = |point: &&&FrontierPoint| {
        let reward = point.reward.interval.is_none() && scored_prompts(point).is_none();
        reward || (point.kl.interval.is_none() && point.kl.value != 0.0)
    };
    if about(Intervals::AllPrompts).any(|point| same(&point)) {
        let which = if few.is_some() { "any other" } else { "a" };
        notes.push(format!(
            "{which} number without an interval is the same on every prompt, so its spread over other \
             prompts is unknown"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(value: f64) -> Estimate {
        Estimate::within(value, value - 0.5, value + 0.5)
    }

    fn point(label: &str, point: Point, kl: Estimate) -> FrontierPoint {
        FrontierPoint {
            label: label.into(),
            point,
            kl,
            reward: at(1.0),
            kl_k1: None,
            kl_k1_error: None,
            intervals: Intervals::AllPrompts,
            prompts: 8,
            reward_prompts: None,
            rows: Some(8),
            samples: 32,
            no_opinion: 0,
        }
    }

    #[test]
    fn columns_line_up() {
        let text = table(&[
            point("a", Point::Checkpoint { step: 0 }, at(0.0)),
            point("prior", Point::BestOfN { n: 16 }, at(12.25)),
        ]);
        assert_eq!(
            text,
            "\
run    point                     reward                 KL, nats  prompts  responses
a      step 0      1.000 [0.500, 1.500]    0.000 [-0.500, 0.500]        8         32
prior  best of 16  1.000 [0.500, 1.500]  12.250 [11.750, 12.750]        8         32
"
        );
    }

    #[test]
    fn notes_explain_missing_intervals() {
        let start = Point::Checkpoint { step: 0 };
        let none = |value| Estimate {
            value,
            interval: None,
        };
        let one = FrontierPoint {
            intervals: Intervals::ThisPromptOnly,
            prompts: 1,
            rows: Some(8),
            ..point("a", start, at(0.0))
        };
        let text = table(&[one]);
        assert!(text.contains("  1 in 8 rows, this prompt only  "), "{text}");
        assert!(text.contains("\nthis prompt only: the intervals"), "{text}");
        let few = FrontierPoint {
            intervals: Intervals::TooFewPrompts,
            prompts: 4,
            rows: Some(32),
            reward: none(0.75),
            no_opinion: 3,
            ..point("a", start, none(0.5))
        };
        let text = table(&[few]);
        let line = "a    step 0   0.750     0.500  4 in 32 rows  32, 3 without a score\n";
        assert!(text.contains(line), "{text}");
        assert!(text.ends_with(
            "no intervals: 4 distinct prompts, too few to generalize; measure on 5 or more\n"
        ));
        let text = table(&[point("a", start, none(0.5))]);
        assert!(text.contains("\na number without an interval is the same on every prompt"));
        // The policy equals the prior.
        let text = table(&[point("a", start, none(0.0))]);
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn a_reward_from_few_prompts_has_a_note() {
        let start = Point::Checkpoint { step: 0 };
        let judged = |count, reward| FrontierPoint {
            reward_prompts: Some(count),
            reward,
            no_opinion: 20,
            ..point("a", start, at(0.5))
        };
        let none = Estimate {
            value: 0.75,
            interval: None,
        };
        let text = table(&[judged(3, none)]);
        assert!(text.contains("  8, 3 with a reward  "), "{text}");
        assert!(text.contains("\na reward without an interval is from 3 prompts: "));
        assert!(!text.contains("the same on every prompt"), "{text}");
        let text = table(&[judged(1, none)]);
        assert!(text.contains("is from 1 prompt: "), "{text}");
        // Enough prompts, all with the same reward.
        let text = table(&[judged(6, none)]);
        assert!(text.contains("\na number without an interval is the same"));
        let text = table(&[
            judged(3, none),
            point("b", start, Estimate { value: 0.5, ..none }),
        ]);
        assert!(text.contains("\nany other number without an interval is the same"));
        // Enough prompts for an interval.
        let text = table(&[judged(6, at(0.5))]);
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
