//! What must stay true of every run, of each method under each prior: crates/README.md lists it.

use rlhf_dpo::{Dpo, PairSource};
use rlhf_journal::{Existing, Journal};
use rlhf_lm::{
    ActivationCheckpointing, Backend, LoadOptions, Model, OutputHeads, OutputVocabulary,
};
use rlhf_objective::{
    Beta, Draw, Finish, KlPenalty, Objective, Pairs, PerSeq, Prior, Prompt, Response, Result,
    Reward, Sequences, rows_copied,
};
use rlhf_policy::{Networks, Sampling, SavedNetwork};
use rlhf_ppo::Ppo;
use rlhf_prior::{Counting, Frozen, Mixture, Smoothed, Uniform};
use rlhf_reinforce::{Baseline, KlPlacement, PolicyGradient, VarGrad, VarGradConfig};
use rlhf_tensor::{AdamW, Storage};
use rlhf_train::{
    Interrupt, Method, Observer, Online, Optim, Progress, Prompts, Run, Schedule, State, offline,
    online,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const VOCAB: usize = 31;
const METHODS: [&str; 7] = [
    "ppo",
    "rloo",
    "reinforce",
    "grpo",
    "local-k3",
    "vargrad",
    "dpo",
];
const PRIORS: [&str; 6] = [
    "counting",
    "uniform",
    "reference",
    "smoothed",
    "geometric",
    "arithmetic",
];

/// A small GPT-2 with random weights, from which policy and priors are loaded.
fn checkpoint() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({"model_type": "gpt2", "vocab_size": VOCAB, "n_positions": 24,
        "n_embd": 64, "n_layer": 2, "n_head": 4, "eos_token_id": 0, "bos_token_id": 0});
    let path = folder.path().join("config.json");
    fs::write(&path, config.to_string()).unwrap();
    rlhf_lm::init(&path, 1, folder.path()).unwrap();
    folder
}

fn model(folder: &Path, storage: Storage, heads: OutputHeads) -> Box<dyn Model> {
    let options = LoadOptions {
        storage,
        activation_checkpointing: ActivationCheckpointing::None,
        heads,
        vocabulary: OutputVocabulary::Whole,
        temperature: 1.0,
        backend: Backend::F32,
    };
    rlhf_lm::load(folder, &options).unwrap()
}

fn policy(folder: &Path) -> Networks {
    let model = model(folder, Storage::Trainable, OutputHeads::LanguageAndValue);
    let policy = SavedNetwork::new(model, |model, folder| model.save(folder));
    Networks::policy(policy).with_value_head().unwrap()
}

fn prior(kind: &str, folder: &Path) -> Box<dyn Prior> {
    let frozen = || -> Box<dyn Prior> {
        let model = model(folder, Storage::Frozen, OutputHeads::Language);
        Box::new(Frozen::new(model).unwrap())
    };
    let uniform = || Box::new(Uniform::new(VOCAB));
    match kind {
        "counting" => Box::new(Counting::new(VOCAB)),
        "uniform" => uniform(),
        "reference" => frozen(),
        "smoothed" => Box::new(Smoothed::new(frozen(), VOCAB, 0.01).unwrap()),
        "geometric" => Box::new(Mixture::geometric_per_token(frozen(), uniform(), 0.3).unwrap()),
        "arithmetic" => {
            Box::new(Mixture::arithmetic_over_sequences(frozen(), uniform(), 0.3).unwrap())
        }
        other => unreachable!("{other}"),
    }
}

/// [`Twos`] under a prior.
fn objective(kind: &str, folder: &Path) -> Objective {
    let penalty = KlPenalty::new(prior(kind, folder), Beta::Fixed(0.1));
    Objective::new(Box::new(Twos), penalty)
}

/// The share of token 2.
struct Twos;

impl Reward for Twos {
    fn score(&mut self, s: &Sequences) -> Result<PerSeq> {
        let share =
            |ids: &[u32]| ids.iter().filter(|id| **id == 2).count() as f32 / ids.len() as f32;
        PerSeq::from_vec(s.responses().iter().map(|y| share(&y.ids)).collect())
    }
}

struct Nobody;

impl Observer for Nobody {
    fn step(&mut self, _: &Progress<'_>) {}
}

fn optim() -> Optim {
    Optim {
        adamw: AdamW::default(),
        learning_rate: 1e-2,
        schedule: Schedule::default(),
        clip: Some(1.0),
        micro_batch_tokens: 150,
    }
}

fn prompts() -> Vec<Arc<Prompt>> {
    let ids = |id: u32| (0..=id % 3).map(|i| id + i).collect();
    (1..5)
        .map(|id| Arc::new(Prompt::from_ids(ids(id))))
        .collect()
}

/// Every token of the vocabulary, after several others.
fn probe() -> Sequences {
    let ids = |start: usize| (0..20).map(|i| ((start + 7 * i) % VOCAB) as u32).collect();
    let responses = (0..VOCAB).map(|start| Response::new(0, ids(start), Finish::Length));
    Sequences::new(vec![Prompt::from_ids(vec![1, 2])], responses.collect()).unwrap()
}

fn pairs() -> Pairs {
    let prompt = |id| Prompt::from_ids(vec![id]);
    let answer = |prompt, ids: &[u32]| Response::new(prompt, ids.to_vec(), Finish::Length);
    let responses = (0..4).flat_map(|p| [answer(p, &[2, 2, p as u32]), answer(p, &[7, 1])]);
    let prompts = (1..5).map(prompt).collect();
    Pairs::new(Sequences::new(prompts, responses.collect()).unwrap()).unwrap()
}

/// A run of a method in a folder, to the end.
fn train(method: &str, objective: &mut Objective, policy: &mut Networks, folder: &Path) {
    let mut journal = Journal::create(folder, Existing::Refuse).unwrap();
    let mut run = Run {
        journal: &mut journal,
        observer: &mut Nobody,
        interrupt: &Interrupt::new(),
        start: State::default(),
        save_every: None,
    };
    let gradient = |baseline| PolicyGradient::new(baseline, KlPlacement::Reward).unwrap();
    let local = KlPlacement::Loss(rlhf_objective::LocalKl::LocalK3);
    match method {
        "ppo" => by(
            Ppo::new(rlhf_ppo::Config::default()).unwrap(),
            objective,
            policy,
            &mut run,
        ),
        "rloo" => by(gradient(Baseline::LeaveOneOut), objective, policy, &mut run),
        "reinforce" => by(
            gradient(Baseline::Moving { decay: 0.9 }),
            objective,
            policy,
            &mut run,
        ),
        "grpo" => by(gradient(Baseline::Group), objective, policy, &mut run),
        "local-k3" => {
            let method = PolicyGradient::new(Baseline::LeaveOneOut, local).unwrap();
            by(method, objective, policy, &mut run)
        }
        "vargrad" => by(
            VarGrad::new(VarGradConfig::default()).unwrap(),
            objective,
            policy,
            &mut run,
        ),
        "dpo" => {
            let all = rlhf_dpo::Batch::new(objective.penalty().with_prior(pairs(), 100).unwrap())
                .unwrap();
            let mut source = PairSource::new(all, 2, 2, 3).unwrap();
            let learner = Dpo::new(&rlhf_dpo::Config::default()).unwrap();
            offline(policy, &learner, &mut source, &optim(), &mut run).unwrap();
        }
        other => unreachable!("{other}"),
    }
}

fn by<M: Method>(
    mut method: M,
    objective: &mut Objective,
    policy: &mut Networks,
    run: &mut Run<'_>,
) {
    let settings = Online {
        iterations: 3,
        prompts: 4,
        sampling: Sampling {
            samples: 8,
            max_new_tokens: 12,
            rows: 16,
            stop: vec![0],
            context: 24,
            draw: Draw::Sample,
            seed: 5,
            step: 0,
        },
        optim: optim(),
        log_samples: 4,
    };
    let mut prompts = prompts();
    let prompts = Prompts {
        prompts: &mut prompts,
        decode: &|ids| format!("{ids:?}"),
    };
    online(policy, objective, &mut method, prompts, &settings, run).unwrap();
}

/// What a prior says of every row of the probe, to the last bit.
fn said(objective: &mut Objective) -> Vec<u32> {
    let (probe, prior) = (probe(), objective.penalty().prior());
    let log_probs = prior.log_probs(&probe).unwrap().to_vec().unwrap();
    let rows = prior.log_dist(&probe, 0..probe.tokens()).unwrap().to_vec();
    log_probs.iter().chain(&rows).map(|x| x.to_bits()).collect()
}

/// Policy and prior are read from the same file, and only one of them moves.
#[test]
fn a_prior_is_the_same_after_every_method() {
    let start = checkpoint();
    let file = || fs::read(start.path().join("model.safetensors")).unwrap();
    let at_start = file();
    for method in METHODS {
        for kind in PRIORS {
            let mut objective = objective(kind, start.path());
            let before = said(&mut objective);
            let mut policy = policy(start.path());
            let out = tempfile::tempdir().unwrap();
            train(method, &mut objective, &mut policy, out.path());
            assert!(said(&mut objective) == before, "{method} moved {kind}");
            let moved = fs::read(out.path().join("final/model.safetensors")).unwrap();
            assert!(
                moved != at_start,
                "{method}, {kind}: the policy did not move"
            );
        }
    }
    assert!(file() == at_start, "the file of the prior");
}

/// β meets a log-ratio in `objective::tilt` alone, which at a β of 0 forgets the prior: every prior gives
/// the same run, to the last byte of the policy.
#[test]
fn where_nothing_is_paid_the_prior_does_not_matter() {
    let start = checkpoint();
    // Without a price dpo has no implicit reward, and vargrad nothing that depends on the policy.
    for method in ["ppo", "rloo", "reinforce", "grpo", "local-k3"] {
        let end = |kind| {
            let penalty = KlPenalty::new(prior(kind, start.path()), Beta::Fixed(0.0));
            let mut objective = Objective::new(Box::new(Twos), penalty);
            let out = tempfile::tempdir().unwrap();
            train(
                method,
                &mut objective,
                &mut policy(start.path()),
                out.path(),
            );
            fs::read(out.path().join("final/model.safetensors")).unwrap()
        };
        let [counting, uniform, reference] = ["counting", "uniform", "reference"].map(end);
        assert!(counting == uniform && uniform == reference, "{method}");
    }
}

/// Every file below a folder but the timing, which the seed does not determine.
fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        if path.is_dir() {
            let below = bytes(&path).into_iter();
            found.extend(below.map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else if name != "timing.jsonl" {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

/// Batches large enough that their work is cut into pieces.
#[test]
fn one_two_and_three_threads_write_the_same_bytes() {
    let start = checkpoint();
    for method in ["ppo", "vargrad", "dpo"] {
        let run = |threads| {
            let out = tempfile::tempdir().unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let objective = &mut objective("reference", start.path());
                train(method, objective, &mut policy(start.path()), out.path());
            });
            bytes(out.path())
        };
        let one = run(1);
        assert!(one.contains_key("metrics.jsonl") && one.contains_key("final/model.safetensors"));
        for threads in [2, 3] {
            let other = run(threads);
            let differ = |name: &&String| one.get(*name) != other.get(*name);
            let found: Vec<_> = one.keys().chain(other.keys()).filter(differ).collect();
            assert_eq!(found, Vec::<&String>::new(), "{method}, {threads} threads");
        }
    }
}

/// Rows of V numbers stay where they are computed, the exact KL of each row included, unless a prior draws
/// or mixes on the host.
#[test]
fn no_row_is_copied_where_nobody_asks_for_it() {
    let start = checkpoint();
    let copied = |method: &str, kind: &str| {
        let mut policy = policy(start.path());
        let mut objective = objective(kind, start.path());
        let out = tempfile::tempdir().unwrap();
        let before = rows_copied();
        train(method, &mut objective, &mut policy, out.path());
        let during = rows_copied() - before;
        said(&mut objective);
        (during, rows_copied() - before - during)
    };
    let asked = probe().tokens();
    for method in METHODS {
        for kind in ["counting", "uniform", "reference"] {
            assert_eq!(copied(method, kind), (0, asked), "{method}, {kind}");
        }
    }
    assert!(
        copied("ppo", "geometric").0 > 0,
        "a mixture mixes on the host"
    );
}
