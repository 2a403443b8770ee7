"""What the paper's own equations cannot give, whatever the constants that it leaves open.

For each `Invariant` it is proved that, for any constants, a published curve lies in a cone: it is a sum of a few known
curves (`generators`), each times a number of at least 0 that the constants decide. How far the published curve is from
that cone is then the least error that any constants leave. `mecpart.comparison.brute_force` draws constants at random
and looks whether what the model gives lies in the cone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.optimize import linprog
from scipy.special import rel_entr

from mecpart.comparison.claim import Claim
from mecpart.comparison.curves import as_curves, by_setting
from mecpart.comparison.measures import Advantage, Trend
from mecpart.comparison.paper import DELAYS, RULES, published
from mecpart.comparison.rule import NEGATIVE, POSITIVE
from mecpart.comparison.words import METRIC_WORDS
from mecpart.model.scenarios import SCENARIOS

Series = Float[np.ndarray, " points"]


@dataclass(frozen=True)
class Invariant:
    """What is true of some curves of one figure for all constants.

    - `figure`, `curves`, `metrics`: which they are; a curve is a method, or a setting where the figure has several.
    - `says`: what must be; `proof`: why, by the equations of the paper.
    - `generators`: (x [points]) -> [points, K], none below 0: every curve that constants can give is a sum of these
      columns with weights of at least 0.
    - `xs`: where on the axis it holds; everywhere if empty.
    - `between`: the columns are over the curves, in their order, at each x by itself, rather than over x.
    - `given`: what is assumed beside the equations; `most_devices`: how many devices share the tasks at most.
    - `scenarios`: in which it holds too, besides the paper's own equations.
    """

    figure: str
    curves: tuple[str, ...]
    metrics: tuple[str, ...]
    says: str
    proof: str
    generators: Callable[[Series], Float[np.ndarray, "points generators"]]
    xs: tuple[float, ...] = ()
    between: bool = False
    given: str = ""
    most_devices: float = math.inf
    scenarios: tuple[str, ...] = ("as_printed",)

    def series(self, results: pd.DataFrame, metric: str) -> dict[str, tuple[Series, Series]]:
        """What is held to the invariant in `results` of the figure (or its published values): (x, values) by name."""
        block = as_curves(by_setting(results), metric)
        chosen = np.isin(block.xs, self.xs) if self.xs else np.full(len(block.xs), True)
        values = {curve: block.of(curve).mean(axis=0)[chosen] for curve in self.curves}
        xs = block.xs[chosen]
        if not self.between:
            return {curve: (xs, values[curve]) for curve in self.curves}
        places = np.arange(len(self.curves))
        name = " and ".join(self.curves)
        return {
            f"{name}, x = {x:g}": (places, np.array([values[curve][at] for curve in self.curves]))
            for at, x in enumerate(xs)
        }

    def least_error(self, xs: Series, values: Series) -> float:
        """`least_error` of one series."""
        return least_error(self.generators(np.asarray(xs, float)), values)

    def end_ratios(self, xs: Series) -> tuple[float, float]:
        """Between what last value / first value must lie: that of a sum lies between those of its parts."""
        columns = self.generators(np.asarray(xs, float))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = columns[-1] / columns[0]
        return float(np.nanmin(ratios)), float(np.nanmax(ratios))

    def may(self, rises: bool) -> bool:
        """Whether a curve along the whole axis may end above where it begins, or below."""
        xs = np.unique(published(self.figure)["x"])
        if self.xs and not {xs[0], xs[-1]} <= set(self.xs):
            return True
        low, high = self.end_ratios(np.array(self.xs or xs))
        return high > 1 if rises else low < 1


def least_error(generators: Float[np.ndarray, "points generators"], values: Series) -> float:
    """The least e such that some sum of the columns, with weights of at least 0, is within e * values everywhere.

    It is the largest relative error that the best of all such sums leaves; no sum has less, by the duality of linear
    programming. With one column g it is (r - 1) / (r + 1), where r is the largest over the smallest of g / values.

    **Raises:** `ValueError` for values that are not above 0, or generators below 0 or of another length.
    """
    generators, values = np.asarray(generators, float), np.asarray(values, float)
    if values.ndim != 1 or not (values > 0).all():
        raise ValueError(f"values must be numbers above 0; got {values}")
    if generators.ndim != 2 or len(generators) != len(values) or not (generators >= 0).all():
        raise ValueError(f"generators must be [{len(values)}, K] numbers of at least 0; got {generators}")
    parts = generators / values[:, None]
    parts = parts / parts.max(axis=0)  # weights of one size, for the solver's tolerances
    ones = np.ones((len(values), 1))
    found = linprog(
        np.append(np.zeros(parts.shape[1]), 1.0),
        A_ub=np.block([[parts, -ones], [-parts, -ones]]),
        b_ub=np.concatenate([ones[:, 0], -ones[:, 0]]),
    )
    return float(found.fun)


def _constant(xs: Series) -> np.ndarray:
    return np.ones((len(xs), 1))


def _rising(xs: Series) -> np.ndarray:
    """Every curve that does not fall is a sum of steps up."""
    return (xs[:, None] >= xs).astype(float)


def _falling(xs: Series) -> np.ndarray:
    """Every curve that does not rise is a sum of steps down."""
    return (xs[:, None] <= xs).astype(float)


def _by_rate(xs: Series) -> np.ndarray:
    """lambda times a constant, for every server; lambda / min(D, lambda) times one, for devices of any number D."""
    return np.column_stack([xs, np.maximum(1.0, xs[:, None] / xs)])


#: Of two networks of Fig. 13 the one whose best plan never takes less time, and the other.
SLOWER_FASTER = (("VGG16", "ResNet32"), ("NiN", "ResNet32"), ("NiN", "AlexNet"))


@cache
def invariants() -> tuple[Invariant, ...]:
    """All that have been proved, in the order of the paper's figures."""
    everywhere = tuple(SCENARIOS)
    local = tuple(name for name in ("as_printed", "loaded") if name in SCENARIOS)  # waiting is edge delay there
    return (
        Invariant(
            "fig8", ("RPDI",), ("local_delay_s",),
            "proportional to 1 / (N + 1)",
            "A block is on the devices with probability 1 / (N + 1), and then takes c_m / f (Eq. 3), which has no N "
            "in it. The mean of the sum over blocks is (sum of c_m) / f / (N + 1).",
            lambda n: 1 / (n[:, None] + 1),
            scenarios=local,
        ),
        Invariant(
            "fig8", ("APDI",), ("local_delay_s",),
            "the same for N = 5 to 9",
            "Six blocks in equal runs over six to ten nodes are runs of one block. The devices come first, so they "
            "have the first block, which takes c_1 / f (Eq. 3), with no N in it.",
            _constant, xs=(5, 6, 7, 8, 9), scenarios=local,
        ),
        Invariant(
            "fig9", ("RPDI",), ("local_delay_s",),
            "the same for all M",
            "(sum of c_m) / f / (N + 1), as above; the operations of a network do not depend on where it is cut.",
            _constant, given="cycles are proportional to operations", scenarios=local,
        ),
        Invariant(
            "fig9", ("RPDI",), ("total_delay_s", "edge_delay_s"),
            "no less at M = 21 than at M = 3",
            "Computing takes (sum of c_m) / (N + 1) times the sum of 1 / speed, whatever M. The image is sent with "
            "probability N / (N + 1), whatever M. At every cut the two blocks beside it are on different nodes with a "
            "probability that has no M in it, and then I_m is sent (Eq. 5), at a mean time per byte that has none "
            "either. VGG16 has 21 layers, so M = 21 has every cut that M = 3 can have, and more.",
            _rising, xs=(3, 21), given="a block is one layer or more; cycles are proportional to operations",
        ),
        Invariant(
            "fig10", RULES, DELAYS,
            "proportional to the rate",
            "None of the three looks at the rate (Greedy compares loads, of which each is proportional to it), so "
            "neither do their plans. For a plan every term of Eqs. 3, 5 and 6 is proportional to the c_m and I_m of "
            "the tasks of a slot, and so to the rate.",
            lambda rate: rate[:, None], given="one device, or at most 30 that share the tasks", most_devices=30,
        ),
        Invariant(
            "fig10", ("APDI", "RPDI"), DELAYS,
            "per task no more at a higher rate",
            "With D devices side by side a slot takes rate / min(D, rate) times a constant on the devices and their "
            "links, and the rate times a constant elsewhere. Divided by the rate, neither rises with it.",
            _by_rate, given="any number of devices",
        ),
        Invariant(
            "fig12", RULES, DELAYS,
            "the same for all tau",
            "None of the three looks at tau, so neither do their plans, and no delay has tau in it (Eqs. 3 to 9).",
            _constant, scenarios=everywhere,
        ),
        *(
            Invariant(
                "fig13", (f"dnn={slower}", f"dnn={faster}"), ("total_delay_s",),
                f"for good plans no longer with {faster} than with {slower}",
                f"The delay of a plan is linear in 1/f, 1/F_n, 1/R_m^n and 1/R_max. For each of the 877 plans of "
                f"{slower} in 6 blocks (servers may change names) linear programming finds a mixture of plans of "
                f"{faster} that has no more of any of them; so one of these takes no longer, whatever the constants.",
                _falling, between=True, given="plans of both are equally near to the best; networks as defined here",
            )
            for slower, faster in SLOWER_FASTER
        ),
    )  # fmt: skip


def cannot_hold() -> pd.DataFrame:
    """Every published curve that an invariant is about, and how far it is from all that constants can give.

    **Returns:** one row per invariant, curve and metric: `figure`, `metric`, `curve`, `must be`, `published_ratio` (the
    last value over the first), `allowed_low`, `allowed_high` (between what it must lie), `least_error_percent` (the
    largest relative error that the best constants leave), `given`.
    """
    rows = []
    for invariant in invariants():
        for metric in invariant.metrics:
            for curve, (xs, values) in invariant.series(published(invariant.figure), metric).items():
                low, high = invariant.end_ratios(xs)
                rows.append(
                    {
                        "figure": invariant.figure,
                        "metric": metric,
                        "curve": curve,
                        "must be": invariant.says,
                        "published_ratio": values[-1] / values[0],
                        "allowed_low": low,
                        "allowed_high": high,
                        "least_error_percent": 100 * invariant.least_error(xs, values),
                        "given": invariant.given,
                    }
                )
    return pd.DataFrame(rows)


def chance(ratio: float, first: float, second: float, slots: int) -> float:
    """A bound on the probability that chance alone brings a ratio of two means over slots down to `ratio`.

    In a slot some share of the work, between 0 and 1, is on the devices. Its expectation in the two settings is `first`
    and `second`. For the means of `slots` independent draws to have a ratio (first over second) of at most `ratio`, the
    second must reach some q, or the first must not exceed ratio * q. Each has at most the probability exp(-slots * the
    relative entropy) (Hoeffding 1963); of all q the least sum is taken.

    **Raises:** `ValueError` unless `ratio` is above 0 and below first / second.
    """
    if not 0 < ratio < first / second:
        raise ValueError(f"ratio must be above 0 and below first / second, {first / second:g}; got {ratio:g}")
    q = np.linspace(second, min(first / ratio, 1), 1002)[1:-1]
    exponents = [slots * (rel_entr(x, p) + rel_entr(1 - x, 1 - p)) for x, p in ((q, second), (ratio * q, first))]
    return float(min(1, np.min(np.sum(np.exp(np.negative(exponents)), axis=0))))


def why_impossible(claim: Claim, scenario: str = "as_printed") -> str:
    """Why no constants make a claim true by the equations of `scenario`, in a sentence; empty if some may.

    It is about signs: a trend that cannot be, or a curve that cannot be below another.
    """
    measure, above = claim.measure, claim.region == POSITIVE
    if not isinstance(measure, Trend | Advantage) or claim.region not in (POSITIVE, NEGATIVE):
        return ""
    for invariant in invariants():
        if invariant.figure not in claim.figures or measure.metric not in invariant.metrics:
            continue
        if isinstance(measure, Trend):
            about = not invariant.between and measure.method in invariant.curves
            hit = about and not invariant.may(rises=above)
        else:
            hit = above and invariant.between and invariant.curves == (measure.method, *measure.others)
        if hit and scenario in invariant.scenarios:
            return f"{METRIC_WORDS[measure.metric]} must be {invariant.says}: {invariant.proof}"
    return ""
