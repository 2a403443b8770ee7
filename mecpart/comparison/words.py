"""How things are called in sentences: quantities, settings, curves and figures. The one place for each word."""

import math
import re
from collections.abc import Iterable

import pandas as pd

from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.methods.register import METHODS
from mecpart.model.scenarios import SCENARIOS

#: The columns that claims are made about, in words.
METRIC_WORDS = {
    "total_delay_s": "total delay",
    "edge_delay_s": "edge delay",
    "local_delay_s": "local delay",
    "energy_j": "energy",
    "reward": "mean reward",
}

SCENARIO_WORDS = {
    "as_printed": "by its equations as printed",
    "loaded": "with work that is left over waiting for the next slot",
    "pipelined": "with tasks that follow each other through the blocks",
    "published": "in its own plotted curves",
}

_SETTINGS = {
    "num_servers": "with {} edge server{s}",
    "num_blocks": "with {} block{s}",
    "release_rate": "at {} task{s} per slot",
    "deadline": "at a tolerated delay of {} s",
    "max_tolerated_delay": "at a tolerated delay of {} s",
    "link_capacity": "at a link capacity of {} Mbit/s",
    "episode": "at episode {}",
    "network": "for {}",
}

# Of each method, what it knows of the model (server speeds, link rates, equations), and what it does.
_METHODS = {
    "Proposed": ("no", "the paper's: multi-task A3C, one output per block, actor and critic softly shared"),
    "A3C": ("no", "actor and critic that share nothing, asked block by block"),
    "Distributed DQN": ("no", "the value of each choice, learned from a memory of past slots"),
    "Learned prices": ("yes", "this project's: the best plan when time on busy nodes costs extra; how much is learned"),
    "Greedy": ("speeds, queues", "each block on the node that would have finished its work soonest"),
    "APDI": ("no", "the blocks in equal shares over all nodes, in order"),
    "RPDI": ("no", "each block on a node at random"),
    "Local only": ("no", "every block on the devices"),
    "One ES": ("yes", "every block on the one best server"),
    "Single cut": ("yes", "first blocks on the devices, the rest on one server, cut where it is best"),
    "Earliest finish": ("yes", "block by block, the node on which this block is finished first"),
    "Optimal": (
        "yes",
        "the exact best plan of each slot; of more than two million pipelined ones, the best known",
    ),
    "Myopic": ("yes", "the same under queues: blind to those that it leaves to later slots"),
    "Look-ahead": ("yes", "of a few plans the one that is best over the next slots too"),
    "Drift-plus-penalty": ("yes", "least delay plus a charge for work given to long queues"),
    "Best constant plan": ("yes", "the same plan in all slots: the best for the episode, which it knows beforehand"),
}


#: What a reader has to know before anything else.
GLOSSARY = {
    "Slot": "A span of time in which tasks arrive, 60 of them by default. Each task is one inference of the network.",
    "Plan": "One number for each block of the network: the node that computes it. 0 stands for the devices, n for edge "
    "server n. One plan holds for all tasks of a slot.",
    "Devices (IoT tier)": "Several equal devices side by side, together node 0. Each task has one device: more devices "
    "take more tasks at once, but make no single task faster.",
    "Delay": "How long all tasks of a slot take through the blocks: sending, waiting and computing, one block after "
    "the other (in pipelined one task after the other); summed over the 600 slots of an episode. Local delay is "
    "computing on the devices, edge delay the rest.",
    "Knows the model": "Whether a method computes delays by the model's equations. The paper's learners do not: they "
    "see the rates and queues of a slot, and what came of their plans.",
    "Learned prices": "A learner of this project, trained for as long, but not on equal terms: it plans each slot "
    "exactly, counting a second on a node as more than a second since it delays later slots, and learns only how much "
    "more.",
}


def methods_table() -> pd.DataFrame:
    """The methods of the package, one per row: `method`, `learns`, `knows the model`, `what it does`, `scenario`."""
    rows = []
    for name, method in METHODS.items():
        knows, does = _METHODS[name]
        where = "all" if len(method.scenarios) == len(SCENARIOS) else ", ".join(method.scenarios)
        rows.append((name, "yes" if method.learns else "no", knows, does, where))
    return pd.DataFrame(rows, columns=["method", "learns", "knows the model", "what it does", "scenario"])


def listed(items: Iterable[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    *before, end = items
    return f"{', '.join(before)} {last} {end}" if before else end


def setting_words(x_name: str, xs: Iterable[float | str]) -> str:
    """Where on an axis: ("num_servers", [2, 3]) -> "with 2 or 3 edge servers"."""
    told = [x if isinstance(x, str) else f"{x:g}" for x in xs]
    words = _SETTINGS.get(x_name, f"at a {x_name.replace('_', ' ')} of {{}}")
    return words.format(listed(told, "or"), s="" if told == ["1"] else "s")


def curve_words(name: str, figure: str) -> str:
    """What a curve of an experiment is called: by the words of the experiment for its series, a method by its name."""
    series = EXPERIMENTS[figure].series.get(name) if figure in EXPERIMENTS else None
    return (series and series.words) or name


def figure_words(names: Iterable[str]) -> str:
    """The names of experiments: ["fig8", "fig9"] -> "Figs. 8 and 9"; others as they are."""
    names = list(names)
    numbers = [found[1] for name in names if (found := re.fullmatch(r"fig(\d+[a-z]?)", name))]
    if len(numbers) < len(names):
        return listed(f"Fig. {name[3:]}" if re.fullmatch(r"fig\d+[a-z]?", name) else name for name in names)
    return f"Fig{'s' if len(numbers) > 1 else ''}. {listed(numbers)}"


#: Beside a number that has none.
NO_INTERVAL = " (one seed, so no interval)"


def comparison_words(reduction: float, low: float, high: float) -> str:
    """A reduction in per cent with its interval, as "0.20 % more (95 % interval 0.05 to 0.39)"."""
    if math.isnan(reduction):
        return "an undefined share"
    text = f"{_percent(reduction)} % {'less' if reduction >= 0 else 'more'}"
    if math.isnan(low) or math.isnan(high):
        return text + NO_INTERVAL
    if low < 0 < high:
        return f"{text} (95 % interval {_percent(low)} more to {_percent(high)} less)"
    low, high = sorted((low, high), key=abs)
    return f"{text} (95 % interval {_percent(low)} to {_percent(high)})"


def three_digits(value: float) -> str:
    """A number to three digits, without an exponent: "25", "0.284" or "10300"."""
    return f"{float(f'{value:.3g}'):.12g}"


def _percent(value: float) -> str:
    return f"{abs(value):.2f}" if abs(value) < 100 else f"{abs(value):.0f}"
