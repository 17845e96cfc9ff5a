//! The networks that speed is measured on.

use anyhow::{Result, bail};
use rlhf_experiment::{BackendName, DtypeName, backend, frozen};
use rlhf_lm::{
    ActivationCheckpointing, LoadOptions, Model, OutputHeads, OutputVocabulary, Summary, inspect,
};
use rlhf_tensor::{Rng, Storage, Stream};
use serde_json::json;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Names, layers, width, heads, vocabulary.
const SIZES: [(&str, usize, usize, usize, usize); 3] = [
    ("tiny", 4, 128, 4, 4096),
    ("small", 6, 384, 6, 50257),
    ("gpt2", 12, 768, 12, 50257),
];

/// A checkpoint folder, and its shape.
#[derive(Debug)]
pub struct Size {
    dtype: DtypeName,
    frozen_dtype: DtypeName,
    pub(crate) folder: PathBuf,
    /// Layers, width and vocabulary.
    pub shape: Summary,
}

impl Size {
    /// The checkpoint of a size, with random weights, made in `scratch`; or a folder of the user's.
    /// Where it is made here it has no EOS, so every response grows to its greatest length.
    /// `vocab` is another vocabulary than the size's.
    ///
    /// # Errors
    /// If there is no such size and no such folder, or a file cannot be read or written.
    pub fn open(
        (name, vocab): (&str, Option<NonZeroUsize>),
        [dtype, frozen_dtype]: [DtypeName; 2],
        scratch: &Path,
    ) -> Result<Self> {
        let folder = match SIZES.iter().find(|size| size.0 == name) {
            None if Path::new(name).is_dir() => match vocab {
                None => PathBuf::from(name),
                Some(_) => bail!("--vocab: a checkpoint has its own; remove it"),
            },
            None => bail!("--size {name}: there is no such folder; sizes are tiny, small and gpt2"),
            Some(&(_, layers, width, heads, own)) => {
                let vocab = vocab.map_or(own, NonZeroUsize::get);
                let config = json!({"model_type": "gpt2", "n_layer": layers, "n_embd": width,
                    "n_head": heads, "vocab_size": vocab, "n_positions": 1024,
                    "bos_token_id": null, "eos_token_id": null});
                let given = scratch.join("config.json");
                fs::write(&given, config.to_string())?;
                let folder = scratch.join("model");
                rlhf_lm::init(&given, 1, &folder)?;
                folder
            }
        };
        let shape = inspect(&folder)?;
        Ok(Self {
            dtype,
            frozen_dtype,
            folder,
            shape,
        })
    }

    /// The network.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn load(&self, storage: Storage, heads: OutputHeads) -> Result<Box<dyn Model>> {
        let options = LoadOptions {
            storage,
            activation_checkpointing: ActivationCheckpointing::None,
            heads,
            vocabulary: OutputVocabulary::Whole,
            temperature: 1.0,
            backend: backend(BackendName::Engine, self.dtype),
        };
        Ok(rlhf_lm::load(&self.folder, &options)?)
    }

    /// The network as a prior.
    pub(crate) fn prior(&self) -> Result<Box<dyn Model>> {
        self.load(frozen(self.frozen_dtype), OutputHeads::Language)
    }

    /// What a run is told to compute in, and to hold its frozen networks in.
    pub(crate) fn settings(&self) -> [String; 2] {
        [
            format!("model.dtype={}", self.dtype.name()),
            format!("model.frozen_dtype={}", self.frozen_dtype.name()),
        ]
    }

    /// A reward model of the same size with a random head, in `folder`.
    pub(crate) fn reward_model(&self, folder: &Path) -> Result<()> {
        let mut model = self.load(Storage::Trainable, OutputHeads::Score)?;
        for parameters in model.parameter_sets_mut() {
            let mut rng = Rng::new(1, Stream::Init, 0, 0);
            let mut head = parameters.weights("score.weight")?.into_owned();
            head.iter_mut()
                .for_each(|x| *x = 0.02 * rng.normal() as f32);
            parameters.set_weights("score.weight", &head)?;
        }
        Ok(model.save(folder)?)
    }
}
