"""Runs: one method in one setting with one seed, the unit that every experiment is made of.

What a run costs is a function of its description alone. So figures that share a setting share its runs, and a run that
has been kept in a folder is never computed again.
"""

import hashlib
import importlib.metadata
import json
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any

import jax
import numpy as np

from mecpart.agents.learning import EpisodeCost
from mecpart.experiments.setting import Given, Setting, outline
from mecpart.methods.method import Method
from mecpart.methods.register import BOUND, methods_in
from mecpart.model.scenarios import SCENARIOS
from mecpart.sources import digest
from mecpart.validation import check_choice, check_count

#: Points of a learning curve, at most; each averages over a window of episodes.
WINDOWS = 150

#: Training episodes that are computed sooner than compiled, at most: those of the profile smoke, and of most tests.
FEW_EPISODES = 32

_DISTRIBUTIONS = ("jax", "jaxlib", "flax", "optax")


@dataclass(frozen=True)
class Run:
    """One method in one setting with one seed.

    - `method`: the name of one that the scenario's rules have, or of the bound.
    - `scenario`: a key of `SCENARIOS`; of a `Given` one the name of its rules.
    - `episodes`: that a learner is trained for.
    - `changes`: settings of the method (`Method.settings`) that are to differ, as (name, value) pairs.
    - `convergence`: of a method that does not learn, that the training episodes are wanted rather than a fresh one; of
      a learner both are always known.
    - `of`: the method itself, which goes wherever the run goes.

    Two descriptions of one run are equal: what changes nothing is dropped.
    """

    method: str
    scenario: str
    setting: Setting | Given
    seed: int
    episodes: int
    changes: tuple[tuple[str, Any], ...] = ()
    convergence: bool = False
    of: Method = field(init=False)

    def __post_init__(self):
        check_choice("scenario", self.scenario, SCENARIOS)
        check_count("episodes", self.episodes)
        known = methods_in(outline(self.setting, self.scenario).rules) | {BOUND.name: BOUND}
        check_choice("method", self.method, known)
        object.__setattr__(self, "of", known[self.method])
        for name, _ in self.changes:
            check_choice(f"setting of {self.method}", name, self.of.settings)
        object.__setattr__(self, "changes", tuple(self.of.changed(dict(self.changes)).items()))
        if self.of.learns:
            object.__setattr__(self, "convergence", False)

    def __str__(self) -> str:
        changed = [*self.setting.told, *(f"{name}={value}" for name, value in self.changes)]
        return f"{self.method} ({', '.join([self.scenario, f'seed {self.seed}', *changed])})"

    @property
    def keepable(self) -> bool:
        """Whether what the run costs is worth keeping, and known to stay the same."""
        return self.of.learns and self.of.of_package and isinstance(self.setting, Setting)

    @property
    def trained(self) -> int:
        """The training episodes that the run is made of."""
        return self.episodes if self.of.learns or self.convergence else 0

    @property
    def soon(self) -> bool:
        """Whether the run is computed sooner than what it needs is compiled.

        Methods that plan for tasks that wait, in queues or streams, take long even where nothing is learned.
        """
        rules = outline(self.setting, self.scenario).rules
        return self.trained <= FEW_EPISODES and (self.of.learns or not (rules.queues or rules.streams))

    @property
    def num_slots(self) -> int:
        """Slots of an episode."""
        return outline(self.setting, self.scenario).num_slots

    @property
    def identity(self) -> str:
        """A hash of all that the run's costs depend on: its description, the sources and the libraries."""
        description = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "of"}
        description |= {
            "setting": asdict(self.setting),
            "changes": {**self.of.settings, **dict(self.changes)},
            "windows": WINDOWS,
            "backend": jax.default_backend(),
        }
        text = json.dumps([description, made_with()], sort_keys=True, default=lambda array: np.asarray(array).tolist())
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Costs:
    """What a run cost: `training` in each window of episodes, which ends with `last_episode`; `evaluation` afterwards.

    Of a method that does not learn only one of the two is there.
    """

    last_episode: np.ndarray
    training: EpisodeCost | None
    evaluation: EpisodeCost | None


def made_with() -> dict[str, str]:
    """What the costs of a run depend on besides its description and the device: the sources and the libraries."""
    return {"sources": digest("mecpart.experiments.programs"), **_versions()}


@cache
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _DISTRIBUTIONS}
