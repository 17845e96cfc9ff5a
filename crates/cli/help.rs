//! What `rlhf train --help` says below its options.

use crate::direct;

/// An example, and what a name may be where the options leave it open.
pub(crate) fn train() -> String {
    format!("{EXAMPLE}\n\n{}", direct::help())
}

/// The example alone.
pub(crate) const EXAMPLE: &str = "Example:\n  rlhf train --objective ppo-kl --model gpt2/ --reward \
    lexicon:words.txt \\\n    --data prompts.jsonl --beta 0.05 --set train.iterations=50";
