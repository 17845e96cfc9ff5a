//! What is said of a model whose last ids have no text.

use crate::networks::model_path;
use crate::notes::note;
use crate::prepared::Prepared;
use anyhow::Result;

/// Prompts that are looked at.
const PROMPTS: usize = 8;

/// Says how much probability the model gives to ids without text, which sampling, training and KL leave out:
/// after the first held-out prompts, or at the beginning of a text where there are none. Nothing where all
/// ids have text.
pub(crate) fn say_removed(prepared: &mut Prepared) -> Result<()> {
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
    let mut histories: Vec<&[u32]> = prompts.iter().take(PROMPTS).map(|p| &p.ids[..]).collect();
    if histories.is_empty() {
        histories.push(&first);
    }
    let folder = model_path(&prepared.config)?;
    let mass = rlhf_lm::mass_without_text(folder, &histories)?;
    note(format_args!(
        "{} of {rows} vocabulary entries have no text: the probability that the model gives them, {mass:.2e} on \
         average over {} prompts, is left out and the rest renormalized",
        rows - size,
        histories.len()
    ));
    Ok(())
}
