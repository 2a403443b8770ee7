"""Methods side by side on a scenario of one's own."""

from collections.abc import Sequence, Set
from dataclasses import replace

import jax
import numpy as np
import pandas as pd

from mecpart.experiments.experiment import Experiment, Point, check_methods
from mecpart.experiments.runner import amounts, results_of
from mecpart.experiments.setting import Given
from mecpart.methods.register import methods_in
from mecpart.model.scenario import Scenario, Slot, check_scenario
from mecpart.model.slots import check_slots
from mecpart.planning.optimum import optimum_is_known
from mecpart.validation import check_count


def compare(
    scenario: Scenario,
    methods: Sequence[str] | Set[str] | None = None,
    seeds: int = 5,
    *,
    slots: Slot | None = None,
    profile: str = "quick",
    episodes: int | None = None,
    processes: int | None = None,
) -> pd.DataFrame:
    """Run methods on one's own scenario, each with the same seeds and draws, and tell how far each is from the best.

    Learners are trained on the scenario, anew for each seed, and then run one fresh episode like all others. A seed
    draws the channels (and what a method does at random); the workload, the network and all constants are the
    scenario's own.

    **Arguments:**

    - `methods`: names of `METHODS` or of registered methods; by default all that the scenario's rules have.
    - `seeds`: how many, from 0 on.
    - `slots`: run exactly these instead of fresh draws, every array with a leading axis [T], as `trace_from_csv`
      returns them; in `loaded` the queues carry over, and begin with the backlog of the first. Training draws its own
      episodes as ever; with numbers of `tasks` in the slots it draws Poisson ones.
    - `profile`, `episodes`: of `PROFILES`, how long learners are trained, or for how many episodes of
      `scenario.num_slots` slots.
    - `processes`: as in `run_experiment`.

    **Returns:** a DataFrame, one row for each method and seed: `scenario`, `method`, `seed`; sums over the episode of
    `total_delay_s`, `edge_delay_s`, `local_delay_s` (s), `energy_j` (J) and `reward`; `deadline_violation_rate`;
    `optimal_total_delay_s`, and `gap_percent` above it; `gap_to`, which says what that is: the "optimum" where it is
    known, else the certified "bound" (`episode_bound`); `env_steps`, the slots that a learner was trained on; and
    `keeps_up` and `busiest_share` as in `run_experiment`.

    **Raises:** `ValueError` for what is no scenario, a name that there is not, a bad number, or slots that do not fit,
    before anything runs.
    """
    check_scenario(scenario)
    seeds, episodes = amounts(profile, check_count("seeds", seeds), episodes)
    if processes is not None:
        check_count("processes", processes)
    if methods is not None and (isinstance(methods, str) or not isinstance(methods, Sequence | Set)):
        raise ValueError(f"methods must be a sequence of names; got {methods!r}")
    known = methods_in(scenario.rules)
    chosen = tuple(known if methods is None else methods)
    check_methods(chosen, known, scenario.name)
    if slots is not None:
        check_slots(scenario, slots)
        if np.ndim(slots.device_rate) == 1:  # more likely one slot [N] than one rate for all links of each of T slots
            raise ValueError(
                f"slots.device_rate must have shape (slots, servers) or (slots, blocks, servers); "
                f"got {np.shape(slots.device_rate)}"
            )
        slots = jax.vmap(scenario.complete)(slots)
        if slots.tasks is not None:
            scenario = replace(scenario, arrivals="poisson")
    name = scenario.workload.name
    experiment, point = (
        Experiment("compare", name, "network", "network", xs=(name,)),
        Point("", name, Given(scenario, slots)),
    )
    table = results_of(experiment, scenario.name, [point], seeds, episodes, chosen, methods is not None, processes)
    table = table.drop(columns=["figure", "x_name", "x"])
    gap_to = "optimum" if optimum_is_known(scenario) else "bound"
    table.insert(table.columns.get_loc("gap_percent") + 1, "gap_to", gap_to)
    return table
