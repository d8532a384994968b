"""The one table of limits: `repro diagnose` and the report page judge by these numbers and by no others."""

PEARSON = 0.95
"""Pearson's r below which the points no longer lie on a line."""
FOLLOWS = 0.5
"""|r| from which a slope has a sign at all: below it a negative one may be chance."""
SPEARMAN = 0.9
"""Spearman's r below which the order is not right."""
SLOPE = 0.1
"""|slope − 1| up to which the scale is right; LiSSA with the paper's settings was, for 19 of 20 seeds."""
INTERCEPT = 0.01
"""|intercept| up to which nothing is shifted, as a share of the largest actual change."""
ERROR = 0.1
"""Largest error that leaves the figure readable, as a share of the largest actual change."""
FEWEST_POINTS = 3
"""Through two points goes a line, whatever they are."""
UNDECIDED = 0.05
"""Share of the points whose actual change may be no larger than its certificate."""
LEFT = 0.01
"""What training has left may move the test loss by this share of a typical effect in the figure."""
LEFT_UNREADABLE = 0.1
"""Beyond this share of a typical effect, what training has left is seen in the figure."""
TRAINING_NOISE = 0.01
"""Share of the largest effect by which another order of the examples may move the test loss."""
LISSA_ERROR = 0.25
"""Relative error of s_test up to which LiSSA's settings do: the paper's err by 0.11 on MNIST."""

_BOTH = "page and `diagnose`"
TABLE = f"""\
| measure | good | judged by |
|---|---|---|
| Pearson's r | at least {PEARSON} | {_BOTH} |
| Spearman's r | at least {SPEARMAN} | {_BOTH} |
| slope | within {SLOPE} of 1; a wrong sign where r is below 0 by {FOLLOWS} or more | {_BOTH} |
| intercept | at most {INTERCEPT:.0%} of the largest actual change | {_BOTH} |
| largest error | at most {ERROR:.0%} of the largest actual change | {_BOTH} |
| points | at least {FEWEST_POINTS} | {_BOTH} |
| changes no larger than their certificates | at most {UNDECIDED:.0%} | {_BOTH} |
| models above their tolerance | none | {_BOTH} |
| null control | within its certificate | {_BOTH} |
| models that left θ̂'s basin, or may have | at most {UNDECIDED:.0%} | {_BOTH} |
| what training has left | moves the test loss by at most {LEFT:.0%} of the median predicted change of \
the points shown; bad above {LEFT_UNREADABLE:.0%} | `diagnose` |
| another seed of a stochastic fit | moves the test loss by at most {TRAINING_NOISE:.0%} of the largest \
predicted change | `diagnose` |
| LiSSA's error of s_test | at most {LISSA_ERROR:.0%} | `diagnose` |"""
"""As docs/method.md shows it."""

CRITERIA = (
    f"Pearson r at least {PEARSON}, Spearman r at least {SPEARMAN}, slope within {SLOPE} of 1, "
    f"intercept at most {INTERCEPT:.0%} and error at most {ERROR:.0%} of the largest change, as they are or "
    "once the leverage of the points is counted in; "
    f"for the truth: at most {UNDECIDED:.0%} of the changes no larger than their certificates, "
    "every model at its tolerance, and the null control within its certificate"
)
"""What the page says that its marks mean."""
