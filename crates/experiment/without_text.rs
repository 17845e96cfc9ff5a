//! Notes the probability of token ids without text, which sampling, training and the KL leave out.

use crate::networks::model_path;
use crate::notes::note;
use crate::prepared::Prepared;
use anyhow::Result;

/// The number of prompts over which the probability is averaged.
const PROMPTS: usize = 8;

/// Notes the probability that the model gives to ids without text, averaged over the first held-out prompts, or
/// at the beginning of a text if there are none. Notes nothing if all ids have text.
pub(crate) fn note_removed_probability(prepared: &mut Prepared) -> Result<()> {
    let (rows, size) = (prepared.vocabulary.rows, prepared.vocabulary.size);
    if rows == size || prepared.config.method.facts().is_reward_model() {
        return Ok(());
    }
    let prompts = prepared.held_out_prompts()?;
    let first = prepared
        .vocabulary
        .bos
        .or(prepared.vocabulary.ends.first().copied());
    let first = [first.unwrap_or(0)];
    let mut contexts: Vec<&[u32]> = prompts.iter().take(PROMPTS).map(|p| &p.ids[..]).collect();
    if contexts.is_empty() {
        contexts.push(&first);
    }
    let folder = model_path(&prepared.config)?;
    let mass = rlhf_lm::mass_without_text(folder, &contexts)?;
    note(format_args!(
        "{} of {rows} vocabulary entries have no text: the probability that the model gives them, {mass:.2e} on \
         average over {} prompts, is left out and the rest renormalized",
        rows - size,
        contexts.len()
    ));
    Ok(())
}
