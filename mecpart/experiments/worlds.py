"""Worlds: sets of constants under which everything can be run, in the place of the ledger's.

They are kept in `data/worlds.json` with how they came about: for each name and scenario what is different (`network`,
`scenario`: arguments of a `Change`) and `made`. `mecpart.comparison.nearest` makes the world that is called nearest.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mecpart.experiments.experiment import Change
from mecpart.experiments.setting import Setting
from mecpart.files import write_atomically
from mecpart.locations import data_folder
from mecpart.model.scenarios import SCENARIOS
from mecpart.validation import check_choice

#: The world in which every constant is the ledger's.
LEDGERS = "ledger"


def _file() -> Path:
    return data_folder() / "worlds.json"


def kept_worlds() -> dict[str, dict[str, dict[str, Any]]]:
    """What the file holds: for each world and scenario `network`, `scenario` and `made`."""
    return json.loads(_file().read_text(encoding="utf-8"))


def check_world(name: str, *scenarios: str) -> None:
    """Raise `ValueError` unless there is such a world in every one of `scenarios`."""
    worlds = kept_worlds()
    check_choice("world", name, (LEDGERS, *worlds))
    for scenario in scenarios:
        if name != LEDGERS and scenario not in worlds[name]:
            where = ", ".join(map(repr, worlds[name]))
            raise ValueError(f"world must be {LEDGERS!r} in {scenario!r}; got {name!r}, which there is in {where}")


def world_of(name: str, scenario: str) -> Change:
    """What is different in a world.

    **Raises:** `ValueError` for an unknown name, answered with those that there are, or a world that there is not in
    this scenario.
    """
    check_choice("scenario", scenario, SCENARIOS)
    check_world(name, scenario)
    if name == LEDGERS:
        return Change()
    kept = kept_worlds()[name][scenario]
    parts = {
        part: {constant: tuple(value) if isinstance(value, list) else value for constant, value in kept[part].items()}
        for part in ("network", "scenario")
    }
    return Change(words=f"{name} world", **parts)


def world_words(name: str, scenario: str) -> str:
    """A world and its constants, for readers."""
    return f"{name} ({', '.join(world_of(name, scenario).to(Setting()).told)})"


def world_folder(output: Path, name: str) -> Path:
    """Where the results of a world go below an output folder: the ledger's into itself."""
    return output if name == LEDGERS else output / "worlds" / name


def keep_world(name: str, scenario: str, different: Change, made: Mapping[str, Any]) -> None:
    """Write a world into the file, in place of the one of that name and scenario."""
    worlds = kept_worlds() if _file().exists() else {}
    setting = different.to(Setting())
    kept = {"network": dict(setting.of_network), "scenario": dict(setting.of_scenario), "made": dict(made)}
    worlds[name] = worlds.get(name, {}) | {scenario: kept}
    text = json.dumps(worlds, indent=1) + "\n"
    write_atomically(_file(), lambda path: path.write_text(text, encoding="utf-8"))
