//! Networks held in bf16: as their rounded numbers in f32, near the others, loaded from any file.

use crate::{
    ActivationCheckpointing, Backend, LoadOptions, Model, OutputHeads, OutputVocabulary, init,
    inspect, load,
};
use rlhf_device::Precision;
use rlhf_objective::{Finish, OutputSpec, Prompt, Response, Sequences, Start};
use rlhf_tensor::Storage;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use std::path::Path;
use tempfile::TempDir;

const BACKENDS: [Backend; 2] = [Backend::F32, Backend::Engine(Precision::Bf16)];

fn options(backend: Backend, storage: Storage) -> LoadOptions {
    LoadOptions {
        storage,
        activation_checkpointing: ActivationCheckpointing::None,
        heads: OutputHeads::Language,
        vocabulary: OutputVocabulary::Whole,
        temperature: 1.0,
        backend,
    }
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = json!({"model_type": "gpt2", "vocab_size": 61, "n_positions": 40, "n_embd": 30,
        "n_head": 3, "n_layer": 2});
    std::fs::write(&path, config.to_string()).unwrap();
    init(&path, 5, folder.path()).unwrap();
    folder
}

/// Writes every tensor of a folder anew, by its name and values.
fn edit(folder: &Path, change: impl Fn(&str, Vec<f32>) -> (Dtype, Vec<u8>)) {
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let tensors = tensors.iter().map(|(name, view)| {
        let values = view.data().as_chunks::<4>().0.iter();
        let (dtype, bytes) = change(name, values.map(|b| f32::from_le_bytes(*b)).collect());
        (name.as_str(), (dtype, view.shape().to_vec(), bytes))
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (*name, view)
    });
    safetensors::serialize_to_file(views, None, &path).unwrap();
}

fn f32s(values: &[f32]) -> (Dtype, Vec<u8>) {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    (Dtype::F32, bytes)
}

/// The nearest bf16 numbers.
fn rounded(values: &[f32]) -> Vec<half::bf16> {
    values.iter().map(|x| half::bf16::from_f32(*x)).collect()
}

/// What is multiplied or looked up.
fn is_matrix(name: &str) -> bool {
    name.ends_with("wte.weight") || name.contains(".c_") && name.ends_with("weight")
}

fn sequences() -> Sequences {
    let ids = |n: usize, by: usize| (0..n).map(|i| (i * by % 61) as u32).collect::<Vec<_>>();
    let prompts = (0..5).map(|i| Prompt::from_ids(ids(3 + i, i + 3)));
    let responses = (0..5).map(|i| Response::new(i, ids(1 + 4 * i, i + 5), Finish::Length));
    Sequences::new(prompts.collect(), responses.collect()).unwrap()
}

/// Log-probs, a log-distribution, and scores of a decoding step.
fn answers(model: &mut dyn Model) -> [Vec<f32>; 3] {
    let s = sequences();
    let read = model.forward(&s, OutputSpec::SCORE).unwrap();
    let dist = model.log_dist(1..4).unwrap().to_vec();
    let mut decoder = model.decoder().unwrap();
    let start = Start {
        prompt: &s.prompts()[4].ids,
        samples: 2,
        max_new_tokens: 5,
    };
    decoder.start(&[start]).unwrap();
    decoder.step(&[7, 8]).unwrap();
    [
        read.log_probs.to_vec().unwrap(),
        dist,
        decoder.log_dist().unwrap().to_vec(),
    ]
}

#[test]
fn as_rounded_numbers_in_f32_and_near_the_others() {
    let (exact, near) = (folder(), folder());
    edit(near.path(), |name, values| {
        let rounded = rounded(&values).into_iter().map(half::bf16::to_f32);
        match is_matrix(name) {
            true => f32s(&rounded.collect::<Vec<_>>()),
            false => f32s(&values),
        }
    });
    for backend in BACKENDS {
        let read = |folder: &TempDir, storage| {
            let mut model = load(folder.path(), &options(backend, storage)).unwrap();
            let sum = model.checksums();
            (answers(&mut *model), sum)
        };
        let held = read(&exact, Storage::FrozenBf16);
        assert!(held == read(&near, Storage::Frozen), "{backend:?}");
        let (unrounded, sum) = read(&exact, Storage::Frozen);
        assert_ne!(held.1, sum);
        for (held, exact) in held.0.iter().zip(&unrounded) {
            let apart = held.iter().zip(exact).map(|(a, b)| (a - b).abs());
            let most = apart.fold(0f32, f32::max);
            assert!(most > 1e-6 && most < 5e-3, "{backend:?}: {most}");
        }
    }
    // What is written is what was computed with.
    let out = tempfile::tempdir().unwrap();
    let held = options(Backend::F32, Storage::FrozenBf16);
    let mut held = load(exact.path(), &held).unwrap();
    held.save(out.path()).unwrap();
    let mut again = load(out.path(), &options(Backend::F32, Storage::Frozen)).unwrap();
    assert_eq!(again.checksums(), held.checksums());
    assert!(answers(&mut *again) == answers(&mut *held));
}

/// From every type of number; what is bf16 in the file is held exactly.
#[test]
fn from_any_file() {
    let sum = |folder: &TempDir, storage| {
        let model = load(folder.path(), &options(Backend::F32, storage)).unwrap();
        model.checksums()
    };
    let bf16 = folder();
    edit(bf16.path(), |_, values| {
        let bytes = rounded(&values)
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        (Dtype::BF16, bytes)
    });
    assert_eq!(inspect(bf16.path()).unwrap().dtypes, ["BF16"]);
    assert_eq!(sum(&bf16, Storage::FrozenBf16), sum(&bf16, Storage::Frozen));
    // From f16, through f32: both roundings of the same number.
    let (f16, widened) = (folder(), folder());
    let half = |values: &[f32]| -> Vec<half::f16> {
        values.iter().map(|x| half::f16::from_f32(*x)).collect()
    };
    edit(f16.path(), |_, values| {
        let bytes = half(&values).iter().flat_map(|x| x.to_le_bytes()).collect();
        (Dtype::F16, bytes)
    });
    edit(widened.path(), |_, values| {
        let widened = half(&values).into_iter().map(half::f16::to_f32);
        f32s(&widened.collect::<Vec<_>>())
    });
    let sums = [&f16, &widened].map(|folder| sum(folder, Storage::FrozenBf16));
    assert_eq!(sums[0], sums[1]);
    assert_ne!(sums[0], sum(&f16, Storage::Frozen));
}

#[test]
fn what_cannot_be_held_so_is_refused() {
    let folder = folder();
    let refused = |backend| {
        let held = options(backend, Storage::FrozenBf16);
        load(folder.path(), &held).err().unwrap().to_string()
    };
    assert!(refused(Backend::Plain).contains("the plain network does not"));
    for (value, words) in [
        (f32::NAN, "has the value NaN: this checkpoint is spoiled"),
        (
            -3.4e38,
            "`transformer.h.1.mlp.c_fc.weight` has the value -3.4e38, which is beyond bf16",
        ),
    ] {
        edit(folder.path(), |name, mut values| {
            if name.ends_with("h.1.mlp.c_fc.weight") {
                values[5] = value;
            }
            f32s(&values)
        });
        let said = refused(Backend::F32);
        assert!(said.contains(words), "{said}");
    }
    load(folder.path(), &options(Backend::F32, Storage::Frozen)).unwrap();
}
