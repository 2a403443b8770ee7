"""An experiment as data: what is swept, what is fixed, which curves there are, and which methods take part."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mecpart.dnn.workload import LayerTable
from mecpart.experiments.setting import OF_NETWORK, Given, Setting, of_scenario
from mecpart.methods.method import Method
from mecpart.methods.register import METHODS, methods_in
from mecpart.model.network import Network
from mecpart.model.rules import RULES
from mecpart.model.scenarios import SCENARIOS
from mecpart.validation import check_choice, check_names, check_type, shown

# What can be changed, by what it is a constant of: the fields of a setting, and the other arguments.
_WORKLOAD = ("network", "num_blocks")
_NETWORK = ("num_servers", "device_rate_range", "link_capacity")
_SCENARIO = ("release_rate", "deadline")
_OF_SCENARIOS = tuple(dict.fromkeys(name for scenario in SCENARIOS for name in of_scenario(scenario)))
_OF_METHODS = tuple(dict.fromkeys(name for method in METHODS.values() for name in method.settings))
_KNOWN = {
    "workload": _WORKLOAD,
    "network": (*_NETWORK, *OF_NETWORK),
    "scenario": (*_SCENARIO, *_OF_SCENARIOS),
    "method": _OF_METHODS,
}


@dataclass(frozen=True)
class Change:
    """What is different: of the workload, of the network, of the scenario, of the methods; each constant by its name.

    - `workload`: `network` (the DNN), `num_blocks`.
    - `network`: `num_servers`, `device_rate_range`, `link_capacity`, and the other arguments of `sample_network`; or a
      `Network`, which then is that of all seeds.
    - `scenario`: `release_rate`, `deadline`, and the other arguments of the scenario. There is no such curve in
      scenarios that do not have them.
    - `method`: settings (`Method.settings`), of those methods that have them. There is no such curve where none has.
    - `words`: what readers call it; by default its name in the experiment.

    **Raises:** `ValueError` for an unknown name, answered with what there is.
    """

    workload: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] | Network = field(default_factory=dict)
    scenario: Mapping[str, Any] = field(default_factory=dict)
    method: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""

    def __post_init__(self):
        for part, known in _KNOWN.items():
            given = getattr(self, part)
            if part == "network" and isinstance(given, Network):
                continue
            if not isinstance(given, Mapping):
                raise ValueError(f"{part} must be a mapping from names to values; got {shown(given)}")
            for name in given:
                check_choice(part, name, known)
        if not isinstance(self.words, str):
            raise ValueError(f"words must be a text; got {shown(self.words)}")

    def to(self, setting: Setting) -> Setting:
        """The setting with what is different."""
        found: dict[str, Any] = dict(self.workload)
        if isinstance(self.network, Network):
            found["edge_network"] = self.network
        else:
            found |= {name: value for name, value in self.network.items() if name in _NETWORK}
            found["of_network"] = dict(setting.of_network) | _without(self.network, _NETWORK)
        found |= {name: value for name, value in self.scenario.items() if name in _SCENARIO}
        found["of_scenario"] = dict(setting.of_scenario) | _without(self.scenario, _SCENARIO)
        return replace(setting, **found)

    def exists_in(self, scenario: str, methods: Iterable[Method]) -> bool:
        """Whether a scenario with these methods has what is different."""
        here = {*_SCENARIO, *of_scenario(scenario)}
        settings = {name for method in methods for name in method.settings}
        if not self.scenario.get("queues", RULES[scenario].queues):
            settings -= _OF_QUEUES
        return here.issuperset(self.scenario) and (not self.method or not settings.isdisjoint(self.method))


#: Settings of methods that change nothing where no slot waits for another.
_OF_QUEUES = {"queue_price"}


def _without(changes: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name not in names}


def change(name: str, value: Any) -> Change:
    """The change of one constant, whatever it is a constant of.

    **Raises:** `ValueError` for an unknown name, answered with all that there are.
    """
    check_choice("constant", name, changeable())
    part = next(part for part, known in _KNOWN.items() if name in known)
    made: dict[str, Any] = {part: {name: value}}
    return Change(**made)


def changeable() -> tuple[str, ...]:
    """The names of all that an experiment can change."""
    return tuple(name for known in _KNOWN.values() for name in known)


@dataclass(frozen=True)
class Point:
    """One point of an experiment: where on which curve, in which setting, by methods with which changes."""

    series: str
    x: Any
    setting: Setting | Given
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """One figure as data.

    A sweep trains anew at each of `xs`, a value of the constant `x_name` (of a workload, a network, a scenario or a
    method), and then runs one fresh episode. With `x_name` "episode" the training itself is shown, averaged over
    windows of episodes. Layer tables among `xs` appear in the results by their names.

    - `fixed`: all other constants.
    - `methods`: those that take part; by default all that the scenario has, registered ones included.
    - `series`: where a figure has several curves of one method, the name of each and what it changes. Results then have
      a column `setting` with the name.
    - `brief`: those of `xs`, or names of `series`, that are enough to see everything run (`Profile.brief`); all where
      none of them is named.

    **Raises:** `ValueError` for a field of wrong type; without `xs` to sweep, or with one twice. Names of methods are
    checked when it runs: until then more can be registered.
    """

    name: str
    title: str
    x_name: str
    x_label: str
    xs: tuple = ()
    fixed: Setting = Setting()
    methods: tuple[str, ...] | None = None
    series: Mapping[str, Change] = field(default_factory=dict)
    brief: tuple = ()

    def __post_init__(self):
        check_names("name", self.name)
        if self.name.startswith(".") or not set(self.name).isdisjoint('/\\:*?"<>|') or len(self.name.encode()) > 100:
            raise ValueError(
                'name must be one that files can have: up to 100 bytes, none of them / \\ : * ? " < > |, and no dot at '
                f"its beginning; got {self.name!r}"
            )
        for name in ("title", "x_label"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be a text; got {shown(getattr(self, name))}")
        check_choice("x_name", self.x_name, ["episode", *changeable()])
        check_type("fixed", self.fixed, Setting)
        kinds = {"xs": (tuple, "a tuple"), "series": (Mapping, "a mapping from names to changes")}
        for name, (kind, what) in (kinds | {"brief": kinds["xs"]}).items():
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} must be {what}; got {shown(getattr(self, name))}")
        xs = tuple(map(shown_x, self.xs))
        if not self.convergence and (not xs or len(set(xs)) < len(xs)):
            raise ValueError(f"xs must hold at least one value of {self.x_name}, each once; got {xs}")
        check_names("xs", *(x.name for x in self.xs if isinstance(x, LayerTable)))
        if self.methods is not None:
            check_methods(self.methods, self.methods if isinstance(self.methods, tuple) else ())
        check_names("series", *self.series)
        for name, different in self.series.items():
            check_type(f"series[{name!r}]", different, Change)

    @property
    def convergence(self) -> bool:
        """Whether the training itself is shown."""
        return self.x_name == "episode"

    def points(self, scenario: str, brief: bool = False) -> list[Point]:
        """The points that there are in a scenario; only those on `self.brief`, where that is asked for.

        **Raises:** `ValueError` if there is none.
        """
        known = methods_in(scenario)
        methods = [known[name] for name in self.methods or known if name in known]
        found: list[Point] = []
        kept = self.brief if brief else ()
        for name, different in (self.series or {"": Change()}).items():
            if not different.exists_in(scenario, methods) or _left_out(name, kept, self.series):
                continue
            setting = different.to(self.fixed)
            if self.convergence:
                found.append(Point(name, "episode", setting, different.method))
            for x in () if self.convergence else self.xs:
                if _left_out(x, kept, self.xs):
                    continue
                here = change(self.x_name, x)
                found.append(Point(name, x, here.to(setting), {**different.method, **here.method}))
        if not found:
            have = dict.fromkeys((*of_scenario(scenario), *(name for method in methods for name in method.settings)))
            given = [name for made in self.series.values() for name in (*made.scenario, *made.method)]
            raise ValueError(
                f"series of {self.name} must change what {scenario!r} or its methods have, such as "
                f"{', '.join(map(repr, have))}; got {', '.join(map(repr, given))}"
            )
        return found


def _left_out(one: Any, kept: Sequence, of: Collection) -> bool:
    """Whether some `of` these are kept, but not this one."""
    return one not in kept and any(each in of for each in kept)


def shown_x(x: Any) -> Any:
    """A value of `xs` in a table."""
    return x.name if isinstance(x, LayerTable) else x


def check_methods(methods: Sequence[str], known: Iterable[str], scenario: str = "") -> None:
    """Raise `ValueError` unless `methods` is a sequence of at least one name out of `known`: all, or a scenario's."""
    if isinstance(methods, str) or not isinstance(methods, Sequence) or not methods:
        raise ValueError(f"methods must be at least one of {', '.join(map(repr, known))}; got {shown(methods)}")
    for method in methods:
        check_choice(f"methods{scenario and f' in {scenario}'}", method, known)
