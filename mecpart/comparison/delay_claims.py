"""What the paper says of delay and energy: trends and orders in Figs. 8 to 13, and the percentages that it states."""

import itertools
from collections.abc import Iterator, Sequence

from mecpart.comparison.claim import Claim
from mecpart.comparison.curves import as_curves
from mecpart.comparison.headline import AVERAGING
from mecpart.comparison.measures import Advantage, Reduction, Trend
from mecpart.comparison.paper import (
    BASELINES,
    DELAY_FIGURES,
    DELAYS,
    LEARNED,
    PROPOSED,
    RULES,
    published,
    published_reductions,
)
from mecpart.comparison.rule import NEGATIVE, POSITIVE, Region, about, beyond, direction
from mecpart.comparison.words import METRIC_WORDS

#: What goes on along the sweep of a figure.
SWEPT = {
    "fig8": "edge servers are added",
    "fig9": "the network is cut into more blocks",
    "fig10": "more tasks are released",
    "fig12": "blocks may take longer",
    "fig13": "the link capacity grows",
}
_PANELS = dict(zip(DELAYS, "abc", strict=True))
_SYMBOLS = {"num_servers": "N", "num_blocks": "M", "max_tolerated_delay": "tau"}


def delay_claims() -> Iterator[Claim]:
    """All of them: figure by figure, then the percentages."""
    for figure in DELAY_FIGURES:
        yield from _sweep(figure)
    yield from _energy()
    yield from _networks()
    yield from _stated_reductions()


def _sweep(figure: str) -> Iterator[Claim]:
    """The trends and orders that the curves of one delay figure show, on average over the sweep."""
    for method in (PROPOSED, *BASELINES):
        yield _trend(figure, "total_delay_s", method)
    for metric in ("edge_delay_s", "local_delay_s"):
        yield _trend(figure, metric, PROPOSED)
    yield from _orders(figure, "total_delay_s", PROPOSED, BASELINES)
    yield from _orders(figure, "total_delay_s", "A3C", ("Distributed DQN", *RULES))
    yield from _orders(figure, "total_delay_s", "Distributed DQN", RULES)
    yield from _orders(figure, "edge_delay_s", PROPOSED, BASELINES)
    yield from _orders(figure, "local_delay_s", PROPOSED, BASELINES)


def _trend(figure: str, metric: str, method: str) -> Claim:
    measure = Trend(metric, method)
    told = float(measure.per_seed(published(figure))[0][0])
    return Claim(
        f"{METRIC_WORDS[metric].capitalize()} of {method} {'rises' if told > 0 else 'falls'} as {SWEPT[figure]}",
        f"Fig. {figure.removeprefix('fig')}{_PANELS[metric]}",
        (figure,),
        measure,
        trend_region(figure, method, told),
        figure,
    )


def trend_region(figure: str, method: str, told: float) -> Region:
    """Where a trend must lie to be the published one, which is `told`.

    The tolerated delay (Fig. 12) enters no equation of delay: a learner sees it in its reward alone, and the rules do
    not see it at all.
    """
    return beyond(told) if figure == "fig12" and method not in RULES else direction(told)


def _orders(figure: str, metric: str, method: str, others: Sequence[str]) -> Iterator[Claim]:
    """Which of two methods the paper's curves show lower."""
    paper = as_curves(published(figure), metric)
    for other in others:
        lower, higher = method, other
        if paper.of(method).mean() > paper.of(other).mean():
            lower, higher = other, method
        yield Claim(
            f"{lower} has less {METRIC_WORDS[metric]} than {higher}",
            f"Fig. {figure.removeprefix('fig')}{_PANELS[metric]}",
            (figure,),
            Advantage(metric, (higher,), lower),
            POSITIVE,
            figure,
        )


def _energy() -> Iterator[Claim]:
    """Fig. 11 is measured on the runs of Figs. 8 to 10, so its published side stands in the claims."""
    for panel, figure in (("fig11a", "fig8"), ("fig11b", "fig9"), ("fig11c", "fig10")):
        paper, where = published(panel), f"Fig. {panel.removeprefix('fig')}"
        for other in BASELINES:
            measure = Advantage("energy_j", (other,))
            told = float(measure.per_seed(paper)[0][0])
            claim = f"Proposed uses less energy than {other}"
            yield Claim(claim, where, (figure,), measure, POSITIVE, "fig11", told)
        trend = Trend("energy_j")
        told = float(trend.per_seed(paper)[0][0])
        claim = f"Energy of Proposed {'rises' if told > 0 else 'falls'} as {SWEPT[figure]}"
        yield Claim(claim, where, (figure,), trend, direction(told), "fig11", told)


def _networks() -> Iterator[Claim]:
    """Fig. 13: the order of the four networks, and what a faster link does."""
    order = ("NiN", "AlexNet", "VGG16", "ResNet32")
    for lower, higher in itertools.pairwise(order):
        measure = Advantage("total_delay_s", (f"dnn={higher}",), f"dnn={lower}", reference=f"dnn={higher}")
        yield Claim(f"{lower} has less total delay than {higher}", "Fig. 13", ("fig13",), measure, POSITIVE, "fig13")
    for name in order:
        claim = f"Total delay of {name} falls as {SWEPT['fig13']}"
        yield Claim(claim, "Fig. 13", ("fig13",), Trend("total_delay_s", f"dnn={name}"), NEGATIVE, "fig13")


def _stated_reductions() -> Iterator[Claim]:
    """Every percentage of `published_reductions` as a claim."""
    for row in published_reductions().itertuples():
        metric, percent = str(row.metric), float(row.reduction_percent)
        if row.where == "abstract":
            yield from _abstract(metric, percent)
            continue
        figure = "fig" + str(row.where).rpartition(" ")[2].rstrip("abc")
        at = f"{_SYMBOLS[str(row.x_name)]} = {row.x:g}"
        yield Claim(
            f"{METRIC_WORDS[metric].capitalize()} is {percent:g} % below {row.baseline}'s at {at}",
            str(row.where),
            (figure,),
            # One point of curves that are means.
            Reduction(metric, (str(row.baseline),), x=float(row.x), averaging="ratio of means"),
            about(percent),
            figure,
            percent,
        )


def _abstract(metric: str, percent: float) -> Iterator[Claim]:
    """Sign and size of one headline percentage, against the two baselines that are published methods.

    The sign is held to each of them by itself: an average with a weak one proves nothing. The size is averaged in both
    ways.
    """
    words = METRIC_WORDS[metric].capitalize()
    for baseline in LEARNED:
        claim = f"{words} of Proposed is below that of {baseline} on average"
        measure = Advantage(metric, (baseline,))
        yield Claim(claim, "abstract", DELAY_FIGURES, measure, POSITIVE, "headline")
    for averaging in AVERAGING:
        claim = f"{words} of Proposed is {percent:g} % below that of the learned baselines on average ({averaging})"
        average = Reduction(metric, LEARNED, averaging=averaging)
        yield Claim(claim, "abstract", DELAY_FIGURES, average, about(percent), "headline", percent)
