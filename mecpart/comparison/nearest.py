"""The nearest world: the constants that bring the methods without learning as close to the published curves as can be.

    python -m mecpart.comparison.nearest as_printed 60

finds them for a scenario and writes them to `data/worlds.json`, from where `mecpart reproduce --world nearest` and
`run_experiment(..., world="nearest")` take them. 60 generations are searched; stopped, it goes on where it was.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from scipy.optimize import OptimizeResult, differential_evolution

from mecpart.comparison.curves import as_curves
from mecpart.comparison.paper import DELAY_FIGURES, DELAYS, RULES, published
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.experiment import Change
from mecpart.experiments.setting import Setting
from mecpart.experiments.worlds import keep_world
from mecpart.ledger import LEDGER
from mecpart.locations import default_output
from mecpart.model.environment import rollout
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.scenarios import SCENARIOS
from mecpart.model.slots import sample_slots
from mecpart.planning.policies import POLICIES
from mecpart.validation import check_choice, check_count

#: What it counts against a world that a factor of e is needed to have its seconds the paper's: next to nothing, but of
#: worlds that are as near it decides.
SECONDS = 0.01

#: Further off than this, in natural logarithms, a curve counts no more.
FURTHEST = 3.0

#: What is chosen, and the range of its decimal logarithm; SI units. The highest server speed is `spread` times the
#: lowest. Device rates are stated, cycles per operation are speeds in another unit, and no other constant has to do
#: with the delays of methods without learning.
BOUNDS = {
    "device_frequency": (7.0, 10.5),
    "num_devices": (0.0, 2.08),
    "server_speed": (7.0, 11.5),
    "spread": (0.0, 3.0),
    "wired_rate": (4.0, 10.0),
    "slot_seconds": (-1.0, 3.0),
}

Logs = Float[np.ndarray, "methods xs metrics"]


def residuals(results: pd.DataFrame) -> pd.DataFrame:
    """How far the methods without learning are from their published curves.

    Seconds are no target, for the paper has several for one setting: in each figure published values may be multiplied
    by one factor. The residual is the root mean square of what is left of log(measured / published), over methods, x,
    and total, edge and local delay; a curve more than a factor of 20 off counts as that. `flat` is the residual where
    nothing depends on method or x, and each kind of delay has its published mean: what of it is gone is explained. The
    same `along x`: where every curve has a factor of its own, so that only how it rises and falls counts.

    **Arguments:** `results`: of delay figures in one scenario.

    **Returns:** one row per figure, and one of "all", the root of their mean square: `figure`, `factor`,
    `residual_percent`, `flat_percent`, `explained_percent` (100 * (1 - residual^2 / flat^2)), the three `along_x`, and
    the residual of each kind of delay.
    """
    rows = []
    for figure, table in results.groupby("figure", sort=False):
        told = _logs(published(str(figure)))
        factor, left = _fitted(_logs(table) - told)
        errors = {"residual": left, "flat": told - told.mean(axis=(0, 1))}
        errors |= {
            "along_x": left - left.mean(axis=1, keepdims=True),
            "along_x_flat": told - told.mean(axis=1, keepdims=True),
        }
        errors |= {metric.removesuffix("_s"): left[..., at] for at, metric in enumerate(DELAYS)}
        rows.append({"figure": figure, "factor": factor} | {name: 100 * _rms(part) for name, part in errors.items()})
    frame = pd.DataFrame(rows)
    frame.loc[len(frame)] = {"figure": "all"} | {name: _rms(frame[name].to_numpy()) for name in errors}
    frame.insert(4, "explained", 100 * (1 - (frame["residual"] / frame["flat"]) ** 2))
    frame.insert(7, "along_x_explained", 100 * (1 - (frame["along_x"] / frame["along_x_flat"]) ** 2))
    return frame.rename(columns=lambda name: name if name in ("figure", "factor") else f"{name}_percent")


def _logs(table: pd.DataFrame) -> Logs:
    """Logarithms of the delays, each a mean over seeds."""
    blocks = [as_curves(table, metric) for metric in DELAYS]
    means = [np.stack([block.of(method).mean(axis=0) for method in RULES]) for block in blocks]
    return np.log(np.maximum(np.stack(means, axis=-1), 1e-9))


def _fitted(off: Logs) -> tuple[float, Logs]:
    """The factor of a figure, and what it leaves."""
    middle = np.median(off)
    factor = np.mean(np.clip(off, middle - FURTHEST, middle + FURTHEST))
    return float(np.exp(factor)), np.clip(off - factor, -FURTHEST, FURTHEST)


def _rms(numbers: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(numbers))))


class Curves:
    """The delays of the methods without learning over some figures, as a function of the constants.

    Networks (in units of the range of speeds), channels and random plans are the same for all constants and points.

    - `networks`, `slots`: how many of each; by default 16 of 64 slots, and where slots couple whole episodes.
    """

    def __init__(self, scenario: str, figures: Sequence[str] = DELAY_FIGURES, networks: int = 0, slots: int = 0):
        couples = Setting().build(scenario, 0).rules.slots_couple
        self.names = tuple(name for name in BOUNDS if couples or name != "slot_seconds")
        networks = networks or 16  # on 4 the nearest world with queues was 29 % off, and 38 % on others
        slots = slots or (LEDGER.default("num_slots") if couples else 64)
        self._settings = {figure: _settings(figure, scenario) for figure in figures}
        alike: dict[tuple[int, int], list[Setting]] = {}
        for setting in dict.fromkeys(setting for found in self._settings.values() for setting in found):
            alike.setdefault((setting.num_blocks, setting.padded_servers()), []).append(setting)
        self._groups = [(found, *_drawn(scenario, found, networks, slots)) for found in alike.values()]

    def __call__(self, constants: Mapping[str, float]) -> dict[str, Logs]:
        """Logarithms of the mean delays of an episode in each figure."""
        delays: dict[Setting, np.ndarray] = {}
        for settings, worlds, slots, keys in self._groups:
            found = np.asarray(_episodes(dict(constants), worlds, slots, keys), np.float64).mean(axis=1)
            episodes = LEDGER.default("num_slots") * found
            delays |= zip(settings, np.log(np.maximum(episodes, 1e-9)), strict=True)
        return {figure: np.stack([delays[each] for each in found], axis=1) for figure, found in self._settings.items()}


def _settings(figure: str, scenario: str) -> list[Setting]:
    """Of the points of a figure, without tau, at which no method here looks."""
    given = (point.setting for point in EXPERIMENTS[figure].points(scenario))
    return [replace(setting, deadline=Setting.deadline) for setting in given if isinstance(setting, Setting)]


def _drawn(scenario: str, settings: Sequence[Setting], networks: int, slots: int):
    """Scenarios, slots and keys of settings that have the same shapes: every array [settings, networks, ...]."""

    def stacked(trees):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    keys = jax.random.split(jax.random.key(0), networks)
    worlds = [[setting.build(scenario, seed) for seed in range(networks)] for setting in settings]
    drawn = [[sample_slots(key, one, slots) for key, one in zip(keys, row, strict=True)] for row in worlds]
    return stacked([stacked(row) for row in worlds]), stacked([stacked(row) for row in drawn]), keys


@jax.jit
def _episodes(constants: dict[str, Array], worlds: Scenario, slots: Slot, keys: Array):
    """Mean total, edge and local delay of a slot, s: [settings, networks, methods, 3]."""

    def episode(scenario: Scenario, slots: Slot, key: Array):
        scenario = _with(scenario, constants)
        noise = jax.random.split(key, slots.device_rate.shape[0])

        def delays(policy):
            def choose(states, keys):
                return jax.vmap(partial(policy, scenario))(states.slot, keys)

            _, _, cost = rollout(scenario, None, slots, choose, noise)
            return jnp.stack([jnp.mean(part) for part in (cost.total_delay, cost.edge_delay, cost.local_delay)])

        return jnp.stack([delays(POLICIES[name]) for name in RULES])

    return jax.vmap(jax.vmap(episode), (0, 0, None))(worlds, slots, keys)


def _with(scenario: Scenario, constants: Mapping[str, Array]) -> Scenario:
    """A scenario that was drawn in the ledger's world, with other constants."""
    network, (low, high) = scenario.network, LEDGER.default("server_speed_range")
    unit = (network.speed[1:] - low) / (high - low)
    speed = constants["server_speed"] * (1 + (constants["spread"] - 1) * unit)
    tier = constants["num_devices"] * constants["device_frequency"]
    network = replace(
        network,
        speed=jnp.concatenate([tier[None], jnp.where(network.available[1:], speed, 0)]),
        **{name: constants[name] for name in ("device_frequency", "num_devices", "wired_rate")},
    )
    return replace(scenario, network=network, slot_seconds=constants.get("slot_seconds", scenario.slot_seconds))


def fit(
    curves: Curves, told: Mapping[str, Logs], generations: int = 60, seed: int = 0, kept: Path | None = None
) -> tuple[dict[str, float], float]:
    """The constants whose curves are closest to `told`, and the residual that they leave (`residuals`).

    Differential evolution (Storn and Price 1997). Since each figure has a factor of its own, worlds in which everything
    is as many times faster are about equally near; `SECONDS` chooses one of them. With `kept` the population is read
    from and written to that file, so that what was stopped goes on.

    **Raises:** `ValueError` for a number of generations below 1.
    """
    check_count("generations", generations)
    names = curves.names

    def constants(logs) -> dict[str, float]:
        found = {name: float(10**value) for name, value in zip(names, logs, strict=True)}
        return found | {"num_devices": float(round(found["num_devices"]))}

    def off(logs) -> tuple[float, float]:
        """The residual, and the mean logarithm of the figures' factors."""
        found = curves(constants(logs))
        fitted = [_fitted(found[figure] - told[figure]) for figure in told]
        return _rms(np.array([_rms(left) for _, left in fitted])), float(
            np.mean([np.log(factor) for factor, _ in fitted])
        )

    def loss(logs) -> float:
        residual, factor = off(logs)
        return float(np.hypot(residual, SECONDS * factor))

    def keep(intermediate_result: OptimizeResult) -> None:
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            done = before + intermediate_result.nit
            np.savez(kept, names=names, done=done, population=intermediate_result.population)
            print(f"{done} of {generations}: {100 * intermediate_result.fun:.2f} %", flush=True)

    before, start = 0, "sobol"
    if kept and kept.exists():
        found = np.load(kept)
        if tuple(found["names"]) == names:
            before, start = int(found["done"]), found["population"]
    best = differential_evolution(
        loss,
        [BOUNDS[name] for name in names],
        init=start,
        popsize=8,
        maxiter=max(generations - before, 1),
        tol=0,
        rng=seed + before,
        callback=keep,
        polish=False,
    )
    return constants(best.x), off(best.x)[0]


def as_change(constants: Mapping[str, float]) -> Change:
    """The constants as what is different from the ledger's world, to four digits."""
    rounded = {name: float(f"{value:.4g}") for name, value in constants.items()}
    low = rounded.pop("server_speed")
    speeds = (low, float(f"{low * rounded.pop('spread'):.4g}"))
    scenario = {name: rounded.pop(name) for name in ("slot_seconds",) if name in rounded}
    return Change(network={"server_speed_range": speeds, **rounded}, scenario=scenario)


def main(scenario: str, generations: str = "60") -> None:
    """Fit the nearest world of a scenario, and keep it in the data file.

    **Raises:** `ValueError` for an unknown scenario, or a bad number of generations.
    """
    check_choice("scenario", scenario, SCENARIOS)
    kept = default_output() / "build" / "nearest" / f"{scenario}.npz"
    told = {figure: _logs(published(figure)) for figure in DELAY_FIGURES}
    constants, residual = fit(Curves(scenario), told, int(generations), kept=kept)
    by = f"python -m mecpart.comparison.nearest {scenario} {generations}"
    made = {"by": by, "residual_percent": round(100 * residual, 2)}
    keep_world("nearest", scenario, as_change(constants), made)
    print(f"{scenario}: {100 * residual:.2f} % left with {constants}")


if __name__ == "__main__":
    main(*sys.argv[1:])
