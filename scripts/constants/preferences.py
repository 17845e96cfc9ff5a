"""Losses on pairs from the formulas of their papers: values, slopes, and where they rest.

Slopes are complex steps: f'(x) = Im f(x + ih) / h, exact to the last digits.
"""
from cmath import exp, log
from math import log as real_log

BETA, EPSILON = 0.1, 0.1


def sigmoid(x):
    return 1 / (1 + exp(-x))


def positive(x):
    return x if x.real > 0 else 0 * x


# Of the implicit rewards of both answers, and beta.
def dpo(a, b, beta, e=0.0):
    return -(1 - e) * log(sigmoid(a - b)) - e * log(sigmoid(b - a))


def robust(a, b, beta, e=EPSILON):
    return (-(1 - e) * log(sigmoid(a - b)) + e * log(sigmoid(b - a))) / (1 - 2 * e)


def ipo(a, b, beta):
    return ((a - b) / beta - 1 / (2 * beta)) ** 2


def exo(a, b, beta, e=EPSILON):
    p = sigmoid(a - b)
    return p * log(p / (1 - e)) + (1 - p) * log((1 - p) / e)


def nca(a, b, beta):
    return -log(sigmoid(a)) - 0.5 * log(sigmoid(-a)) - 0.5 * log(sigmoid(-b))


def bco(a, b, beta):
    return -log(sigmoid(a)) - log(sigmoid(-b))


def sppo(a, b, beta):
    return (a / beta - 1 / (2 * beta)) ** 2 + (b / beta + 1 / (2 * beta)) ** 2


def apo_zero(a, b, beta):
    return 1 - sigmoid(a) + sigmoid(b)


def apo_down(a, b, beta):
    return sigmoid(a) + 1 - sigmoid(a - b)


def discopop(a, b, beta, t=0.05):
    h = a - b
    return -log(sigmoid(h)) * sigmoid(-h / t) + exp(-h) * sigmoid(h / t)


# beta f'(u) of the log-ratio log u.
REVERSE = lambda ratio, beta: beta * ratio
FORWARD = lambda ratio, beta: -beta * exp(-ratio)
JENSEN = lambda ratio, beta: beta * log(2 * exp(ratio) / (1 + exp(ratio)))
ALPHA = lambda ratio, beta: beta * (1 - exp(-0.5 * ratio)) / 0.5


def slope(of, x):
    return of(complex(x, 1e-30)).imag / 1e-30


def at_one_point(loss, divergence=REVERSE):
    """At beta = 0.1 and log-ratios 2 and -1: the value, and the slope of each log-ratio."""
    of = lambda x, y: loss(divergence(x, BETA), divergence(y, BETA), BETA)
    return [of(2 + 0j, -1 + 0j).real, slope(lambda x: of(x, -1), 2.0), slope(lambda y: of(2, y), -1.0)]


class Toy:
    """Four answers in all ordered pairs, labels by sigma(r_i - r_j), some of them flipped."""

    prior, rewards, beta = [0.4, 0.3, 0.2, 0.1], [0.0, 1.0, 0.5, 2.0], 0.5

    def __init__(self, loss, divergence=REVERSE, prior=None, flipped=0.0):
        self.loss, self.divergence, self.flipped = loss, divergence, flipped
        self.log_prior = [real_log(p) for p in prior or self.prior]

    def rate(self, i, j):
        wins = sigmoid(self.rewards[i] - self.rewards[j]).real
        return (1 - self.flipped) * wins + self.flipped * (1 - wins)

    def at(self, logits):
        logits = [*logits, 0]
        total = log(sum(exp(x) for x in logits))
        implicit = [self.divergence(x - total - p, self.beta) for x, p in zip(logits, self.log_prior)]
        pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
        return sum(self.rate(i, j) / 6 * self.loss(implicit[i], implicit[j], self.beta) for i, j in pairs)

    def gradient(self, logits):
        moved = lambda i: [complex(x, 1e-30 * (i == k)) for k, x in enumerate(logits)]
        return [self.at(moved(i)).imag / 1e-30 for i in range(3)]

    def minimum(self):
        """Gradient descent with a step that grows while the loss falls, finished by Newton's method."""
        logits, step = [self.log_prior[i] - self.log_prior[3] for i in range(3)], 1.0
        loss = self.at(logits).real
        for _ in range(3000):
            there = [x - step * g for x, g in zip(logits, self.gradient(logits))]
            new = self.at(there).real
            if new <= loss:
                logits, loss, step = there, new, step * 1.2
            else:
                step /= 2
        for _ in range(8):
            h = 1e-6
            at = lambda i, by: self.gradient([x + by * (i == k) for k, x in enumerate(logits)])
            curvature = [[(a - b) / (2 * h) for a, b in zip(at(i, h), at(i, -h))] for i in range(3)]
            towards = solve(curvature, self.gradient(logits))
            logits = [x - d for x, d in zip(logits, towards)]
        weights = [exp(x).real for x in (*logits, 0)]
        return [w / sum(weights) for w in weights]


def solve(a, b):
    """Gaussian elimination of three equations."""
    rows = [[*row, x] for row, x in zip(a, b)]
    for i in range(3):
        pivot = max(range(i, 3), key=lambda k: abs(rows[k][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for k in range(3):
            if k != i:
                factor = rows[k][i] / rows[i][i]
                rows[k] = [x - factor * y for x, y in zip(rows[k], rows[i])]
    return [rows[i][3] / rows[i][i] for i in range(3)]


def smoothed(a, b, beta):
    return dpo(a, b, beta, EPSILON)


def constants():
    found = []
    for loss in (dpo, smoothed, robust, exo, nca, bco, apo_zero, apo_down, discopop):
        found += at_one_point(loss)
    for divergence in (FORWARD, JENSEN, ALPHA):
        found += at_one_point(dpo, divergence)
    # ORPO: log-probs -6 and -10 of 4 and 5 tokens; -log p/n - w log sigma of the difference of log-odds.
    odds = lambda x: x - log(1 - exp(x))
    ratio = -log(sigmoid(odds(-6 / 4) - odds(-10 / 5))).real
    found += [1.5 + 0.1 * ratio, ratio]
    # KTO: 1 - sigma(+-(beta log-ratio - z0)), beta = .1, z0 = .03.
    for x, sign in ((2.0, 1), (-1.0, -1)):
        utility = lambda ratio: 1 - sigmoid(sign * (BETA * ratio - 0.03))
        found += [utility(x).real, slope(utility, x)]
    yield "crates/dpo/losses/table.rs", found

    weights = [p * exp(r / 0.5).real for p, r in zip(Toy.prior, Toy.rewards)]
    star = [w / sum(weights) for w in weights]
    found = [*star, *Toy(dpo).minimum()]
    found.append(Toy(dpo).at([real_log(star[i] / star[3]) for i in range(3)]).real)
    found += [*Toy(smoothed).minimum(), *Toy(ipo).minimum()]
    for divergence in (FORWARD, JENSEN, ALPHA):
        found += Toy(dpo, divergence).minimum()
    found += Toy(dpo, prior=[1.0] * 4).minimum()
    found += [(x, 4) for loss in (nca, bco) for x in Toy(loss).minimum()]
    yield "crates/dpo/losses/optima.rs", found
