//! Transformers whose responses can be enumerated, with rewards and prompts.

use crate::suite::SuiteContext;
use anyhow::{Context, Result};
use rlhf_experiment::{
    Config, Session, Vocabulary, context, max_new_tokens, network, open_data, reward, small_world,
};
use rlhf_lm::OutputHeads;
use rlhf_objective::{Dataset, Sequences, finite_scores};
use rlhf_policy::{Draw, Sampling, sample};
use rlhf_tensor::{Rng, Storage, Stream};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The number of prompts, the same for all seeds.
const PROMPTS: usize = 24;

/// A network, a reward and prompts.
pub(crate) struct World {
    pub(crate) name: &'static str,
    pub(crate) folder: PathBuf,
    model: PathBuf,
    settings: Vec<String>,
}

impl World {
    /// The small world, and the sorting network if the data folder is given.
    pub(crate) fn all(context: &SuiteContext<'_>) -> Result<Vec<Self>> {
        let scratch = context.scratch;
        let mut worlds = vec![Self::reviews(&scratch.join("reviews"))?];
        if let Some(data) = context.data {
            let model = data.join("ckpt-gpt-nano-sort/hf");
            worlds.push(Self::sorting(&model, &scratch.join("sorting"))?);
        }
        Ok(worlds)
    }

    /// A network with three letters that sorts six letters; the reward is the share of letter 2.
    fn sorting(model: &Path, folder: &Path) -> Result<Self> {
        let mut rng = Rng::new(1, Stream::Data, 0, 0);
        let mut prompt = || -> Vec<u32> { (0..6).map(|_| rng.below(3) as u32).collect() };
        let prompts = (0..PROMPTS).map(|_| json!({"prompt_ids": prompt()}));
        let settings = [
            "reward.kind=token-share",
            "reward.token=2",
            "beta=0.1",
            "sampling.temperature=4",
            "sampling.max_new_tokens=6",
        ];
        Self::new("sorting six letters", model, folder, prompts, &settings)
    }

    /// The network of the small world, restricted to six tokens, with a sentiment lexicon as reward.
    fn reviews(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let world = small_world::write(folder)?;
        let held_out = world.join("held_out.jsonl");
        let text = fs::read_to_string(&held_out).with_context(|| held_out.display().to_string())?;
        let rows: Vec<Value> = text
            .lines()
            .take(PROMPTS)
            .map(serde_json::from_str)
            .collect::<serde_json::Result<_>>()?;
        let model = world.join("model");
        let vocabulary = Vocabulary::load(&model)?;
        let words = [".", "and", "great", "good", "bad"];
        let ids = words.map(|word| vocabulary.tokenizer.id(word));
        let ids: Option<Vec<u32>> = ids
            .into_iter()
            .chain([vocabulary.ends.first().copied()])
            .collect();
        let tokens = format!(
            "sampling.tokens={:?}",
            ids.context("a word is not a token of the vocabulary")?
        );
        let settings = [
            "reward={ kind = \"lexicon\", words = { great = 1.0, good = 0.5, bad = -1.0 } }",
            "beta=0.5",
            "sampling.max_new_tokens=4",
            &tokens,
        ];
        Self::new("reviews in six words", &model, folder, rows, &settings)
    }

    fn new(
        name: &'static str,
        model: &Path,
        folder: &Path,
        prompts: impl IntoIterator<Item = Value>,
        settings: &[&str],
    ) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let world = Self {
            name,
            folder: folder.into(),
            model: model.into(),
            settings: settings.iter().map(ToString::to_string).collect(),
        };
        let lines: String = prompts.into_iter().map(|row| format!("{row}\n")).collect();
        fs::write(world.prompts(), lines)?;
        Ok(world)
    }

    /// The file of prompts, for training and for evaluation.
    pub(crate) fn prompts(&self) -> PathBuf {
        self.folder.join("prompts_to_list.jsonl")
    }

    /// The settings of every run on this world.
    pub(crate) fn settings(&self) -> Vec<String> {
        let mut settings = vec![
            format!("model.path={}", self.model.display()),
            format!("data.train={}", self.prompts().display()),
            "data.held_out_fraction=0.0".into(),
            format!("eval.prompts={PROMPTS}"),
            "sampling.rows=256".into(),
        ];
        settings.extend(self.settings.iter().cloned());
        settings
    }

    /// Writes preference pairs: `samples` responses of the model to each prompt, paired in order, without
    /// pairs of equal responses. The label is the share of `votes` for the first, each with probability
    /// σ(r₁ − r₂), or that probability itself.
    pub(crate) fn pairs(
        &self,
        session: &Session,
        path: &Path,
        (samples, votes, seed): (usize, Option<u32>, u64),
    ) -> Result<()> {
        let config = self.config(session)?;
        let vocabulary = Vocabulary::load(&self.model)?;
        let mut rows = open_data(&config, &vocabulary, &session.registry.catalog().methods)?.train;
        let all: Vec<usize> = (0..rows.count()).collect();
        let prompts = rows.read(&all)?.prompts().to_vec();
        let mut network = network(&self.model, &config, Storage::Frozen, OutputHeads::Language)?;
        let sampling = Sampling {
            samples,
            max_new_tokens: max_new_tokens(&config, &vocabulary)?,
            rows: config.sampling.rows,
            stop: vocabulary.ends.clone(),
            context: context(&config, &vocabulary)?,
            draw: Draw::Sample,
            seed,
            step: u64::MAX,
        };
        let decode = |ids: &[u32]| vocabulary.tokenizer.decode(ids);
        let samples = sample(&mut *network.decoder()?, &prompts, &sampling, &decode)?.sequences;
        let mut reward = reward(&config, &vocabulary.tokenizer)?;
        let scores = finite_scores(&mut *reward, &samples)?.to_vec()?;
        Ok(fs::write(
            path,
            labelled_pairs(&samples, &scores, votes, seed)?,
        )?)
    }

    fn config(&self, session: &Session) -> Result<Config> {
        let mut layers = session.layers(None)?;
        for setting in self.settings() {
            layers.set(&setting)?;
        }
        layers.resolve()
    }
}

fn labelled_pairs(
    samples: &Sequences,
    scores: &[f32],
    votes: Option<u32>,
    seed: u64,
) -> Result<String> {
    let mut rng = Rng::new(seed, Stream::Data, 1, 0);
    let mut lines = String::new();
    for first in (0..samples.len()).step_by(2) {
        let [a, b] = [first, first + 1].map(|y| &samples.responses()[y].ids);
        if a == b {
            continue;
        }
        let preferred = 1.0 / (1.0 + f64::from(scores[first + 1] - scores[first]).exp());
        let label = votes.map_or(preferred, |votes| {
            let wins = (0..votes).filter(|_| rng.uniform() < preferred).count();
            wins as f64 / f64::from(votes)
        });
        let row = json!({"prompt_ids": samples.prompt_of(first).ids, "chosen_ids": a,
            "rejected_ids": b, "label": label});
        writeln!(lines, "{row}")?;
    }
    Ok(lines)
}
