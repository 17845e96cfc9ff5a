//! The grammar of the reviews.

use rlhf_tensor::Rng;

/// Words with what they add to the gold score of a review.
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
const VERDICTS: &[&str] = &[
    "we stayed to the end .",
    "we left early .",
    "i would watch it again .",
    "i would not watch it again .",
    "ask me again next year .",
];

/// Every word that a review may hold, in a fixed order.
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

/// An adjective near a mood in [−1, 1]: a reviewer mostly keeps to theirs.
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

/// The beginning of a review, to continue: a clause's start, the first or the second.
pub(crate) fn prompt(rng: &mut Rng) -> String {
    let start = opening(rng);
    if rng.uniform() < 0.2 {
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

/// A whole review: one to three clauses, and sometimes a verdict.
pub(crate) fn review(rng: &mut Rng) -> String {
    let mood = 2.0 * rng.uniform() - 1.0;
    let mut text = format!("{} {}", opening(rng), adjective(mood, rng));
    for _ in 0..rng.below(3) {
        let joint = pick(JOINTS, rng);
        let mood = if joint == "but" { -mood } else { mood };
        text += &format!(" {joint} {} {}", opening(rng), adjective(mood, rng));
    }
    text += " .";
    if rng.uniform() < 0.3 {
        text += " ";
        text += pick(VERDICTS, rng);
    }
    text
}
