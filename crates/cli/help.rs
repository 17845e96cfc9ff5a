//! The text of `rlhf train --help` below its options.

use rlhf_experiment::Registry;
use rlhf_reward::RULE_FORMS;

/// An example, the forms of `--reward`, and the settings of each method.
pub(crate) fn train() -> String {
    let mut text = format!("{EXAMPLE}\n\nRewards (--reward, or a [reward] section):\n");
    for (form, what) in RULE_FORMS {
        text += &format!("  {form:<27}{what}\n");
    }
    text += "For sums of rewards, and a penalty for responses without EOS, write a [reward] section; see\n\
             configs/ppo-kl.toml.\n\n";
    let registry = Registry::default();
    let methods: Vec<&str> = registry
        .catalog()
        .methods
        .facts()
        .map(|facts| facts.help.as_str())
        .filter(|help| !help.is_empty())
        .collect();
    text + &methods.join("\n\n")
}

/// The example.
pub(crate) const EXAMPLE: &str = "Example:\n  rlhf train --objective ppo-kl --model gpt2/ --reward \
    lexicon:words.txt \\\n    --data prompts.jsonl --beta 0.05 --set train.iterations=50";
