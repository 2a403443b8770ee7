"""What a batch tells the kernels of its notebooks, whose code says only what a reader is to see.

A notebook calls `run_experiment("fig8", profile, scenario)`. How many processes that may use, and where runs are kept,
is for the batch to say, and it says so to the processes that it starts, in one environment variable. An argument that a
caller gives wins over it; in your own code, give arguments.
"""

import json
import os
from dataclasses import asdict, dataclass
from functools import cache

#: The environment variable: a JSON object of fields of `Context`.
VARIABLE = "MECPART_CONTEXT"


@dataclass(frozen=True)
class Context:
    """Where and how this process computes, as far as it was told.

    - `processes`: that an experiment may use.
    - `scheduler`: address of the Dask scheduler whose workers compute the runs instead.
    - `runs_folder`: where the runs of learners are kept.
    - `methods_file`: a Python file that registers methods of one's own.
    - `world`: by which constants (`mecpart.experiments.worlds`).
    - `progress_file`: where an experiment tells how far it is (`mecpart.experiments.progress`).
    """

    processes: int | None = None
    scheduler: str | None = None
    runs_folder: str | None = None
    methods_file: str | None = None
    world: str | None = None
    progress_file: str | None = None

    def variables(self) -> dict[str, str]:
        """The environment of a process that is to have this context."""
        return {VARIABLE: json.dumps({name: value for name, value in asdict(self).items() if value is not None})}


def current() -> Context:
    """The context of this process; empty unless a batch has started it.

    **Raises:** `ValueError` if the variable holds anything else.
    """
    return _read(os.environ.get(VARIABLE) or "{}")


@cache
def _read(text: str) -> Context:
    try:
        context = Context(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{VARIABLE} must be a JSON object of {', '.join(asdict(Context()))}; got {text}") from error
    if context.processes is not None and (type(context.processes) is not int or context.processes < 1):
        raise ValueError(f"processes in {VARIABLE} must be a whole number of at least 1; got {context.processes!r}")
    for name, value in asdict(context).items():
        if name != "processes" and value is not None and (not isinstance(value, str) or not value):
            raise ValueError(f"{name} in {VARIABLE} must be a text; got {value!r}")
    return context
