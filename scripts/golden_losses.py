"""The losses of TRL and their gradients: a part of golden.py.

TRL's own code: the whole loss and metrics of DPO (DPOTrainer._compute_loss, TRL 1.16, called with a
model that answers given log-probs), and masked_mean and masked_whiten of PPO. Restated line by line
from PPOTrainer.train (trl/experimental/ppo/ppo_trainer.py, TRL 1.12), where they are part of a long
function: the estimation of advantages, and the losses of policy and critic. Smoothed labels are not
a loss of TRL's: they are its loss of the pairs and of the exchanged pairs, mixed.

All gradients are torch's, everything is in float64, and inputs are rounded to float32 first.
"""

import collections
import json
import types

import torch

LENGTHS = [3, 1, 4, 2, 2, 5, 1, 3]


def inputs(generator, shift, scale):
    """A number for each token of responses of LENGTHS, flat."""
    noise = torch.randn(sum(LENGTHS), generator=generator)
    return (shift + scale * noise).float().double()


def padded(flat):
    """[N] to [B, T], zeros behind."""
    return torch.nn.utils.rnn.pad_sequence(flat.split(LENGTHS), batch_first=True)


def mask():
    return padded(torch.ones(sum(LENGTHS))).bool()


def trainer(beta, **settings):
    """What TRL's losses read of a trainer."""
    same = lambda x: x  # noqa: E731
    usual = dict(
        model=types.SimpleNamespace(training=False),
        accelerator=types.SimpleNamespace(device="cpu", gather=same, gather_for_metrics=same),
        args=types.SimpleNamespace(discopop_tau=0.05),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=0.1,
        use_weighting=False,
        _metrics={"eval": collections.defaultdict(list)},
        _total_train_tokens=0,
    )
    return types.SimpleNamespace(**(usual | settings))


def answer(log_probs):
    zeros = torch.zeros_like(log_probs)
    return types.SimpleNamespace(
        log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
    )


def trl_dpo(log_probs, prior_log_probs, beta):
    """Loss and metrics of responses [pairs, 2, T], by TRL's own code."""
    from trl import DPOTrainer

    this = trainer(beta)
    chosen_then_rejected = log_probs.transpose(0, 1).flatten(0, 1)
    answered = torch.nn.functional.pad(torch.zeros_like(chosen_then_rejected), (1, 0)).long()
    batch = {
        "input_ids": answered,
        "completion_mask": answered,
        "ref_chosen_logps": prior_log_probs[:, 0],
        "ref_rejected_logps": prior_log_probs[:, 1],
    }
    outputs = answer(chosen_then_rejected)
    loss = DPOTrainer._compute_loss(this, lambda **_: outputs, batch, False)
    return loss, {name: numbers[0] for name, numbers in this._metrics["eval"].items()}


def dpo_case(flat, prior, beta, label_smoothing):
    log_probs = flat.clone().requires_grad_()
    pairs = padded(log_probs).unflatten(0, (-1, 2))
    by_pair = prior.unflatten(0, (-1, 2))
    loss, metrics = trl_dpo(pairs, by_pair, beta)
    exchanged, _ = trl_dpo(pairs.flip(1), by_pair.flip(1), beta)
    loss = (1 - label_smoothing) * loss + label_smoothing * exchanged
    loss.backward()
    names = ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"]
    stats = {name: metrics[name] for name in names}
    stats |= {f"log_probs/{side}": metrics[f"logps/{side}"] for side in ("chosen", "rejected")}
    return {
        "beta": beta,
        "label_smoothing": label_smoothing,
        "log_probs": flat.tolist(),
        "prior_log_probs": prior.tolist(),
        "loss": loss.item(),
        "gradient": log_probs.grad.tolist(),
        "stats": stats,
    }


def dpo(out):
    """DPO on eight ragged responses: near the prior, far from it, and exactly at it."""
    generator = torch.Generator().manual_seed(0)
    flat = inputs(generator, -2.0, 0.7)
    at = padded(flat).sum(1)
    near = (at + torch.randn(8, generator=generator)).float().double()
    far = (at + 200 * torch.randn(8, generator=generator)).float().double()
    priors = {"near": near, "far": far, "at": at}
    cases = {
        f"{name}, beta {beta}, smoothing {smoothing}": dpo_case(flat, prior, beta, smoothing)
        for name, prior in priors.items()
        for beta in (0.1, 0.5)
        for smoothing in (0.0, 0.1)
    }
    write(out / "dpo.json", {"lengths": LENGTHS, "cases": cases})


def advantages_and_returns(rewards, values, gamma, lam):
    """PPOTrainer.train, "6. compute advantages and returns", restated."""
    from trl.experimental.ppo.ppo_trainer import masked_whiten

    lastgaelam = 0
    advantages_reversed = []
    for t in reversed(range(rewards.shape[1])):
        nextvalues = values[:, t + 1] if t < rewards.shape[1] - 1 else 0.0
        delta = rewards[:, t] + gamma * nextvalues - values[:, t]
        lastgaelam = delta + gamma * lam * lastgaelam
        advantages_reversed.append(lastgaelam)
    advantages = torch.stack(advantages_reversed[::-1], axis=1)
    returns = advantages + values
    return masked_whiten(advantages, mask()), returns


def ppo_losses(new_logprobs, logprobs, vpred, values, advantages, returns, settings):
    """The innermost loop of PPOTrainer.train, restated."""
    from trl.experimental.ppo.ppo_trainer import masked_mean

    clip_value, clip = settings["clip_value"], settings["clip"]
    vpredclipped = torch.clamp(vpred, values - clip_value, values + clip_value)
    vf_losses1 = torch.square(vpred - returns)
    vf_losses2 = torch.square(vpredclipped - returns)
    vf_loss = 0.5 * masked_mean(torch.max(vf_losses1, vf_losses2), mask())
    vf_clipfrac = masked_mean((vf_losses2 > vf_losses1).double(), mask())
    logprobs_diff = new_logprobs - logprobs
    ratio = torch.exp(logprobs_diff)
    pg_losses = -advantages * ratio
    pg_losses2 = -advantages * torch.clamp(ratio, 1.0 - clip, 1.0 + clip)
    pg_loss = masked_mean(torch.max(pg_losses, pg_losses2), mask())
    pg_clipfrac = masked_mean((pg_losses2 > pg_losses).double(), mask())
    loss = pg_loss + settings["value_weight"] * vf_loss
    return loss, {
        "loss": loss,
        "loss/policy_avg": pg_loss,
        "loss/value_avg": vf_loss,
        "policy/clipfrac_avg": pg_clipfrac,
        "val/clipfrac_avg": vf_clipfrac,
        # TRL takes these two over the pads too.
        "policy/approxkl_avg": 0.5 * masked_mean(logprobs_diff**2, mask()),
        "val/ratio": masked_mean(ratio, mask()),
    }


def ppo_case(generator, moved, settings):
    old_log_probs, old_values = inputs(generator, -2.0, 0.7), inputs(generator, 0.3, 0.5)
    rewards = inputs(generator, 0.1, 0.4)
    log_probs = (old_log_probs + moved * inputs(generator, 0.0, 0.3)).float().double()
    values = (old_values + moved * inputs(generator, 0.0, 0.3)).float().double()
    advantages, returns = advantages_and_returns(
        padded(rewards), padded(old_values), settings["gamma"], settings["lambda"]
    )
    leaves = [x.clone().requires_grad_() for x in (log_probs, values)]
    loss, stats = ppo_losses(
        padded(leaves[0]),
        padded(old_log_probs),
        padded(leaves[1]),
        padded(old_values),
        advantages,
        returns,
        settings,
    )
    loss.backward()
    return {
        "settings": settings,
        "old_log_probs": old_log_probs.tolist(),
        "old_values": old_values.tolist(),
        "rewards": rewards.tolist(),
        "log_probs": log_probs.tolist(),
        "values": values.tolist(),
        "advantages": advantages[mask()].tolist(),
        "returns": returns[mask()].tolist(),
        "log_probs_gradient": leaves[0].grad.tolist(),
        "values_gradient": leaves[1].grad.tolist(),
        "stats": {name: number.item() for name, number in stats.items()},
    }


def ppo(out):
    """PPO on eight ragged responses: the first step, where nothing has moved, and later ones."""
    usual = {"clip": 0.2, "clip_value": 0.2, "value_weight": 0.1, "lambda": 0.95, "gamma": 1.0}
    other = {"clip": 0.1, "clip_value": 0.5, "value_weight": 0.7, "lambda": 0.6, "gamma": 0.9}
    generator = torch.Generator().manual_seed(1)
    cases = {
        "first step": ppo_case(generator, 0.0, usual),
        "later step": ppo_case(generator, 1.0, usual),
        "other settings": ppo_case(generator, 1.0, other),
    }
    write(out / "ppo.json", {"lengths": LENGTHS, "cases": cases})


def write(path, golden):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(golden, indent=1) + "\n")
