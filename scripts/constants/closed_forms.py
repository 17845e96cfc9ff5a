"""Numbers with a closed form, or an integral, or a bisection: bandits, gambles, advantages, quantiles."""
from math import cosh, exp, expm1, gamma, log, pi, sqrt, tan
from statistics import NormalDist, variance


def soft(q, prior, alpha):
    """alpha log sum p exp(Q / alpha), and the policy."""
    best = max(q)
    weights = [p * exp((x - best) / alpha) for p, x in zip(prior, q)]
    return best + alpha * log(sum(weights)), [w / sum(weights) for w in weights]


def integral(of, low, high, pieces=20_000):
    """Simpson's rule."""
    step = (high - low) / pieces
    inner = sum((4 if i % 2 else 2) * of(low + i * step) for i in range(1, pieces))
    return step / 3 * (of(low) + inner + of(high))


def bisect(of, low, high):
    """Where an increasing function is 0."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if of(middle) < 0 else (low, middle)
    return (low + high) / 2


def quantile(rate):
    """Reward and KL of the optimum for a reward that is uniform on [0, 1] under the prior."""
    z = integral(lambda u: exp(rate * u), 0, 1)
    reward = integral(lambda u: u * exp(rate * u), 0, 1) / z
    return reward, rate * reward - log(z)


def student(degrees):
    """The 0.975 quantile of Student's t, by integration of its density."""
    scale = gamma((degrees + 1) / 2) / (sqrt(degrees * pi) * gamma(degrees / 2))
    # t = sqrt(n) tan(a) makes the range finite.
    density = lambda a: scale * sqrt(degrees) * (1 + tan(a) ** 2) ** ((1 - degrees) / 2)
    angle = bisect(lambda a: integral(density, 0, a, 2000) - 0.475, 0, pi / 2 - 1e-12)
    return sqrt(degrees) * tan(angle)


def gamble(alpha):
    """Safe pays 0.2; risky +2 or -2 at even odds: the sound form and the one that believes what it hopes."""
    sound_value, sound = soft([0.2, 0.0], [1, 1], alpha)
    q = alpha * log(cosh(2 / alpha))
    naive_value, naive = soft([0.2, q], [1, 1], alpha)
    entropy = -sum(p * log(p) for p in naive if p > 1e-300)
    earned = naive[0] * 0.2 + alpha * entropy
    good = exp(2 / alpha) / (exp(2 / alpha) + exp(-2 / alpha))
    return [sound[1], sound_value, q, naive[1], naive_value, earned, good]


def constants():
    two = {alpha: soft([1.0, 0.0], [1, 1], alpha) for alpha in (0.1, 0.5, 1.0, 2.0, 10.0, 100.0, 1e6)}
    found = [x for alpha in (0.1, 0.5, 1.0, 2.0, 10.0, 100.0) for x in (two[alpha][0], two[alpha][1][0])]
    entropy = -sum(p * log(p) for p in two[1.0][1])
    one, half = soft([1.0, 0.0], [0.2, 0.8], 1.0), soft([1.0, 0.0], [0.2, 0.8], 0.5)
    nats = sum(p * log(p / q) for p, q in zip(one[1], [0.2, 0.8]))
    found += [two[1e6][1][0], one[0], one[1][0], nats, half[0], half[1][0], entropy]
    yield "crates/oracle/backup.rs", found
    yield "crates/oracle/lib.rs", [two[1.0][0], two[1.0][1][0]]
    gambles = [x for alpha in (0.1, 0.5, 1.0, 2.0) for x in gamble(alpha)]
    yield "crates/oracle/parse_mdp.rs", gamble(0.5)[:2]
    at_one = gamble(1.0)
    yield "tests/cli/oracle.rs", [two[1.0][0], two[1.0][1][0], entropy, *at_one[:2], at_one[4], at_one[3], at_one[5]]
    yield "crates/oracle/mdp.rs", [*gambles, *two_steps(), *go_on()]
    curve = [x for rate in (1, 2, 4, 10) for x in quantile(rate)]
    bound = log(4) - 3 / 4
    kl = lambda rate: rate * (-1 / expm1(-rate) - 1 / rate) - (rate + log(-expm1(-rate) / rate))
    four = bisect(lambda rate: kl(rate) - bound, 1e-3, 100)
    yield "crates/oracle/quantile.rs", [*curve, quantile(four)[0]]
    yield "crates/eval/student.rs", [*(student(n) for n in range(1, 11)), NormalDist().inv_cdf(0.975)]
    yield "crates/eval/proportion.rs", [NormalDist().inv_cdf(0.975)]
    yield "crates/objective/beta.rs", [0.2 * (1 + 0.2 * 64 / 1e4), 0.2 * (1 - 0.2 * 64 / 1e4)]
    yield from advantages()
    yield from actor()
    yield from one_token()


def two_steps():
    """Start: 0.1 to states 1 or 2 at .7 and .3, or 0.3 to state 2; then 2 or 0, and 0 or -1; alpha = 0.5."""
    first, second = soft([2.0, 0.0], [1, 1], 0.5)[0], soft([0.0, -1.0], [1, 1], 0.5)[0]
    q = lambda discount: [0.1 + discount * (0.7 * first + 0.3 * second), 0.3 + discount * second]
    value, policy = soft(q(0.9), [1, 1], 0.5)
    naive = [0.1 + 0.5 * log(0.7 * exp(first / 0.5) + 0.3 * exp(second / 0.5)), 0.3 + second]
    return [first, second, *q(0.9), value, policy[0], *naive, soft(naive, [1, 1], 0.5)[1][0], q(1.0)[0]]


def go_on():
    """Stop for 1, or go on to 1.2."""
    cases = [(0.5, 1.0), (0.5, 0.8), (0.25, 1.0), (0.25, 0.8)]
    return [soft([1.0, discount * 1.2], [1, 1], alpha)[1][1] for alpha, discount in cases]


def advantages():
    """Three tokens: rewards (-.02, .01, .97), values (.3, .4, .6), gamma 1, lambda .95, as a double sum."""
    rewards, values, rate = [-0.02, 0.01, 0.97], [0.3, 0.4, 0.6, 0.0], 0.95
    errors = [rewards[t] + values[t + 1] - values[t] for t in range(3)]
    found = [sum(rate ** (l - t) * errors[l] for l in range(t, 3)) for t in range(3)]
    yield "crates/ppo/gae.rs", [found[0], found[0] + values[0]]
    # As TRL whitens: by the root of the unbiased variance and 1e-8.
    middle, scale = sum(found) / 3, sqrt(variance(found) + 1e-8)
    yield "crates/ppo/whiten.rs", [found[0], *((x - middle) / scale for x in found)]


def actor():
    """Q = (1, 0, .5), pi = (.5, .3, .2), p0 = (.2, .3, .5), beta = .5."""
    q, policy, prior, beta = [1.0, 0.0, 0.5], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], 0.5
    each = [beta * log(p / b) - x for p, b, x in zip(policy, prior, q)]
    tilt = sum(p * x for p, x in zip(policy, each))
    slope = [p * (x - tilt) for p, x in zip(policy, each)]
    value, best = soft(q, prior, beta)
    yield "crates/tensor/cpu/row_values.rs", [tilt, *slope, value, *best]
    yield "crates/objective/action_values.rs", [tilt, *best]


def one_token():
    """Four answers, p0 = (.4, .3, .2, .1), r = (0, 1, .5, 2), beta = .5: pi = beta p0 / (mu - r), and pi*."""
    prior, rewards, beta = [0.4, 0.3, 0.2, 0.1], [0.0, 1.0, 0.5, 2.0], 0.5
    mass = lambda mu: sum(beta * p / (mu - r) for p, r in zip(prior, rewards))
    mu = bisect(lambda mu: 1 - mass(mu), 2 + 1e-9, 2.5)
    forward = [beta * p / (mu - r) for p, r in zip(prior, rewards)]
    yield "crates/oracle/local.rs", [*forward, *soft(rewards, prior, beta)[1]]
