import math

import pandas as pd
from made_up import METHODS
from pictures import NAMES, PAPER, XS, learning, own, sweep, words

from mecpart import comparison, figures


def test_names_are_shown_as_they_are():
    frame = own()
    settings = pd.concat([sweep(dict.fromkeys(METHODS[:1], 1.0)).assign(setting=name) for name in NAMES])
    estimates = pd.DataFrame({"name": NAMES, "value": 1.0, "low": math.nan, "high": math.nan})
    learned = learning().replace({"method": {"RPDI": NAMES[1], "APDI": NAMES[0]}})
    drawings = [
        (figures.plot_sweep(frame), NAMES),
        (figures.plot_sweep(frame, PAPER), NAMES),
        (figures.plot_sweep(frame.assign(figure="fig8"), relative=True, reference=NAMES[1]), NAMES),
        (figures.plot_sweep(frame.assign(x=frame["x"].map(dict(zip(XS, NAMES, strict=False))))), NAMES),
        (figures.plot_sweep(settings), NAMES),
        (figures.plot_estimates(estimates, "name", "cost $a$ [$]"), (*NAMES, "cost $a$ [$]")),
        (figures.plot_convergence(learned, comparison.published("fig6"), "Greedy"), NAMES[:2]),
    ]
    for figure, names in drawings:
        assert {(name, False) for name in names} <= set(words(figure))
        assert not any(name in text and math for text, math in words(figure) for name in names)
