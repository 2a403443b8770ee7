"""Where methods are compared: drawn by a seed from a setting, or a scenario of one's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from inspect import signature
from typing import Any, ClassVar

import jax
from jaxtyping import PRNGKeyArray

from mecpart.dnn.workload import LayerTable, workload
from mecpart.dnn.zoo import NETWORKS
from mecpart.ledger import LEDGER
from mecpart.model.network import Network, make_network, sample_network
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.scenarios import SCENARIOS
from mecpart.validation import check_choice, check_count, check_number, check_range, check_type, shown

#: Networks are padded to one of these numbers of servers, so that a sweep over N compiles less often. Padding costs
#: time, so the sizes are close together; the ledger's N is one of them, since most figures use it. What a sweep
#: over N computes sooner than it compiles is padded to the last (`mecpart.experiments.programs.sizes_of`).
PADDED_SERVERS = (4, 6, 8, 9)

Constants = tuple[tuple[str, Any], ...]


def keywords(function: Callable) -> dict[str, Any]:
    """The keyword arguments of a function, and their defaults."""
    return {way.name: way.default for way in signature(function).parameters.values() if way.kind == way.KEYWORD_ONLY}


#: The constants of drawn networks that a setting has no field for.
OF_NETWORK = tuple(
    name for name in keywords(sample_network) | keywords(make_network) if name not in ("pad_to", "device_rate_range")
)


def of_scenario(scenario: str) -> tuple[str, ...]:
    """The constants of a scenario that a setting has no field for."""
    return tuple(name for name in keywords(SCENARIOS[scenario]) if name not in ("times", "links"))


@dataclass(frozen=True)
class Setting:
    """What an experiment can sweep or fix; the defaults are the ledger's.

    - `network`: the DNN, by the name of one of the paper's, or a layer table as `mecpart.workload` takes it.
    - `link_capacity`: in Mbit/s, replaces the range of device rates by one value (Fig. 13).
    - `edge_network`: one network for all seeds, instead of those that they draw; it has its own N, rates and constants.
    - `of_network`, `of_scenario`: any other arguments of `sample_network`, and of the scenario, by their names.

    **Raises:** `ValueError` for an unknown `network`; all else is checked with the scenario that it is for (`check`).
    """

    network: str | LayerTable = LEDGER.default("network")  # noqa: RUF009 (a name)
    num_blocks: int = LEDGER.default("num_blocks")
    num_servers: int = LEDGER.default("num_servers")
    release_rate: float = LEDGER.default("release_rate")
    deadline: float = LEDGER.default("deadline")
    device_rate_range: tuple[float, float] = LEDGER.default("device_rate_range")
    link_capacity: float | None = None
    edge_network: Network | None = None
    of_network: Mapping[str, Any] | Constants = ()
    of_scenario: Mapping[str, Any] | Constants = ()

    slots: ClassVar[None] = None  # what a run is evaluated on is drawn by its seed

    def __post_init__(self) -> None:
        for name in ("of_network", "of_scenario"):  # settings are compared, and part of a kept run's identity
            if isinstance(given := getattr(self, name), Mapping):
                object.__setattr__(self, name, tuple(sorted(given.items())))
        if isinstance(self.edge_network, Network):
            object.__setattr__(self, "num_servers", self.edge_network.num_servers)
        if not isinstance(self.network, LayerTable):
            check_choice("network", self.network, NETWORKS)

    def check(self, scenario: str) -> None:
        """Raise `ValueError` for a field of wrong type, shape or range; without compiling anything."""
        check_choice("scenario", scenario, SCENARIOS)
        for name in ("num_blocks", "num_servers"):
            check_count(name, getattr(self, name))
        check_number("release_rate", self.release_rate, shapes=((),))
        check_number("deadline", self.deadline, shapes=((), (self.num_blocks,)))
        check_range("device_rate_range", self.device_rate_range)
        if self.link_capacity is not None:
            check_number("link_capacity", self.link_capacity, exclusive=True, shapes=((),))
        for name, known in (("of_network", OF_NETWORK), ("of_scenario", of_scenario(scenario))):
            pairs = getattr(self, name)
            if not isinstance(pairs, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
                raise ValueError(f"{name} must be a mapping from names to values; got {shown(pairs)}")
            for constant, _ in pairs:
                check_choice(name, constant, known)
        if self.edge_network is not None:
            check_type("edge_network", self.edge_network, Network)
            for name in ("device_rate_range", "link_capacity", "of_network"):
                if getattr(self, name) != getattr(Setting, name):
                    raise ValueError(f"{name} must not be given beside edge_network; got {shown(getattr(self, name))}")
        for entry in fields(self):
            try:
                hash(getattr(self, entry.name))
            except TypeError:
                given = shown(getattr(self, entry.name))
                raise ValueError(f"{entry.name} must be plain numbers or tuples of them; got {given}") from None

    @property
    def told(self) -> list[str]:
        """What differs from the defaults, for readers."""
        given = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        flat = dict(given.pop("of_network")) | dict(given.pop("of_scenario"))
        return [f"{name}={value}" for name, value in (given | flat).items() if value != getattr(Setting, name, None)]

    def padded_servers(self, sizes: Sequence[int] = PADDED_SERVERS) -> int:
        """The number of servers that drawn networks are padded to: the least of `sizes` that is enough, if one is."""
        if self.edge_network is not None:
            return self.num_servers
        return min((size for size in sizes if size >= self.num_servers), default=self.num_servers)

    def build(self, scenario: str, seed: int, *, sizes: Sequence[int] = PADDED_SERVERS) -> Scenario:
        """The scenario of this setting on the network of `seed`, padded to one of `sizes` by servers that do not exist.

        **Raises:** `ValueError` for a setting that cannot be; under `jax.eval_shape`, without compiling anything.
        """
        self.check(scenario)
        check_count("seed", seed, minimum=0)
        return self.drawn(scenario, jax.random.key(seed), self.padded_servers(sizes))

    def drawn(self, scenario: str, key: PRNGKeyArray, servers: int) -> Scenario:
        """The scenario on the network that the key of a seed draws, padded to so many; of a setting that is checked."""
        network = self.edge_network
        if network is None:
            rates = self.device_rate_range
            if self.link_capacity is not None:
                rates = (self.link_capacity * 1e6 / 8,) * 2
            network = sample_network(
                jax.random.fold_in(key, 0),
                self.num_servers,
                pad_to=servers,
                device_rate_range=rates,
                **dict(self.of_network),
            )
        tasks = workload(self.network, self.num_blocks)
        return SCENARIOS[scenario](tasks, network, self.release_rate, self.deadline, **dict(self.of_scenario))


@dataclass(frozen=True, eq=False)
class Given:
    """A scenario of one's own in the place of a `Setting`: on its one network, seeds draw channels alone.

    - `slots`: that runs are evaluated on, [T], instead of those that their seeds draw.
    """

    scenario: Scenario
    slots: Slot | None = None

    told: ClassVar[list[str]] = ["a scenario of one's own"]

    def build(self, scenario: str, seed: int, *, sizes: Sequence[int] = ()) -> Scenario:
        """The scenario, as it is."""
        return self.scenario


@lru_cache(maxsize=1024)
def built(setting: Setting | Given, scenario: str, seed: int, *, sizes: tuple[int, ...]) -> Scenario:
    """`setting.build`, which for one setting and seed is needed by every method."""
    return setting.build(scenario, seed, sizes=sizes)


@lru_cache(maxsize=1024)
def outline(setting: Setting | Given, scenario: str, *, sizes: tuple[int, ...] = PADDED_SERVERS) -> Scenario:
    """`setting.build` of any seed with shapes for arrays: makes every check, and compiles nothing."""
    return jax.eval_shape(partial(setting.build, scenario, 0, sizes=sizes))
