"""Work: which runs have still to be computed, who computes them, and that they are kept as they finish."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import jax

from mecpart.experiments import cluster
from mecpart.experiments.kept import keep, kept
from mecpart.experiments.processes import spread
from mecpart.experiments.programs import perform, program_of, side_by_side
from mecpart.experiments.progress import progress
from mecpart.experiments.runs import Costs, Run
from mecpart.files import sweep

#: Slots that a process runs before what it has done is kept, about.
SLOTS_PER_BATCH = 200_000


def complete(
    wanted: Iterable[Run], processes: int, scheduler: str | None, folder: Path | None, what: str
) -> dict[Run, Costs]:
    """The costs of all runs: those that have been kept in `folder`, and the others computed.

    **Raises:** `OSError` if there can be no such folder, before anything runs.
    """
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    wanted = tuple(dict.fromkeys(wanted))
    costs = {run: found for run in wanted if folder and run.keepable and (found := kept(folder, run))}
    with progress(what, len(wanted), len(costs)) as tell:
        for batch, new in _computed(_batches([run for run in wanted if run not in costs]), processes, scheduler):
            costs |= zip(batch, new, strict=True)
            for run in batch:
                if folder and run.keepable:
                    keep(folder, run, costs[run])
            tell(len(costs))
    return costs


def _batches(runs: Iterable[Run]) -> dict[Hashable, list[tuple[Run, ...]]]:
    """Runs in pieces by the program that they need, in the order in which to begin.

    All of a program at once for an accelerator, else so that stopping loses but a little. Code of one's own comes
    first, since it is what may fail; then what takes long, so that nothing long comes last.
    """
    work: dict[str, list[Run]] = {}
    for run in runs:
        work.setdefault(program_of(run).key, []).append(run)

    def place(key: str) -> tuple[bool, float]:
        first = work[key][0]
        return first.of.of_package, -(first.trained or 1e-3) * first.num_slots * len(work[key])

    def pieces(runs: list[Run]) -> list[tuple[Run, ...]]:
        size = len(runs)
        if jax.default_backend() == "cpu":
            slots = max(1, runs[0].trained) * runs[0].num_slots
            size = max(1, SLOTS_PER_BATCH // slots) * jax.local_device_count()
        return [tuple(runs[start : start + size]) for start in range(0, len(runs), size)]

    return {key: pieces(work[key]) for key in sorted(work, key=place)}


def _computed(
    batches: Mapping[Hashable, Sequence[tuple[Run, ...]]], processes: int, scheduler: str | None
) -> Iterator[tuple[tuple[Run, ...], list[Costs]]]:
    if scheduler:
        return cluster.spread(perform, batches, scheduler, describe=_told)
    if processes == 1 or side_by_side():
        return ((batch, perform(batch)) for pieces in batches.values() for batch in pieces)
    return spread(perform, batches, processes, describe=_told)


def _told(batch: Sequence[Run]) -> str:
    return f"the run {batch[0]}" if len(batch) == 1 else f"one of these {len(batch)} runs: {'; '.join(map(str, batch))}"
