"""The register of all methods: the package's, and those of one's own, which take part in everything under their names.

    @mecpart.register_policy("Fastest server")
    def fastest(scenario, slot, key):
        return jnp.full(scenario.num_blocks, jnp.argmax(scenario.network.speed))

A registered method is sent along with the runs that need it, so it may be defined anywhere, in a notebook too. For
`mecpart reproduce`, whose notebooks run in processes of their own, `--methods FILE` names a Python file that registers.
"""

import runpy
import unicodedata
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

from mecpart import context
from mecpart.agents import AGENTS
from mecpart.methods.method import Bound, Hindsight, Learner, Method, Planner
from mecpart.methods.own import OwnAgent, OwnLearner, OwnMethod, OwnPolicy
from mecpart.model.rules import RULES, Rules
from mecpart.model.scenarios import SCENARIOS
from mecpart.planning.constant import best_constant_plan
from mecpart.planning.policies import POLICIES
from mecpart.validation import check_choice, check_flag, check_names


def _anywhere(rules: Rules) -> bool:
    return True


def _where_slots_couple(rules: Rules) -> bool:
    return rules.slots_couple


def _where_slots_stand_alone(rules: Rules) -> bool:
    return not rules.slots_couple


def _where_tasks_are_a_lump(rules: Rules) -> bool:
    return not rules.streams


# Elsewhere they would be the optimum, or not optimal; prices of nodes put all blocks of a stream on one node.
_RULES = {
    "Learned prices": _where_tasks_are_a_lump,
    "Optimal": _where_slots_stand_alone,
    "Myopic": _where_slots_couple,
    "Look-ahead": _where_slots_couple,
    "Drift-plus-penalty": _where_slots_couple,
}


def _learner(name: str) -> Learner:
    config = AGENTS[name]
    settings = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    settings = {setting: value for setting, value in settings.items() if setting not in ("name", "episodes")}
    return Learner(name, _RULES.get(name, _anywhere), settings, config=config)


def _settings(policy: Callable) -> dict[str, Any]:
    arguments = signature(policy).parameters.values()
    return {way.name: way.default for way in arguments if way.kind == way.KEYWORD_ONLY}


def _planner(name: str) -> Planner:
    policy = POLICIES[name]
    return Planner(name, _RULES.get(name, _anywhere), _settings(policy), policy=policy)


_CONSTANT = Hindsight("Best constant plan", _anywhere, _settings(best_constant_plan), policy=best_constant_plan)

#: The methods of the package by name, in the order of the paper and then the reference lines.
METHODS: dict[str, Method] = {
    **{name: _learner(name) for name in AGENTS},
    **{name: _planner(name) for name in POLICIES},
    _CONSTANT.name: _CONSTANT,
}

#: Not a method, but where results name one: the certified lower bound on the total delay of the same episodes.
BOUND = Bound("Bound", _anywhere)

#: Not a method: in the explorer, a plan that is changed by its buttons.
BY_HAND = "by hand"

_registered: dict[str, OwnMethod] = {}


def own_methods() -> dict[str, OwnMethod]:
    """The registered methods by name, in the order of registration."""
    file = context.current().methods_file
    if file:
        _registered_by(file, Path(file).read_bytes())
    return dict(_registered)


def methods_in(rules: str | Rules) -> dict[str, Method]:
    """The methods that there are by the rules of a scenario, or of the scenario of that name: the package's, then own.

    **Raises:** `ValueError` for an unknown scenario.
    """
    if isinstance(rules, str):
        check_choice("scenario", rules, SCENARIOS)
        rules = RULES[rules]
    return {name: method for name, method in (METHODS | own_methods()).items() if method.rules(rules)}


def register_policy(name: str, policy: Callable | None = None, *, on_host: bool = False, scenario: str | None = None):
    """Let a policy without learning, or one learned elsewhere, take part under `name`.

    **Arguments:**

    - `policy`: a function (scenario, slot, key) -> plan, [M] integers 0..N, that JAX can trace. Without it a decorator
      is returned.
    - `on_host`: call it with NumPy arrays instead, one slot at a time, for what JAX cannot trace; `key` is then a few
      integers to seed `numpy.random.default_rng` with.
    - `scenario`: the only scenario that it is for; by default it is for all.

    **Raises:** `ValueError` if the name is like that of a method of the package or of the bound, or none that a table
    can hold: files must give it back, so it is not empty, no number, and not "NA" or "None". One of your own is
    replaced.
    """
    return _register(OwnPolicy, name, policy, scenario, on_host=on_host)


def register_agent(name: str, agent: Callable | None = None, *, on_host: bool = False, scenario: str | None = None):
    """Let a trained agent take part under `name`: a function (observation of `PartitionEnv`) -> plan.

    It fits only scenarios with as many blocks and servers as that which it was trained for. Experiments that sweep them
    leave it out, and say so: for these use `register_learner`. Arguments and errors as in `register_policy`.
    """
    return _register(OwnAgent, name, agent, scenario, on_host=on_host)


def register_learner(name: str, make_train: Callable | None = None, *, scenario: str | None = None):
    """Let a learner take part under `name`: it is trained anew in every setting, as the package's own are.

    **Arguments:** `make_train`: a function (episodes) -> `train`, with `train` (key, scenario) -> `TrainResult` that
    JAX can trace. The `policy` in it is called with one observation. Where its `episode_cost` is None it is left out of
    the figures that show training. Without `make_train` a decorator is returned.

    **Raises:** `ValueError` as `register_policy`.
    """
    return _register(OwnLearner, name, make_train, scenario)


def unregister(name: str) -> None:
    """Forget a method of one's own.

    **Raises:** `ValueError` if there is none of that name.
    """
    check_choice("name", name, _registered)
    del _registered[name]


def check_methods_file(path: str | Path) -> Path:
    """The absolute path of a file that registers methods, run once to see that it does.

    **Raises:** `ValueError` if there is no such file, it fails, or it registers nothing.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise ValueError(f"methods must be a Python file that registers methods; there is no file {path}")
    names = _registered_by(str(path), path.read_bytes())
    if not names:
        raise ValueError(f"methods must be a Python file that registers methods; {path} registers none")
    return path


@cache
def _registered_by(path: str, content: bytes) -> tuple[str, ...]:
    """The names that a file registers, when it is run for the first time with this content."""
    before = dict(_registered)
    # Not imported: so its functions are sent to other processes as they are, not as names to be looked up there.
    try:
        runpy.run_path(path, run_name="mecpart_methods_file")
    except BaseException as error:  # `sys.exit` too: it would end whoever asks for the methods, as if all were well
        raise ValueError(f"methods must be a Python file; {path} fails: {type(error).__name__}: {error}") from error
    return tuple(name for name, method in _registered.items() if before.get(name) != method)


def _register(kind: type[OwnMethod], name: str, function: Callable | None, scenario: str | None, **options):
    check_names("name", name)
    for known in (*METHODS, BOUND.name, BY_HAND):
        if _plain(name) == _plain(known):
            raise ValueError(
                f"name must not be that of a method of the package, {known!r}, however spelled; got {name!r}"
            )
    for option, value in options.items():
        check_flag(option, value)
    if scenario is not None:
        check_choice("scenario", scenario, SCENARIOS)
    if function is None:
        return lambda function: _register(kind, name, function, scenario, **options)
    if not callable(function):
        raise ValueError(f"{kind.argument} must be a function; got {function!r}")

    def rules(rules: Rules) -> bool:
        return scenario in (None, rules.name)

    _registered[name] = kind(name, rules, function=function, **options)
    return function


def _plain(name: str) -> str:
    """A name without what readers overlook: case, blanks, signs, and other characters for the same letters."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold()))
