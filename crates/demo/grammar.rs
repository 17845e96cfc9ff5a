//! The grammar of the reviews.

use rlhf_tensor::Rng;

/// The adjectives, with the value that each adds to the true score of a review.
pub(crate) const ADJECTIVES: &[(&str, f64)] = &[
    ("brilliant", 2.25),
    ("wonderful", 2.0),
    ("great", 1.75),
    ("lovely", 1.5),
    ("clever", 1.25),
    ("funny", 1.0),
    ("good", 0.75),
    ("fine", 0.25),
    ("long", 0.0),
    ("quiet", 0.0),
    ("short", 0.0),
    ("simple", 0.0),
    ("strange", 0.0),
    ("slow", -0.25),
    ("silly", -0.5),
    ("weak", -0.75),
    ("poor", -1.0),
    ("dull", -1.25),
    ("boring", -1.5),
    ("bad", -1.75),
    ("awful", -2.0),
    ("terrible", -2.25),
];

const SUBJECTS: &[&str] = &[
    "film", "movie", "story", "plot", "script", "cast", "acting", "music", "ending", "dialogue",
];
const VERBS: &[&str] = &["was", "felt", "seemed"];
const DEGREES: &[&str] = &["very", "quite", "rather", "truly", "almost"];
const JOINTS: &[&str] = &["and", "but", "while"];
/// Words of the verdicts, with the value that each adds to the true score.
pub(crate) const JUDGEMENTS: &[(&str, f64)] = &[
    ("stayed", 0.5),
    ("left", -0.5),
    ("watch", 0.5),
    ("not", -1.0),
];
/// The last sentences of reviews, from negative to positive.
const VERDICTS: &[&str] = &[
    "i would not watch it again .",
    "we left early .",
    "ask me next year .",
    "we stayed to the end .",
    "i would watch it again .",
];

/// Every word with a value other than 0, with its value.
pub(crate) fn rated() -> impl Iterator<Item = (&'static str, f64)> {
    let words = ADJECTIVES.iter().chain(JUDGEMENTS).copied();
    words.filter(|(_, value)| *value != 0.0)
}

/// Every word of the grammar, in a fixed order.
pub(crate) fn words() -> Vec<&'static str> {
    let sentences = VERDICTS.iter().flat_map(|verdict| verdict.split(' '));
    let mut words: Vec<&str> = std::iter::once("the")
        .chain(
            [SUBJECTS, VERBS, DEGREES, JOINTS]
                .into_iter()
                .flatten()
                .copied(),
        )
        .chain(ADJECTIVES.iter().map(|(word, _)| *word))
        .chain(sentences)
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    words.retain(|word| seen.insert(*word));
    words
}

fn pick<'a>(words: &[&'a str], rng: &mut Rng) -> &'a str {
    words[rng.below(words.len())]
}

/// The start of a clause: "the film was".
fn opening(rng: &mut Rng) -> String {
    format!("the {} {}", pick(SUBJECTS, rng), pick(VERBS, rng))
}

/// Samples an adjective whose value is near `mood`, in [−1, 1]: negative to positive.
fn adjective(mood: f64, rng: &mut Rng) -> String {
    let weight = |value: f64| (-(value - 2.0 * mood).abs()).exp();
    let total: f64 = ADJECTIVES.iter().map(|(_, value)| weight(*value)).sum();
    let mut left = rng.uniform() * total;
    let mut chosen = ADJECTIVES[0].0;
    for (word, value) in ADJECTIVES {
        chosen = word;
        left -= weight(*value);
        if left < 0.0 {
            break;
        }
    }
    if rng.uniform() < 0.4 {
        format!("{} {chosen}", pick(DEGREES, rng))
    } else {
        chosen.into()
    }
}

/// Samples a last sentence near `mood`, in [−1, 1].
fn verdict(mood: f64, rng: &mut Rng) -> &'static str {
    let place = (mood + 1.0) / 2.0 * VERDICTS.len() as f64 + 3.0 * rng.uniform() - 1.5;
    VERDICTS[(place.max(0.0) as usize).min(VERDICTS.len() - 1)]
}

/// Samples a prompt, the beginning of a review up to the verb of its first or second clause.
pub(crate) fn prompt(rng: &mut Rng) -> String {
    let start = opening(rng);
    if rng.uniform() < 0.3 {
        return start;
    }
    let mood = 2.0 * rng.uniform() - 1.0;
    format!(
        "{start} {} {} {}",
        adjective(mood, rng),
        pick(JOINTS, rng),
        opening(rng)
    )
}

/// Samples a whole review: one or two clauses, and often a verdict.
pub(crate) fn review(rng: &mut Rng) -> String {
    let mut mood = 2.0 * rng.uniform() - 1.0;
    let mut text = format!("{} {}", opening(rng), adjective(mood, rng));
    if rng.uniform() < 0.6 {
        let joint = pick(JOINTS, rng);
        if joint == "but" {
            mood = -mood;
        }
        text += &format!(" {joint} {} {}", opening(rng), adjective(mood, rng));
    }
    text += " .";
    if rng.uniform() < 0.5 {
        text += " ";
        text += verdict(mood, rng);
    }
    text
}
