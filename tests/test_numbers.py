"""No number that decides what comes out stands in the code: it is in the ledger, or in the short list here."""

import ast
from pathlib import Path

import pytest

import mecpart

PACKAGE = Path(mecpart.__file__).parent
#: Rooms whose numbers decide results.
ROOMS = ("agents", "planning", "model")
#: What counting, halving, squaring, nothing and all take; 2.0 is a choice.
STRUCTURAL = {int: {0, 1, 2}, float: {0.0, 1.0}, complex: set()}

#: Other numbers by the file and the line that they stand in, and why they are no constants of the model or a method.
ALLOWED = {
    ("agents/actor_critic.py", "axis=0))) + 1e-4"): "no division by zero",
    ("agents/learning.py", "jax.random.split(key, 3)"): "a key for each of three things",
    ("agents/networks.py", "MAX_JOINT_PLANS = 20_000"): "refused above, not approximated",
    ("agents/networks.py", "_fan_in(2.0)"): "for ReLU (He et al. 2015)",
    ("agents/networks.py", "jnp.sqrt(3 * scale"): "variance of a uniform number",
    ("agents/networks.py", "-1e9)"): "a logit that is as good as minus infinity, with a finite derivative",
    ("agents/price_search.py", "minimum=3)"): "the best, its challenger and something new",
    ("agents/price_search.py", "batch), 3)"): "a key for each of three things",
    ("planning/bounds.py", "1e-9), 0)"): "no division by zero",
    ("planning/constant.py", "SLOTS = 60"): "slots that differ by chance alone: what is chosen is compared in all",
    ("planning/label_setting.py", "MOST_LABELS = 50_000"): "refused above, not approximated",
    ("planning/label_setting.py", "widest=200"): "how soon the exact search has a plan to compare with",
    ("planning/label_setting.py", "(1 + 1e-9)"): "rounding",
    ("planning/pareto.py", "ROUNDING = 1e-6"): "rounding",
    ("planning/pipelines.py", "MOST_PLANS = 2**21"): "beyond it what is found has a certificate",
    ("planning/pipelines.py", "PROMISING, HELD ="): "a search whose result has a certificate",
    ("planning/pipelines.py", "TRIED = 2**5"): "speed alone",
    ("planning/pipelines.py", "batch_size=4096"): "speed alone",
    ("planning/pipelines.py", "mean + 4 * jnp.sqrt(mean)"): "an order of trying, which each slot's own share corrects",
    ("planning/policies.py", "1e3, 0.0)"): "a price at which a node is used only where there is no other",
    ("model/delay.py", "QUARTERS = 4"): "a way to tell, of results, not in them",
    ("model/delay.py", "1.5 * second"): "a way to tell, of results, not in them",
    ("model/devices.py", "1e12 * np.min"): "whole numbers for `balanced_cut`, finer than what is measured",
    ("model/environment.py", "scenario.energy_budget, 1e-9"): "no division by zero",
    ("model/network.py", "< 1e3"): "a speed in GHz by mistake",
    ("model/network.py", "/ 1e6"): "units",
    ("model/network.py", "/ 1e9"): "units",
    ("model/network.py", "np.log(2) / 8"): "bits in a byte",
    ("model/network.py", "rtol=1e-5"): "rounding",
    ("model/network.py", "stacklevel=3"): "of a warning",
    ("model/scenario.py", "np.asarray(release_rate) > 1e9"): "where JAX's Poisson numbers go wrong",
    ("model/scenarios.py", "1e9 * xp.min"): "a scale of speeds, of which no delay depends",
    ("model/trace.py", "MOST_SLOTS = 1_000_000"): "refused above, not approximated",
    ("model/trace.py", "(1 + 1e-12)"): "rounding",
}


def numbers(text: str):
    """The numbers that stand in code, other than structural ones: (number, line number, line)."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and STRUCTURAL.get(type(node.value), {node.value}).isdisjoint({node.value}):
            yield node.value, node.lineno, lines[node.lineno - 1]


def unexplained(name: str, text: str):
    known = [part for file, part in ALLOWED if file == name]
    for number, at, line in numbers(text):
        if not any(part in line for part in known):
            yield f"mecpart/{name}:{at}: {number!r} is neither in the ledger nor among the numbers allowed here"


FILES = {str(path.relative_to(PACKAGE)): path for room in ROOMS for path in sorted((PACKAGE / room).glob("**/*.py"))}


@pytest.mark.parametrize("name", FILES)
def test_every_number_is_in_the_ledger_or_explained(name):
    assert list(unexplained(name, FILES[name].read_text(encoding="utf-8"))) == []


def test_finds_what_is_neither():
    found = list(unexplained("model/new.py", "def f(x, y=0.3):\n    return -7 * x[1] + 2 ** y\n"))
    assert [told.split(" is ")[0] for told in found] == ["mecpart/model/new.py:1: 0.3", "mecpart/model/new.py:2: 7"]


def test_nothing_is_allowed_that_is_not_there():
    for file, part in ALLOWED:
        lines = [line for _, _, line in numbers(FILES[file].read_text(encoding="utf-8"))]
        assert any(part in line for line in lines), f"{file} has no line with {part}"
