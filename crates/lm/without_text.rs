//! Vocabularies whose last ids have no text: rows that round an embedding up.

use crate::inspect::inspect;
use crate::loading::load;
use crate::options::{
    ActivationCheckpointing, Backend, LoadOptions, OutputHeads, OutputVocabulary,
};
use rlhf_objective::Start;
use rlhf_tensor::Storage;
use std::path::Path;

/// How much of the probability after each of these histories the language model of a folder gives to ids
/// that have no text, on average: what [`OutputVocabulary::WithText`] removes.
///
/// # Errors
/// If the folder cannot be loaded, or a history does not fit.
pub fn mass_without_text(folder: &Path, histories: &[&[u32]]) -> rlhf_objective::Result<f64> {
    let used = inspect(folder)?.ids_with_text;
    let options = LoadOptions {
        storage: Storage::Frozen,
        activation_checkpointing: ActivationCheckpointing::None,
        heads: OutputHeads::Language,
        vocabulary: OutputVocabulary::Whole,
        temperature: 1.0,
        backend: Backend::F32,
    };
    let mut model = load(folder, &options)?;
    let mut decoder = model.decoder()?;
    let starts: Vec<Start<'_>> = histories
        .iter()
        .map(|prompt| Start {
            prompt,
            samples: 1,
            max_new_tokens: 1,
        })
        .collect();
    decoder.start(&starts)?;
    let rows = decoder.log_dist()?.to_rows();
    let mass = |row: &Vec<f32>| row[used..].iter().map(|x| f64::from(*x).exp()).sum::<f64>();
    Ok(rows.iter().map(mass).sum::<f64>() / rows.len().max(1) as f64)
}
