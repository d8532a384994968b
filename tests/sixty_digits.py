"""Softmax regression in 60-digit arithmetic, written out by hand: what certificates are held against.

Nothing here comes from `erm` or `retrain`. Weights are K rows of d numbers, examples rows of d numbers (the
bias column included), all as mpmath numbers, which take a float64 without rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mpmath import mp, mpf

mp.dps = 60

Rows = list[list[mpf]]


def exactly(rows: Sequence[Sequence[float]]) -> Rows:
    """The same numbers with 60 digits."""
    return [[mpf(float(value)) for value in row] for row in rows]


@dataclass(frozen=True)
class ExactRisk:
    """Mean cross-entropy over some examples plus (l2/2)‖W‖²."""

    x: Rows
    y: list[int]
    num_classes: int
    l2: mpf

    def without(self, removed: Sequence[int]) -> "ExactRisk":
        """R₋S."""
        kept = [row for row in range(len(self.x)) if row not in removed]
        return ExactRisk(
            [self.x[row] for row in kept], [self.y[row] for row in kept], self.num_classes, self.l2
        )

    def gradient(self, weights: Rows) -> Rows:
        """∇R, L2 inside."""
        total = [[mpf(0)] * len(self.x[0]) for _ in weights]
        for x, y in zip(self.x, self.y, strict=True):
            for k, p in enumerate(probabilities(weights, x)):
                residual = p - (k == y)
                for j, value in enumerate(x):
                    total[k][j] += residual * value
        n = len(self.x)
        return [
            [value / n + self.l2 * weight for value, weight in zip(sums, row, strict=True)]
            for sums, row in zip(total, weights, strict=True)
        ]

    def gradient_norm(self, weights: Rows) -> mpf:
        return _norm(self.gradient(weights))

    def hessian(self, weights: Rows) -> mp.matrix:
        d, n = len(self.x[0]), len(self.x)
        hessian = self.l2 * mp.eye(self.num_classes * d)
        for x in self.x:
            p = probabilities(weights, x)
            for k in range(self.num_classes):
                for m in range(self.num_classes):
                    share = (p[k] * (k == m) - p[k] * p[m]) / n
                    for i in range(d):
                        for j in range(d):
                            hessian[k * d + i, m * d + j] += share * x[i] * x[j]
        return hessian

    def minimiser(self, start: Rows) -> Rows:
        """θ* by Newton's method, each step halved until ‖∇R‖ falls, to a gradient norm of 1e-45."""
        weights, d = start, len(self.x[0])
        gradient = self.gradient(weights)
        for _ in range(400):
            if _norm(gradient) < mpf("1e-45"):
                return weights
            flat = mp.matrix([value for row in gradient for value in row])
            step, length = mp.lu_solve(self.hessian(weights), flat), mpf(1)
            while True:
                moved = [
                    [w - length * step[k * d + j] for j, w in enumerate(row)] for k, row in enumerate(weights)
                ]
                ahead = self.gradient(moved)
                if _norm(ahead) < _norm(gradient):
                    break
                length /= 2
            weights, gradient = moved, ahead
        raise AssertionError("Newton's method in 60 digits did not converge")


def probabilities(weights: Rows, x: list[mpf]) -> list[mpf]:
    """softmax(Wx)."""
    logits = [mp.fdot(row, x) for row in weights]
    largest = max(logits)
    exps = [mp.exp(logit - largest) for logit in logits]
    total = mp.fsum(exps)
    return [value / total for value in exps]


def loss(weights: Rows, x: list[mpf], y: int) -> mpf:
    """Cross-entropy of one example, no L2."""
    logits = [mp.fdot(row, x) for row in weights]
    largest = max(logits)
    return largest + mp.log(mp.fsum(mp.exp(logit - largest) for logit in logits)) - logits[y]


def plus(weights: Rows, change: Rows) -> Rows:
    return [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(weights, change, strict=True)]


def _norm(rows: Rows) -> mpf:
    return mp.sqrt(mp.fsum(value**2 for row in rows for value in row))
