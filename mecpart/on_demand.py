"""Public names that are imported when they are first asked for, so that nobody waits for what they do not use."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def import_on_demand(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list]]:
    """The functions `__getattr__` and `__dir__` of a package whose public names stand in its modules (PEP 562).

    - `package`: its `__name__`.
    - `modules`: the public names in each of its modules, by the module's name below the package; the module itself is
      public where that list is empty.
    """
    homes = {name: module for module, names in modules.items() for name in names}
    places = vars(sys.modules[package])

    def find(name: str) -> Any:
        if name in homes:
            value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        elif name in modules and not modules[name]:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        places[name] = value
        return value

    return find, lambda: sorted({*places, *places["__all__"]})
