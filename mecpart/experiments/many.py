"""Rules on many networks: what costs nothing is measured until nothing about it is undecided.

A rule is run on a thousand networks in the time in which a learner is trained on none: all networks of a setting go
through one program, side by side.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from mecpart.agents.learning import EpisodeCost, sum_costs
from mecpart.compilation import compiled
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.experiment import Point, check_methods, shown_x
from mecpart.experiments.runner import COLUMN_OF_COST, MOST_SEEDS, PROFILES, columns_of, in_world
from mecpart.experiments.setting import Setting, outline
from mecpart.methods.method import Case, Planner
from mecpart.methods.register import METHODS, methods_in
from mecpart.model.delay import plan_cost
from mecpart.model.environment import rollout
from mecpart.model.scenario import Scenario
from mecpart.model.scenarios import SCENARIOS
from mecpart.planning.policies import POLICIES
from mecpart.validation import check_choice, check_count

#: Networks that go through a program at once: enough to fill vector units, few enough for the caches.
SIDE_BY_SIDE = 50

#: A method by its name, and what is changed of it.
Rule = tuple[str, tuple[tuple[str, Any], ...]]


def run_rules(
    name: str,
    methods: Sequence[str],
    profile: str = "quick",
    scenario: str = "as_printed",
    *,
    networks: int | None = None,
    world: str | None = None,
) -> pd.DataFrame:
    """Run rules of the package in an experiment on many networks, which are those of the seeds 0, 1, 2, ...

    **Arguments:**

    - `name`: a key of `EXPERIMENTS` whose settings are swept; `scenario`: of `SCENARIOS`.
    - `methods`: names of `METHODS` that the scenario has and that do not learn.
    - `profile`: of `PROFILES`; `networks`: how many, instead of the profile's, at most `MOST_SEEDS`.
    - `world`: by which constants, as in `run_experiment`.

    **Returns:** what `run_experiment` returns for these methods and as many seeds, equal to rounding; but the optimum
    and the gap are not computed (NaN).

    **Raises:** `ValueError` for a name that there is not, one of a method that learns, a bad number, or an experiment
    that shows training.
    """
    check_choice("name", name, EXPERIMENTS)
    check_choice("profile", profile, PROFILES)
    check_choice("scenario", scenario, SCENARIOS)
    networks = check_count("networks", PROFILES[profile].networks if networks is None else networks, maximum=MOST_SEEDS)
    check_methods(methods, [method for method, made in methods_in(scenario).items() if type(made) is Planner])
    experiment = in_world(EXPERIMENTS[name], scenario, world)
    if experiment.convergence:
        raise ValueError(f"name must be that of a sweep; got {name!r}, which shows training")
    points, tables = experiment.points(scenario), []
    servers = max(point.setting.num_servers for point in points if isinstance(point.setting, Setting))
    for point in points:
        rules = tuple((method, tuple(METHODS[method].changed(point.changes).items())) for method in methods)
        for (method, _), cost in zip(rules, _costs(rules, scenario, point, networks, servers), strict=True):
            columns = {COLUMN_OF_COST.get(column, column): value for column, value in vars(cost).items()}
            told = {"method": method, "setting": point.series, "x": shown_x(point.x), "env_steps": 0}
            tables.append(pd.DataFrame({"seed": np.arange(networks), **columns}).assign(**told))
    # As they come, points are in order; a stable sort makes the methods the first key.
    table = pd.concat(tables).assign(figure=name, scenario=scenario, x_name=experiment.x_name)
    table = table.sort_values("method", key=lambda column: column.map(list(methods).index), kind="stable")
    return table.reindex(columns=columns_of(table, experiment)).reset_index(drop=True)


def _costs(rules: tuple[Rule, ...], scenario: str, point: Point, networks: int, servers: int) -> list[EpisodeCost]:
    """What the fresh episode of each network costs by each rule, [networks]; padded to so many servers."""
    outline(point.setting, scenario)  # makes every check
    assert isinstance(point.setting, Setting)  # as all points of experiments are
    seeds, draw = jnp.arange(networks), point.setting.drawn
    scenarios = jax.vmap(lambda seed: draw(scenario, jax.random.key(seed), servers))(seeds)
    return [jax.tree.map(partial(np.asarray, dtype=float), cost) for cost in _program(rules)(seeds, scenarios)]


@lru_cache
def _program(rules: tuple[Rule, ...]) -> Callable:
    def of_one(case: tuple[Array, Scenario]) -> list[EpisodeCost]:
        return _episode(rules, Case(jax.random.fold_in(jax.random.key(case[0]), 1), case[1]))

    return compiled(lambda *cases: jax.lax.map(of_one, cases, batch_size=SIDE_BY_SIDE), "plain")


def _episode(rules: tuple[Rule, ...], case: Case) -> list[EpisodeCost]:
    """What the fresh episode costs by each rule: that of a `Run`, without its care for plans that cannot be trusted."""
    scenario, slots, found = case.scenario, case.fresh_slots(), []
    keys = jax.random.split(jax.random.fold_in(case.keys[2], 0), scenario.num_slots)
    for method, changes in rules:
        policy: Callable = POLICIES[method]
        choose = jax.vmap(partial(policy, scenario, **dict(changes)))
        if scenario.rules.slots_couple:
            _, plans, cost = rollout(scenario, None, slots, _seeing_the_slot(choose), keys)
        else:  # all slots at once
            plans = choose(slots, keys)
            cost = jax.vmap(partial(plan_cost, scenario))(slots, plans)
        found.append(sum_costs(scenario, plans, cost))
    return found


def _seeing_the_slot(choose: Callable) -> Callable:
    """Plans of states, by a rule that sees nothing of them but the slot."""
    return lambda states, keys: choose(states.slot, keys)
