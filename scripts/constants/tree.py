"""The golden tree: every response listed, and whatever is wanted of it summed over the list.

crates/oracle computes the same by recursion over prefixes. Tokens 0, 1 and eos 2, at most three tokens. With
h the base-3 number of a prefix (1 of the empty one) the prior weighs token a by 1 + (7h + 3a) mod 5, the
demonstrations by 1 + (5h + 2a + 1) mod 4; the reward is the sum over tokens of (1, -0.5, 0.75).
"""
from itertools import product
from math import exp, log, sqrt

BETA = 0.5
PREFIXES = [p for n in range(3) for p in product((0, 1), repeat=n)]
RESPONSES = [(*p, a) for p in PREFIXES for a in range(3) if a == 2 or len(p) == 2]
REWARDS = {y: sum((1.0, -0.5, 0.75)[a] for a in y) for y in RESPONSES}


def of_weights(weight):
    """Rows, one distribution over tokens a prefix."""
    rows = {}
    for prefix in PREFIXES:
        h = 1
        for a in prefix:
            h = 3 * h + a
        row = [weight(h, a) for a in range(3)]
        rows[prefix] = [w / sum(row) for w in row]
    return rows


PRIOR = of_weights(lambda h, a: 1 + (7 * h + 3 * a) % 5)
DEMONSTRATIONS = of_weights(lambda h, a: 1 + (5 * h + 2 * a + 1) % 4)
UNIFORM = {prefix: [1 / 3] * 3 for prefix in PREFIXES}
COUNTING = {prefix: [1.0] * 3 for prefix in PREFIXES}


def probabilities(rows):
    """p(y) of each response, the product of its tokens."""
    found = {}
    for y in RESPONSES:
        found[y] = 1.0
        for t, a in enumerate(y):
            found[y] *= rows[y[:t]][a]
    return found


def visits(p):
    return {prefix: sum(p[y] for y in RESPONSES if y[: len(prefix)] == prefix) for prefix in PREFIXES}


def conditional(p):
    """The rows of a distribution over responses: the share of the mass behind each token."""
    reached = {}
    for y in RESPONSES:
        for t in range(len(y) + 1):
            reached[y[:t]] = reached.get(y[:t], 0.0) + p[y]
    return {s: [reached[(*s, a)] / reached[s] for a in range(3)] for s in PREFIXES}


def mean(p, of):
    return sum(p[y] * of(y) for y in RESPONSES)


def reward(p, rewards=REWARDS):
    return mean(p, rewards.get)


def kl(p, q):
    return sum(p[y] * log(p[y] / q[y]) for y in RESPONSES if p[y] > 0)


def entropy(p):
    return -mean(p, lambda y: log(p[y]))


def length(p):
    return mean(p, len)


def optimum(prior, beta=BETA, rewards=REWARDS):
    """pi* = p0 exp(r / beta) / Z of a distribution over responses, and log Z."""
    best = max(rewards.values())
    weights = {y: prior[y] * exp((rewards[y] - best) / beta) for y in RESPONSES}
    total = sum(weights.values())
    return {y: w / total for y, w in weights.items()}, log(total) + best / beta


def objective(p, prior, beta=BETA):
    return reward(p) - beta * kl(p, prior)


def row_kl(p, q):
    return sum(a * log(a / b) for a, b in zip(p, q) if a > 0)


def mixed(a, b):
    return {key: [(x + y) / 2 for x, y in zip(a[key], b[key])] for key in a}


def normalized(p):
    total = sum(p.values())
    return {y: w / total for y, w in p.items()}, total


P0, DEMO = probabilities(PRIOR), probabilities(DEMONSTRATIONS)
STAR, LOG_Z = optimum(P0)
VALUE = BETA * LOG_Z
MID = mixed(PRIOR, DEMONSTRATIONS)
ARITHMETIC = {y: (P0[y] + DEMO[y]) / 2 for y in RESPONSES}
GEOMETRIC, GEOMETRIC_Z = normalized({y: sqrt(P0[y] * DEMO[y]) for y in RESPONSES})
GEOMETRIC_ROWS = {}
for s in PREFIXES:
    row = [sqrt(a * b) for a, b in zip(PRIOR[s], DEMONSTRATIONS[s])]
    GEOMETRIC_ROWS[s] = [x / sum(row) for x in row]


def at_kl(nats, prior=P0, rewards=REWARDS):
    """The greatest reward of all policies within so many nats of the prior: bisection on beta."""
    low, high = log(1e-3), log(1e6)
    for _ in range(200):
        middle = (low + high) / 2
        if kl(optimum(prior, exp(middle), rewards)[0], prior) > nats:
            low = middle
        else:
            high = middle
    return reward(optimum(prior, exp(high), rewards)[0], rewards)


def best_of(n):
    """Reward and KL of the best of n draws from the prior, ties to any of the best."""
    levels, below, total, nats = sorted(set(REWARDS.values())), 0.0, 0.0, 0.0
    for level in levels:
        p = sum(P0[y] for y in RESPONSES if REWARDS[y] == level)
        mass = (below + p) ** n - below**n
        total += mass * level
        nats += mass * log(mass / p)
        below += p
    return total, nats


def per_prior(prior):
    """E_p0[r], V, E*[r], and KL of the optimum to its own prior, the pretrained one, the demonstrations."""
    star, log_z = optimum(prior)
    return [reward(prior), BETA * log_z, reward(star), kl(star, prior), kl(star, P0), kl(star, DEMO)]


def values_at(prefix, beta=BETA):
    """V of a prefix: beta log of the mean of exp(r / beta) over what the prior says behind it."""
    behind = [y for y in RESPONSES if y[: len(prefix)] == prefix]
    mass = sum(P0[y] for y in behind)
    return beta * log(sum(P0[y] / mass * exp(REWARDS[y] / beta) for y in behind))


def moments(p, of):
    first = mean(p, of)
    return first, sqrt(mean(p, lambda y: (of(y) - first) ** 2))


def token_sums(p, of):
    """The sum over the tokens of each response of a function of pi(a|s) and p0(a|s)."""
    rows = conditional(p)
    return {y: sum(of(rows[y[:t]][a], PRIOR[y[:t]][a]) for t, a in enumerate(y)) for y in RESPONSES}


def from_q(q_of, discount=1.0):
    """Rows from the last prefix to the first; `q_of` makes a row and its value of Q and the prior's row."""
    rows, values = {}, {}
    for s in reversed(PREFIXES):
        q = [discount * values[(*s, a)] if (*s, a) in values else REWARDS[(*s, a)] for a in range(3)]
        rows[s], values[s] = q_of(q, PRIOR[s])
    return rows


def soft(q, prior, beta=BETA):
    weights = [p * exp(x / beta) for p, x in zip(prior, q)]
    return [w / sum(weights) for w in weights], beta * log(sum(weights))


def local_reverse(q, prior, beta=BETA):
    row, _ = soft(q, prior, beta)
    return row, sum(p * x for p, x in zip(row, q))


def local_forward(q, prior, beta=BETA):
    """pi = beta p0 / (mu - Q): Newton's method on the sum of probabilities, from above."""
    mu = max(q) + beta
    for _ in range(200):
        total = sum(beta * p / (mu - x) for p, x in zip(prior, q))
        slope = -sum(beta * p / (mu - x) ** 2 for p, x in zip(prior, q))
        step = (total - 1) / slope
        while mu - step <= max(q):
            step /= 2
        mu -= step
    row = [beta * p / (mu - x) for p, x in zip(prior, q)]
    return row, sum(p * x for p, x in zip(row, q))


def improved(rows):
    """Rows of p0 exp(Q / beta), Q of the policy with its KL to come."""
    p = probabilities(rows)
    reached = visits(p)

    def q(s, a):
        after = (*s, a)
        if after in REWARDS:
            return REWARDS[after]
        behind = [y for y in RESPONSES if y[: len(after)] == after]

        def to_come(y):
            ratio = sum(log(rows[y[:t]][b] / PRIOR[y[:t]][b]) for t, b in enumerate(y) if t >= len(after))
            return REWARDS[y] - BETA * ratio

        return sum(p[y] / reached[after] * to_come(y) for y in behind)

    return {s: soft([q(s, a) for a in range(3)], PRIOR[s])[0] for s in PREFIXES}


def gradient(rows, prefix, of):
    """The gradient of a functional of p with respect to the logits of one prefix, by central differences."""

    def moved(a, by):
        logits = [log(x) for x in rows[prefix]]
        logits[a] += by
        weights = [exp(x) for x in logits]
        return of(probabilities({**rows, prefix: [w / sum(weights) for w in weights]}))

    step = 1e-5
    return [(moved(a, step) - moved(a, -step)) / (2 * step) for a in range(3)]


def sweeps():
    """How far Q is from Q* after each sweep of value iteration from Q = 0: every prefix at once."""
    q_of = lambda values: {
        (*s, a): values[(*s, a)] if (*s, a) in values else REWARDS[(*s, a)] for s in PREFIXES for a in range(3)
    }
    star = q_of({s: values_at(s) for s in PREFIXES})
    values, errors = {s: 0.0 for s in PREFIXES}, []
    for _ in range(2):
        q = q_of(values)
        errors.append(max(abs(q[key] - star[key]) for key in q))
        values = {s: soft([q[(*s, a)] for a in range(3)], PRIOR[s])[1] for s in PREFIXES}
    return errors


def per_token_rest():
    """Where a policy gradient rests whose loss is (r - mean r) / L, with a KL of each token alone over L."""
    rows = PRIOR
    for _ in range(400):
        p = probabilities(rows)
        first, next_rows = reward(p), {}
        for s in PREFIXES:
            logits = []
            for a in range(3):
                behind = [y for y in RESPONSES if y[: len(s) + 1] == (*s, a)]
                here = [y for y in RESPONSES if y[: len(s)] == s]
                mass, all_mass = sum(p[y] for y in behind), sum(p[y] for y in here)
                gain = sum(p[y] / mass * (REWARDS[y] - first) / len(y) for y in behind)
                share = sum(p[y] / all_mass / len(y) for y in here)
                logits.append(0.7 * log(rows[s][a]) + 0.3 * (log(PRIOR[s][a]) + gain / (BETA * share)))
            weights = [exp(x) for x in logits]
            next_rows[s] = [w / sum(weights) for w in weights]
        rows = next_rows
    return probabilities(rows)


def bounds(k):
    """E[log mean of k weights]: all from the prior, and the first of them from pi*."""
    low = high = 0.0
    for draws in product(RESPONSES, repeat=k):
        p = 1.0
        for y in draws[1:]:
            p *= P0[y]
        value = log(sum(exp(REWARDS[y] / BETA) for y in draws) / k)
        low += P0[draws[0]] * p * value
        high += STAR[draws[0]] * p * value
    return low, high


def constants():
    yield from golden()
    yield from known()
    yield from others()
    yield from estimators()


def golden():
    found = []
    for beta in (0.25, 0.5, 1.0, 2.0):
        star, log_z = optimum(P0, beta)
        found += [log_z, beta * log_z, *conditional(star)[()], reward(star), kl(star, P0), entropy(star)]
        found.append(beta * kl(P0, star))
    first = reward(P0)
    found += [first, entropy(P0), length(P0), mean(P0, lambda y: (REWARDS[y] - first) ** 2), P0[(0, 0, 0)]]
    cold, log_z = optimum(P0, 1e-3)
    found += [1e-3 * log_z, kl(cold, P0)]
    found += [values_at(s) for s in PREFIXES[1:]] + conditional(STAR)[(0,)]
    # The mean and half the variance over beta; what is left out is of the order of 1e-12.
    found.append(first + mean(P0, lambda y: (REWARDS[y] - first) ** 2) / 2e6)
    yield "crates/oracle/gold.rs", found
    yield "crates/lm/row_gradients_tests.rs", [*conditional(STAR)[()], VALUE]
    values = [BETA * optimum(probabilities(rows))[1] for rows in (COUNTING, UNIFORM, PRIOR, DEMONSTRATIONS)]
    yield "crates/oracle/parse.rs", values[:3]
    local = [objective(probabilities(from_q(of)), P0) for of in (local_reverse, local_forward)]
    yield "crates/oracle/local.rs", [x for J in local for x in (J, VALUE - J)]
    discounted = probabilities(from_q(soft, 0.9))
    values.append(BETA * optimum(probabilities(GEOMETRIC_ROWS))[1])
    # The response of the greatest reward, and nothing else.
    greedy = 3 + BETA * log(P0[(0, 0, 0)])
    yield "crates/experiment/tabular/optimum_tests.rs", [*values, *local, VALUE - objective(discounted, P0), (greedy, 3)]


def known():
    priors = [P0, DEMO, GEOMETRIC, probabilities(GEOMETRIC_ROWS), ARITHMETIC]
    found = [x for prior in priors for x in per_prior(prior)]
    rows = probabilities(GEOMETRIC_ROWS)
    found += [GEOMETRIC_Z, (kl(STAR, P0) + kl(STAR, DEMO)) / 2, kl(rows, GEOMETRIC), kl(STAR, rows)]
    found.append(kl(probabilities(MID), ARITHMETIC))
    free = []
    for kind in (UNIFORM, COUNTING):
        star, log_z = optimum(probabilities(kind))
        free.append([BETA * log_z, conditional(star)[()][2], length(star)])
    found += [x for numbers in free for x in numbers]
    found.append(BETA * 3 * log(2))
    reached, star_rows = visits(STAR), conditional(STAR)
    by_prefix = {s: row_kl(star_rows[s], PRIOR[s]) for s in PREFIXES}
    for depth in range(3):
        here = [s for s in PREFIXES if len(s) == depth]
        found += [sum(reached[s] for s in here), sum(reached[s] * by_prefix[s] for s in here)]
    best = (0, 0, 0)
    found += [length(STAR), log(P0[best]), log(STAR[best]), BETA * log(STAR[best] / P0[best])]
    k1 = lambda y: log(STAR[y] / P0[y])
    exact = lambda y: sum(by_prefix[y[:t]] for t in range(len(y)))
    found += [moments(STAR, exact)[1], *moments(STAR, k1), moments(STAR, lambda y: k1(y) / len(y))[0]]
    found += [x for k in range(1, 5) for x in bounds(k)]
    found.append(exp(LOG_Z - 3 / BETA))
    yield "crates/oracle/known.rs", found
    middle = [x for prior in (rows, ARITHMETIC) for x in per_prior(prior)]
    yield "crates/prior/gold.rs", [*middle, kl(probabilities(MID), ARITHMETIC), *free[0], *free[1]]


def others():
    decoded = probabilities(improved(PRIOR))
    found = [VALUE - objective(probabilities(from_q(soft, 0.9)), P0), log(P0[(0, 0, 0)]) * -1]
    found += [objective(decoded, P0), VALUE - objective(decoded, P0), at_kl(kl(decoded, P0)) - reward(decoded)]
    labels = lambda x: 1 / (1 + exp(-x))
    entropy_of = lambda p: -p * log(p) - (1 - p) * log(1 - p)

    def of_labels(weights, rewards):
        pairs = [(i, j) for i in range(len(rewards)) for j in range(len(rewards)) if i != j]
        mass = sum(weights[i] * weights[j] for i, j in pairs)
        each = lambda i, j: weights[i] * weights[j] * entropy_of(labels(rewards[i] - rewards[j]))
        return sum(each(i, j) for i, j in pairs) / mass

    found.append(of_labels([P0[y] for y in RESPONSES], [REWARDS[y] for y in RESPONSES]))
    found.append(of_labels([1] * 4, [0.0, 1.0, 0.5, 2.0]))
    # N(0, 1) tilted by -(a - 1)^2 / 2: E = exp(-1/4) / sqrt(2).
    found.append(-0.25 - log(2) / 2)
    star_rows, kept = conditional(STAR), {}
    for s in PREFIXES:
        row = [0.0 if x == min(PRIOR[s]) else p for p, x in zip(star_rows[s], PRIOR[s])]
        kept[s] = [x / sum(row) for x in row]
    kept = probabilities(kept)
    found += [VALUE - objective(kept, P0), kl(kept, P0)]
    rest = per_token_rest()
    found += [(objective(rest, P0), 3), (length(rest), 2), (length(STAR), 2)]
    yield "crates/oracle/others.rs", found
    rows, climbed = PRIOR, []
    for _ in range(4):
        climbed.append(objective(probabilities(rows), P0))
        rows = improved(rows)
    yield "crates/oracle/iterate.rs", [*sweeps(), *climbed]
    mid = probabilities(MID)
    climb = [x for s in ((), (0,)) for x in gradient(MID, s, lambda p: objective(p, P0))]
    found = [objective(mid, P0), reward(mid), kl(mid, P0), VALUE - objective(mid, P0)]
    yield "crates/oracle/laws.rs", [*found, *climb]
    yield "crates/ppo/gold.rs", climb
    # Half the variance of r - beta log(pi / p0), which two draws estimate without bias.
    spread = moments(mid, lambda y: REWARDS[y] - BETA * log(mid[y] / P0[y]))[1]
    yield "crates/reinforce/gold.rs", [*climb, spread**2 / 2, VALUE]
    found = []
    for n in (2, 4, 8, 16, 64):
        score, nats = best_of(n)
        found += [nats, log(n) - (n - 1) / n, score, at_kl(nats), VALUE - score + BETA * nats]
    coin = [((1 - 0.5**8), 0.5), (0.5**8, 0.5)]
    eight = sum(p * log(p / q) for p, q in coin)
    four = (1 - 0.5**4) * log((1 - 0.5**4) / 0.5) + 0.5**4 * log(0.5**3)
    at = lambda rho: 0.95 * log(0.95 / rho) + 0.05 * log(0.05 / (1 - rho))
    found += [(four, 4), (at(0.5), 5), (at(0.3), 5)]
    yield "crates/oracle/best_of_n.rs", [*found, VALUE - reward(P0), eight]
    yield "crates/eval/best_of_n.rs", [eight]
    weights = lambda power: mean(P0, lambda y: exp(power * REWARDS[y]))
    found = [weights(x) ** 2 / weights(2 * x) for x in (1, 2, 4)]
    found += [weights(4) / weights(2) ** 2 - 1, kl(STAR, P0)]
    tilted = []
    for p in (0.9, 0.1, 0.5):
        z = 1 - p + p * exp(2)
        up = p * exp(2) / z
        tilted.append((up, up * log(up / p) + (1 - up) * log((1 - up) / (1 - p)), log(z)))
    both = [(a + b) / 2 for a, b in zip(*tilted[:2])]
    yield "crates/oracle/responses.rs", [*found, *both, tilted[2][2], *tilted[2][:2]]
    yield "crates/eval/frontier.rs", both


def estimators():
    """Numbers of crates/objective/estimators_known.rs on three tokens and on the golden tree."""
    pi, prior = [0.5, 0.3, 0.2], [0.1, 0.6, 0.3]
    k1 = lambda p, q: log(p / q)
    k2 = lambda p, q: log(p / q) ** 2 / 2
    k3 = lambda p, q: q / p - 1 + log(p / q)
    spread = lambda of: (
        m := sum(p * of(p, q) for p, q in zip(pi, prior)),
        sqrt(sum(p * (of(p, q) - m) ** 2 for p, q in zip(pi, prior))),
    )
    # d/dlogits of sum_a c_a pi_a with c held fixed is pi (c - mean c); of a loss, of what it is a function of.
    score = lambda c: [p * (x - sum(p * x for p, x in zip(pi, c))) for p, x in zip(pi, c)]
    reverse = score([k1(p, q) for p, q in zip(pi, prior)])
    forward = [p - q for p, q in zip(pi, prior)]
    half_square = score([k2(p, q) for p, q in zip(pi, prior)])
    found = [x for of in (k1, k2, k3) for x in spread(of)] + [row_kl(prior, pi)]
    found += [*reverse, *half_square, *(r - f for r, f in zip(reverse, forward))]
    # The sample means of k3 - 1 are quiet near the prior: exactly, two tokens of .52 and .48 against halves.
    near = [(0.52, 0.5), (0.48, 0.5)]
    first = sum(p * k3(p, q) for p, q in near)
    found.append(sqrt(sum(p * (k3(p, q) - first) ** 2 for p, q in near)))
    for of, rare, digits in ((k1, 0.01, 3), (k3, 0.01, 3), (k1, 0.52, 4)):
        two = [(rare, 0.5), (1 - rare, 0.5)]
        first = sum(p * of(p, q) for p, q in two)
        found.append((sqrt(sum(p * (of(p, q) - first) ** 2 for p, q in two)), digits))
    whole = lambda y: P0[y] / STAR[y] - 1 + log(STAR[y] / P0[y])
    sums = [token_sums(STAR, of) for of in (k1, k2, k3)]
    of_star = conditional(STAR)
    exact = lambda y: sum(row_kl(of_star[y[:t]], PRIOR[y[:t]]) for t in range(len(y)))
    found += [*moments(STAR, sums[0].get), moments(STAR, sums[2].get)[1], moments(STAR, exact)[1]]
    found += [moments(STAR, whole)[1], moments(STAR, sums[1].get)[0]]
    found.append(moments(STAR, lambda y: sums[0][y] / len(y))[0])
    for rows in (MID, of_star):
        found += gradient(rows, (), lambda p: kl(p, P0))
    # The gradient of each row's own KL, with the visits held: at the root, of the root's row alone.
    row = of_star[()]
    c = [log(p / q) for p, q in zip(row, PRIOR[()])]
    found += [p * (x - sum(p * x for p, x in zip(row, c))) for p, x in zip(row, c)]
    yield "crates/objective/estimators_known.rs", found
    yield "crates/objective/local.rs", reverse
    yield "crates/tensor/cpu/kl.rs", [row_kl(pi, prior), row_kl(prior, pi)]
