"""What became of a batch, and what its figures answer."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from mecpart.comparison import DELAY_FIGURES, answer, headline_table
from mecpart.comparison.words import figure_words
from mecpart.experiments.progress import duration
from mecpart.reproduction.notebooks import Run


@dataclass(frozen=True)
class Outcome:
    """What became of one run: `done` now, `kept` from before, `failed`, or `not run` for want of a need."""

    run: Run
    status: Literal["done", "kept", "failed", "not run"]
    seconds: float = 0.0
    reason: str = ""

    @property
    def finished(self) -> bool:
        return self.status in ("done", "kept")

    def __str__(self) -> str:
        taken = f" after {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.run}: {self.status}{taken}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Summary:
    """What became of a batch; `answers` are the headline in one sentence, for each scenario in which there is one."""

    outcomes: tuple[Outcome, ...]
    output: Path
    seconds: float
    answers: dict[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether every notebook ran to its end."""
        return all(outcome.finished for outcome in self.outcomes)

    def __str__(self) -> str:
        counts = {
            status: sum(outcome.status == status for outcome in self.outcomes)
            for status in ("done", "kept", "failed", "not run")
        }
        told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        lines = [
            f"Of {len(self.outcomes)} notebook{'s' * (len(self.outcomes) > 1)} {told}, in {duration(self.seconds)}."
        ]
        for outcome in self.outcomes:
            if not outcome.finished:
                lines.append(f"  {outcome}")
        profile = self.outcomes[0].run.profile
        places = {
            "Tables:   ": self.output / "data" / "results" / profile,
            "Figures:  ": self.output / "figures" / profile,
            "Notebooks:": self.output / "build" / "notebooks" / profile,
        }
        lines += [f"{what} {place}" for what, place in places.items() if place.exists()]
        return "\n".join(lines)


def headline(results: Path, finished: Collection[str]) -> tuple[str, str]:
    """Does the paper's method have less delay: the answer of those delay figures that are finished, in one sentence.

    **Arguments:** `results`: the folder with the results of a profile and scenario; `finished`: names of notebooks.

    **Returns:** (the figures in words, the sentence), both empty if there are no such figures.
    """
    figures = [name for name in DELAY_FIGURES if name in finished and (results / f"{name}.csv").exists()]
    if not figures:
        return "", ""
    table = headline_table(pd.concat([pd.read_csv(results / f"{name}.csv") for name in figures]))
    return figure_words(figures), next(iter(answer(table)), "")
