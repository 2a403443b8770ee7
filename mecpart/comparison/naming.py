"""What a fact says, in a sentence made from its rows, and where the paper says it."""

from collections.abc import Sequence

from mecpart.comparison.claim import Claim
from mecpart.comparison.delay_claims import SWEPT
from mecpart.comparison.measures import Reduction, Settling, Trend
from mecpart.comparison.paper import BASELINES, PROPOSED
from mecpart.comparison.words import METRIC_WORDS, curve_words, figure_words, listed


def fact_name(rows: Sequence[Claim]) -> str:
    """What rows that belong to one fact say together."""
    measure, region, figure = rows[0].measure, rows[0].region, rows[0].figures[0]
    methods = _curves(rows, [row.measure.method for row in rows])
    others = _curves(rows, [other for row in rows for other in row.measure.curves[1:]])
    single = len(methods) == 1 and methods[0] in (PROPOSED, *BASELINES)  # unlike "batches of 64"
    if isinstance(measure, Trend):
        quantities = list(dict.fromkeys(row.measure.metric for row in rows))
        parts = [quantity for quantity in quantities if quantity != "energy_j"]
        told = ["delay"] if len(parts) > 1 else [METRIC_WORDS[part] for part in parts]
        told += ["energy"] * (len(parts) < len(quantities))
        moves = ("falls" if region[1] <= 0 else "rises") + f" as {SWEPT[figure]}"
        return _capital(f"{listed(told)} of {listed(methods)} {moves}")
    if isinstance(measure, Settling):
        if others:
            return _capital(f"{listed(methods)} {'settles' if single else 'settle'} sooner than {listed(others)}")
        return "Proposed settles by the episodes that the paper names"
    words = METRIC_WORDS[measure.metric]
    if isinstance(measure, Reduction):
        if rows[0].where == "abstract":
            return _capital(f"{words} of Proposed is {rows[0].published:g} % below the learned baselines' on average")
        words = "cost" if measure.metric == "reward" else words
        return _capital(f"{words} of Proposed is less than that of {listed(others)} by what the text states")
    if region[0] < 0 < region[1]:
        return _capital(f"{listed(methods)} end with the same {words} as {listed(others)}")
    if set(methods) & set(others):
        return f"{listed([*methods, others[-1]])} have more and more {words}, in this order"
    if measure.metric == "reward":
        return _capital(f"{listed(methods)} {'ends' if single else 'end'} with a higher {words} than {listed(others)}")
    return _capital(f"{listed(methods)} {'has' if single else 'have'} less {words} than {listed(others)}")


def _curves(rows: Sequence[Claim], names: Sequence[str]) -> list[str]:
    """Names of curves in words, each once."""
    return list(dict.fromkeys(curve_words(name, rows[0].figures[0]) for name in names))


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def places(rows: Sequence[Claim]) -> str:
    """Where the paper says it: "Figs. 8a and 9a; abstract"."""
    where = list(dict.fromkeys(row.where.removeprefix("text on ") for row in rows))
    figures = ["fig" + place.removeprefix("Fig. ") for place in where if place.startswith("Fig. ")]
    rest = [place for place in where if not place.startswith("Fig. ")]
    return "; ".join(([figure_words(figures)] if figures else []) + rest)
