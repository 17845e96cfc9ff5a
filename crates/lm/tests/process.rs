//! What a process has one of: its allocator and its choice of instruction set.

use rlhf_device::cpu::{Isa, instruction_sets, use_at_most};
use rlhf_device::{AllocTracker, Cpu, Precision};
use rlhf_lm::{
    ActivationCheckpointing, Backend, LoadOptions, ModelConfig, OutputHeads, OutputVocabulary,
};
use rlhf_objective::{
    Decoder, Finish, Network, OutputGrads, OutputSpec, ParameterSet, Prompt, Response, Sequences,
    Start,
};
use rlhf_tensor::{AdamW, Parameters, Storage};
use serde_json::json;
use std::sync::Mutex;

type Transformer = rlhf_lm::engine::Transformer<Cpu>;

#[global_allocator]
static WATCH: AllocTracker = AllocTracker::new();

/// Held by the test that runs: both change what the whole process does.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes that are no matter.
const SMALL: usize = 64 << 10;

const VOCAB: usize = 3000;
const ROWS: usize = 16;

fn config() -> ModelConfig {
    ModelConfig::from_json(json!({"model_type": "gpt2", "vocab_size": VOCAB,
        "n_embd": 128, "n_head": 4, "n_layer": 2, "n_positions": 96}))
    .unwrap()
}

fn network(precision: Precision) -> Transformer {
    let config = config();
    let heads = OutputHeads::LanguageAndValue;
    let mut parameters = Parameters::new(config.parameter_specs(heads), Storage::Trainable);
    config.initialize(&mut parameters, 1);
    Transformer::new(&config, parameters, heads, 1.0, precision)
}

fn sequences() -> Sequences {
    let ids = |n: usize, by: usize| (0..n).map(|i| (i * by % VOCAB) as u32).collect::<Vec<_>>();
    let prompts = (0..ROWS)
        .map(|row| Prompt::from_ids(ids(32, row + 3)))
        .collect();
    let responses = (0..ROWS).map(|row| Response::new(row, ids(64, row + 5), Finish::Length));
    Sequences::new(prompts, responses.collect()).unwrap()
}

fn step(network: &mut Transformer, sequences: &Sequences) {
    let outputs = network
        .forward(sequences, OutputSpec::TRAIN.with_entropy())
        .unwrap();
    let ones = || Some(vec![1.0; sequences.tokens()]);
    drop(outputs);
    let gradients = OutputGrads {
        log_probs: ones(),
        entropy: ones(),
        values: ones(),
        scores: None,
    };
    network.backward(&gradients).unwrap();
    let scale = 1.0 / network.gradient_norm();
    network.optimizer_step(&AdamW::default(), 1e-3, scale);
}

/// Sixteen responses of a few tokens.
fn decode(decoder: &mut dyn Decoder, sequences: &Sequences) {
    let prompts = sequences.prompts().iter();
    let starts = prompts.map(|prompt| Start {
        prompt: &prompt.ids,
        samples: 1,
        max_new_tokens: 8,
    });
    let starts: Vec<Start<'_>> = starts.collect();
    decoder.start(&starts).unwrap();
    for token in 0..5 {
        decoder.step(&[token; ROWS]).unwrap();
    }
    decoder.gather(&[]).unwrap();
}

/// The product library takes its packing memory anew each time.
fn check(what: &str, found: Vec<(usize, String)>) {
    let own =
        |(_, stack): &(usize, String)| !stack.contains("gemm_basic") && !stack.contains("gemm_f32");
    let mut own = found.into_iter().filter(own);
    if let Some((size, stack)) = own.next() {
        panic!("{what}: {size} bytes from\n{stack}");
    }
}

#[test]
fn no_large_allocation_after_warm_up() {
    let _alone = ALONE.lock().unwrap();
    // One thread, so that its own memory is warm for certain.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    pool.install(|| {
        for precision in [Precision::F32, Precision::Bf16] {
            let (mut network, sequences) = (network(precision), sequences());
            let cold = WATCH.during(SMALL, || step(&mut network, &sequences));
            assert!(cold.len() > 10, "the first step is watched too");
            for round in 0..2 {
                let found = WATCH.during(SMALL, || step(&mut network, &sequences));
                check(&format!("step {round} in {precision:?}"), found);
            }
            let mut decoder = network.decoder().unwrap();
            decode(&mut *decoder, &sequences);
            let found = WATCH.during(SMALL, || decode(&mut *decoder, &sequences));
            check(&format!("decoding in {precision:?}"), found);
        }
    });
}

/// Loading a checkpoint takes what it keeps and a part of one tensor, whatever it is held in.
#[test]
fn loading_takes_no_more_than_the_largest_tensor() {
    let _alone = ALONE.lock().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let json = json!({"model_type": "gpt2", "vocab_size": 9000, "n_embd": 128, "n_head": 4,
        "n_layer": 2, "n_positions": 96});
    std::fs::write(&config, json.to_string()).unwrap();
    rlhf_lm::init(&config, 1, folder.path()).unwrap();
    let summary = rlhf_lm::inspect(folder.path()).unwrap();
    let peak = |storage| {
        let options = LoadOptions {
            storage,
            activation_checkpointing: ActivationCheckpointing::None,
            heads: OutputHeads::Language,
            vocabulary: OutputVocabulary::Whole,
            temperature: 1.0,
            backend: Backend::F32,
        };
        let load = || drop(rlhf_lm::load(folder.path(), &options).unwrap());
        load();
        WATCH.peak(load) as u64
    };
    let memory = summary.memory;
    for (storage, kept) in [
        (Storage::Frozen, memory.frozen),
        (Storage::FrozenBf16, memory.frozen_bf16),
    ] {
        let (peak, most) = (peak(storage), kept + summary.largest_tensor_bytes() / 2);
        assert!(
            (kept..most).contains(&peak),
            "{storage:?}: {peak} of {most}"
        );
    }
    assert!(memory.frozen_bf16 < memory.frozen * 51 / 100);
}

/// Peak bytes, beside what is there before, of training on, scoring and sampling so many rows at a vocabulary
/// of this size.
fn peaks(vocab: usize, rows: usize) -> [usize; 4] {
    let json = json!({"model_type": "llama", "vocab_size": vocab, "hidden_size": 8,
        "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
        "max_position_embeddings": 64, "tie_word_embeddings": true});
    let config = ModelConfig::from_json(json).unwrap();
    let network = |storage| {
        let specs = config.parameter_specs(OutputHeads::Language);
        let parameters = Parameters::new(specs, storage);
        Transformer::new(
            &config,
            parameters,
            OutputHeads::Language,
            1.0,
            Precision::F32,
        )
    };
    let ids = |n: usize| (0..n).map(|i| (i * 7) as u32).collect::<Vec<_>>();
    let count = rows / 32;
    let prompts = (0..count).map(|_| Prompt::from_ids(ids(2))).collect();
    let responses = (0..count).map(|row| Response::new(row, ids(32), Finish::Length));
    let sequences = Sequences::new(prompts, responses.collect()).unwrap();

    let mut policy = network(Storage::Trainable);
    let train = WATCH.peak(|| {
        policy.forward(&sequences, OutputSpec::TRAIN).unwrap();
        let gradients = OutputGrads {
            log_probs: Some(vec![1.0; sequences.tokens()]),
            ..OutputGrads::default()
        };
        policy.backward(&gradients).unwrap();
    });
    let mut prior = network(Storage::Frozen);
    let score = WATCH.peak(|| drop(prior.forward(&sequences, OutputSpec::SCORE).unwrap()));
    policy.forward(&sequences, OutputSpec::TRAIN).unwrap();
    let kl = WATCH.peak(|| {
        let each = &mut |rows: std::ops::Range<usize>, dist: rlhf_objective::LogDist<'_>| {
            policy.log_dist(rows)?.kl(&dist).map(drop)
        };
        prior.forward_with_rows(&sequences, each).unwrap();
    });
    let mut decoder = prior.decoder().unwrap();
    let draw = WATCH.peak(|| {
        let start = Start {
            prompt: &[1, 2],
            samples: rows,
            max_new_tokens: 2,
        };
        decoder.start(&[start]).unwrap();
        let uniforms = vec![0.5; rows];
        let drawn = decoder
            .draw(&uniforms, rlhf_objective::Draw::Sample)
            .unwrap();
        let tokens: Vec<u32> = drawn.into_iter().map(|(token, _)| token).collect();
        decoder.step(&tokens).unwrap();
        decoder
            .draw(&uniforms, rlhf_objective::Draw::Sample)
            .unwrap();
    });
    [train, score, kl, draw]
}

/// Memory does not grow with rows × vocabulary: from some number of rows on, twice as many take only what
/// their hidden states do.
#[test]
fn logits_of_a_large_vocabulary_are_never_whole() {
    let _alone = ALONE.lock().unwrap();
    let vocab = 131_072;
    let [few, many] = [1024, 2048].map(|rows| peaks(vocab, rows));
    let whole = 1024 * vocab * 4;
    for (what, (few, many)) in ["train", "score", "kl", "draw"]
        .iter()
        .zip(few.iter().zip(many))
    {
        let more = many.saturating_sub(*few);
        assert!(
            more < whole / 100,
            "{what}: {more} bytes more for 1,024 rows"
        );
    }
}

/// What is held in bf16 is read as the rounded numbers in f32 are, to the last bit.
#[test]
fn held_in_bf16_on_any_instruction_set() {
    let _alone = ALONE.lock().unwrap();
    let sets = instruction_sets();
    let sequences = sequences();
    for (isa, precision) in sets.iter().flat_map(|isa| BOTH.map(|p| (*isa, p))) {
        use_at_most(isa);
        let exact = network(precision);
        let mut answers = [Storage::FrozenBf16, Storage::Frozen].map(|storage| {
            let mut network = frozen(&exact, storage, precision);
            let read = network.forward(&sequences, OutputSpec::SCORE).unwrap();
            (read.log_probs.to_vec().unwrap(), scores(&mut network))
        });
        let [held, rounded] = &mut answers;
        assert!(held == rounded, "{isa:?} {precision:?}");
    }
    use_at_most(sets[0]);
}

const BOTH: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// The network of these weights rounded to bf16, stored so or in f32.
fn frozen(from: &Transformer, storage: Storage, precision: Precision) -> Transformer {
    let (config, from) = (config(), from.parameter_sets()[0]);
    let specs = config.parameter_specs(OutputHeads::LanguageAndValue);
    let mut halves = Parameters::new(specs.clone(), Storage::FrozenBf16);
    for info in from.describe() {
        let values = from.weights(info.name).unwrap();
        halves.set(info.name, &values).unwrap();
    }
    let mut parameters = Parameters::new(specs, storage);
    for info in from.describe() {
        let values = ParameterSet::weights(&halves, info.name).unwrap();
        parameters.set(info.name, &values).unwrap();
    }
    assert_eq!(parameters.checksum(), halves.checksum());
    Transformer::new(
        &config,
        parameters,
        OutputHeads::LanguageAndValue,
        1.0,
        precision,
    )
}

/// Scores of a decoding step.
fn scores(network: &mut Transformer) -> Vec<f32> {
    let mut decoder = network.decoder().unwrap();
    let sequences = sequences();
    let start = Start {
        prompt: &sequences.prompts()[0].ids,
        samples: 3,
        max_new_tokens: 4,
    };
    decoder.start(&[start]).unwrap();
    decoder.step(&[1, 2, 3]).unwrap();
    decoder.log_dist().unwrap().to_vec()
}

/// Log-probs, some gradients, and scores of a decoding step.
fn answers(isa: Isa, precision: Precision) -> [Vec<f32>; 3] {
    use_at_most(isa);
    let (mut network, sequences) = (network(precision), sequences());
    let outputs = network.forward(&sequences, OutputSpec::TRAIN).unwrap();
    let ones = OutputGrads {
        log_probs: Some(vec![1.0; sequences.tokens()]),
        ..OutputGrads::default()
    };
    network.backward(&ones).unwrap();
    let parameters = network.parameter_sets()[0];
    let mut gradients = Vec::new();
    for info in parameters.describe() {
        let gradient = parameters.gradient(info.name).unwrap();
        gradients.extend(gradient.iter().take(50));
    }
    let log_probs = outputs.log_probs.to_vec().unwrap();
    [log_probs, gradients, scores(&mut network)]
}

/// Kernels of lesser processors answer as those of this one, to rounding.
#[test]
fn instruction_sets_agree() {
    let _alone = ALONE.lock().unwrap();
    let sets = instruction_sets();
    for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Bf16, 0.03)] {
        let best = answers(sets[0], precision);
        for isa in &sets[1..] {
            for (got, want) in answers(*isa, precision).iter().zip(&best) {
                let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
                for (got, want) in got.iter().zip(want) {
                    let apart = (got - want).abs() / largest;
                    assert!(apart < tolerance, "{isa:?} {precision:?}: {got} {want}");
                }
            }
        }
    }
    use_at_most(sets[0]);
}
