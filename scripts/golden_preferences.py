"""The other losses of TRL on preferences and opinions, and their gradients: a part of golden.py.

TRL's own code (1.16): DPOTrainer._compute_loss and KTOTrainer._compute_loss, called with models that
answer given log-probs; CPOTrainer.cpo_loss for SimPO; ORPOTrainer.odds_ratio_loss for the odds of ORPO,
to which its likelihood of the chosen answer is added as its authors write it, a mean over tokens.

All gradients are torch's, everything but the α-divergence is in float64, and inputs are rounded to
float32 first.
"""

import torch
from golden_losses import LENGTHS, answer, inputs, mask, padded, trainer, write

# Our settings, and what TRL calls them.
PAIRED = [
    ({"loss": "robust", "label_smoothing": 0.1}, {"loss_types": ["robust"]}),
    ({"loss": "hinge"}, {"loss_types": ["hinge"]}),
    ({"loss": "ipo-normalized"}, {"loss_types": ["ipo"]}),
    ({"loss": "exo", "label_smoothing": 0.1}, {"loss_types": ["exo_pair"]}),
    ({"loss": "nca"}, {"loss_types": ["nca_pair"]}),
    ({"loss": "bco"}, {"loss_types": ["bco_pair"]}),
    ({"loss": "sppo"}, {"loss_types": ["sppo_hard"]}),
    ({"loss": "aot", "label_smoothing": 0.1}, {"loss_types": ["aot"]}),
    ({"loss": "apo-zero"}, {"loss_types": ["apo_zero"]}),
    ({"loss": "apo-down"}, {"loss_types": ["apo_down"]}),
    ({"loss": "discopop"}, {"loss_types": ["discopop"]}),
    ({"divergence": "forward-kl"}, {"f_divergence_type": "forward_kl"}),
    ({"divergence": "js"}, {"f_divergence_type": "js_divergence"}),
    (
        {"divergence": "alpha", "divergence_alpha": 0.3},
        {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.7},
    ),
]


def paired(log_probs, prior, beta, settings):
    """DPOTrainer._compute_loss of flat log-probs."""
    from trl import DPOTrainer

    first = lambda x: x.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)  # noqa: E731
    completion = torch.nn.functional.pad(first(mask()).long(), (1, 0))
    batch = {
        "input_ids": torch.zeros_like(completion),
        "completion_mask": completion,
        "ref_chosen_logps": prior[0::2],
        "ref_rejected_logps": prior[1::2],
    }
    if settings.get("f_divergence_type") == "alpha_divergence":
        # TRL has it for float32 and narrower alone.
        log_probs = log_probs.float()
        batch |= {name: batch[name].float() for name in batch if name.startswith("ref")}
    outputs = answer(first(padded(log_probs)))
    return DPOTrainer._compute_loss(trainer(beta, **settings), lambda **_: outputs, batch, False)


def simpo(log_probs, prior, beta, settings):
    """CPOTrainer.cpo_loss of log-probs a token."""
    from trl.experimental.cpo import CPOTrainer

    mean = padded(log_probs).sum(1) / torch.tensor(LENGTHS)
    this = trainer(beta, loss_type="simpo", alpha=0.0, label_smoothing=0.0, **settings)
    return CPOTrainer.cpo_loss(this, mean[0::2], mean[1::2])[0].mean()


def orpo(log_probs, prior, beta, settings):
    from trl.experimental.orpo import ORPOTrainer

    mean = padded(log_probs).sum(1) / torch.tensor(LENGTHS)
    this = trainer(settings["weight"])
    losses = ORPOTrainer.odds_ratio_loss(this, mean[0::2], mean[1::2])[0]
    return (-mean[0::2] - losses).mean()


def case(function, flat, prior, beta, ours, theirs):
    log_probs = flat.clone().requires_grad_()
    loss = function(log_probs, prior, beta, theirs)
    loss.backward()
    return {
        "beta": beta,
        "settings": ours,
        "log_probs": flat.tolist(),
        "prior_log_probs": prior.tolist(),
        "loss": loss.item(),
        "gradient": log_probs.grad.tolist(),
    }


def opinions(flat, prior, mismatched, mismatched_prior, beta, weights):
    """KTOTrainer._compute_loss; rows 0, 3, 4 and 6 were liked."""
    from trl import KTOTrainer

    log_probs = flat.clone().requires_grad_()
    liked = [True, False, False, True, True, False, True, False]
    completion = torch.nn.functional.pad(mask().long(), (1, 0))
    batch = {
        "input_ids": torch.zeros_like(completion),
        "attention_mask": completion,
        "completion_mask": completion,
        "KL_input_ids": torch.zeros_like(completion),
        "KL_attention_mask": completion,
        "KL_completion_mask": completion,
        "label": torch.tensor(liked),
        "ref_logps": prior,
        "ref_KL_logps": mismatched_prior,
    }
    # The mismatched answers are read first.
    reads = iter([answer(padded(mismatched)), answer(padded(log_probs))])
    this = trainer(beta, calculate_KL=True, loss_type="kto", **weights)
    this._compute_kl_logps = lambda model, batch: KTOTrainer._compute_kl_logps(this, model, batch)
    loss = KTOTrainer._compute_loss(this, lambda **_: next(reads), batch, False)
    loss.backward()
    return {
        "beta": beta,
        "weights": weights,
        "liked": liked,
        "log_probs": flat.tolist(),
        "prior_log_probs": prior.tolist(),
        "mismatched_log_probs": padded(mismatched).sum(1).tolist(),
        "mismatched_prior_log_probs": mismatched_prior.tolist(),
        "loss": loss.item(),
        "kl": this._metrics["eval"]["kl"][0],
        "gradient": log_probs.grad.tolist(),
    }


def preferences(out):
    """Every loss on eight ragged responses, near the prior and farther from it."""
    generator = torch.Generator().manual_seed(2)
    flat = inputs(generator, -2.0, 0.7)
    noise = lambda scale: scale * torch.randn(8, generator=generator)  # noqa: E731
    priors = {}
    for name, scale in (("near", 1.0), ("farther", 8.0)):
        priors[name] = (padded(flat).sum(1) + noise(scale)).float().double()
    kinds = [(paired, ours, theirs) for ours, theirs in PAIRED]
    kinds.append((simpo, {"loss": "simpo", "simpo_margin": 0.3}, {"simpo_gamma": 0.3}))
    kinds.append((orpo, {"loss": "orpo", "orpo_weight": 0.25}, {"weight": 0.25}))
    cases = {
        f"{' '.join(str(value) for value in ours.values())}, {name}": case(
            kind, flat, prior * (kind is paired), 0.3, ours, theirs
        )
        for name, prior in priors.items()
        for kind, ours, theirs in kinds
    }
    others = inputs(generator, -2.0, 0.7)
    weights = {"desirable_weight": 0.7, "undesirable_weight": 1.3}
    kto = {}
    for name, shift in (("apart", -2.0), ("below the prior", 2.0)):
        prior = (padded(others).sum(1) + noise(1.0) + shift).float().double()
        kto[name] = opinions(flat, priors["near"], others, prior, 0.3, weights)
    write(out / "preferences.json", {"lengths": LENGTHS, "cases": cases, "kto": kto})
