"""How long somebody waits who begins: CPU seconds of new processes, without a compilation cache."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

REPEATS = 5
README = Path(__file__).parents[1] / "README.md"


def first_optimum() -> str:
    """The README's first program, as far as its first optimum."""
    block = README.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    lines = block.splitlines()
    last = next(at for at, line in enumerate(lines) if "optimal_plan(" in line)
    return "\n".join([*lines[: last + 1], "best.total_delay.block_until_ready()"])


#: What is begun with; JAX alone for comparison.
PROGRAMS = {
    "import jax": "import jax",
    "import mecpart, with JAX and what evaluates plans": "from mecpart import evaluate_plan, optimal_plan, workload",
    "README to its first optimum": first_optimum(),
}


def cpu_seconds(program: str) -> float:
    """User and system time of a new Python that runs `program`, the median of `REPEATS`, after one to warm up."""
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    times = []
    for _ in range(REPEATS + 1):
        before = os.times()
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)
        after = os.times()
        times.append(after.children_user - before.children_user + after.children_system - before.children_system)
    return statistics.median(times[1:])
