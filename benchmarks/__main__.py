"""Measure the speed of mecpart: `make benchmark`, or `python benchmarks` in the environment of the package.

All figures come from one run, so that their ratios mean something; absolute ones move by a factor of two between
machines and hours. `README.md` beside this file says what each of them is.
"""

import json
import os
import platform
from dataclasses import replace
from pathlib import Path

import devices
import flops
import jax
import pandas as pd
import start
from measurements import (
    Processes,
    dealt,
    default_slots,
    env_steps,
    environment,
    matrix_products,
    optimum,
    products_alone,
    runs_of,
    streams,
)

from mecpart.agents import AGENTS
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.processes import cores
from mecpart.experiments.programs import program_of
from mecpart.experiments.runner import PROFILES
from mecpart.experiments.setting import Setting
from mecpart.measurements.machine import processor

SEEDS = PROFILES["paper"].seeds
#: Each takes a second or so with all seeds on two cores. More than `FEW_EPISODES`, or they would be compiled
#: with the least effort.
EPISODES = {"Proposed": 128, "A3C": 40, "Distributed DQN": 128}
#: Rounds of their matrix products alone, about as long.
PRODUCTS = {"Proposed": 400, "A3C": 200}
#: The methods whose cost is followed as runs grow, and in which direction.
GROWING = ("Proposed", "A3C")
SEED_COUNTS, SERVERS, BLOCKS = (1, 2, 5, 10, 20), (2, 4, 6, 9), (3, 6, 12, 21)
#: Of what takes several seconds, or is only followed for its trend.
FEW = 3


def main() -> None:
    # Times of compilation must not come from a cache that the user happens to keep.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    report = Report()
    for name, program in start.PROGRAMS.items():
        report.note(name, start.cpu_seconds(program), "CPU seconds")
    with Processes(len(cores())) as processes:
        measure_parts(report, processes)
        measure_training(report, processes)
        measure_stable_baselines(report)
        measure_growth(report, processes)
        # Tables and ratios mean something only if the machine stayed what it was.
        report.note("matrix products, again at the end", matrix_rate(processes), "GFLOP/s")
    report.write(Path("build") / "benchmarks.json")


class Report:
    """What was measured, printed as soon as it is known."""

    def __init__(self) -> None:
        self.figures: dict[str, dict] = {}
        self.tables: dict[str, dict] = {}

    def note(self, name: str, value: float, unit: str) -> None:
        """Add one figure."""
        self.figures[name] = {"value": value, "unit": unit}
        print(f"{name:<55} {value:>14,.{0 if value >= 1000 else 2}f} {unit}", flush=True)

    def table(self, name: str, columns: dict[str, dict]) -> None:
        """Add a table: a column for each key."""
        self.tables[name] = columns
        print(f"\n{name}\n{pd.DataFrame(columns).to_string(float_format='{:.2f}'.format)}", flush=True)

    def write(self, target: Path) -> None:
        """Write everything as JSON."""
        machine = {
            "cores": len(cores()),
            "cpu": processor(),
            "python": platform.python_version(),
            "jax": jax.__version__,
        }
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps({"machine": machine, "figures": self.figures, "tables": self.tables}, indent=1))
        print(f"\nwritten to {target}: {machine}")


def measure_parts(report: Report, processes: Processes) -> None:
    """The environment and the exact optimum on their own, and what the machine can do at best."""
    seconds = processes.seconds(environment, 2048, 64)
    report.note("environment alone, given plans", len(processes) * 2048 * 64 / seconds, "slots/s")
    seconds = processes.seconds(optimum, 65536)
    report.note("optimal_plan, N=4, M=6", len(processes) * 65536 / seconds, "slots/s")
    seconds = processes.seconds(devices.tables, 65536)
    report.note("optimal_plan by measured times, N=4, M=6", len(processes) * 65536 / seconds, "tables/s")
    report.note("optimal_plan, Scission's 18 networks and 2 link tables", processes.seconds(devices.scission), "s")
    report.note("optimal_pipeline, DNNPipe's 273 units", processes.seconds(devices.dnnpipe), "s")
    seconds = processes.seconds(streams, 65536)
    report.note("evaluate_plan in pipelined, N=4, M=6", len(processes) * 65536 / seconds, "plans/s")
    report.note("matrix products", matrix_rate(processes), "GFLOP/s")


def matrix_rate(processes: Processes) -> float:
    """GFLOP/s of large matrix products, all processes together."""
    size, count = 1024, 20
    return len(processes) * count * 2 * size**3 / processes.seconds(matrix_products, size, count) / 1e9


def measure_training(report: Report, processes: Processes) -> None:
    """Training at the defaults, how much of the machine it uses, and training over the settings of Fig. 8."""
    for method, episodes in EPISODES.items():
        runs = runs_of(method, episodes, SEEDS)
        rate = env_steps(runs) / processes.training_seconds(dealt(runs, len(processes)))
        report.note(f"training {method}, {SEEDS} seeds", rate, "steps/s")
    scenario, _ = default_slots()
    ratio = flops.check_against_xla(AGENTS["Proposed"], scenario)
    report.note("XLA's count of a gradient's operations / ours", ratio, "times")
    reached = report.figures[f"training Proposed, {SEEDS} seeds"]["value"]
    reached *= flops.training_flops(AGENTS["Proposed"], scenario) / 1e9
    report.note("matrix products within training Proposed", reached, "GFLOP/s")
    share = 100 * reached / report.figures["matrix products"]["value"]
    report.note("their share of the rate of matrix products alone", share, "percent")
    for method, rounds in PRODUCTS.items():
        agent = AGENTS[method]
        steps = rounds * agent.workers * agent.t_max
        alone = 1e6 * processes.seconds(products_alone, method, rounds) / steps
        report.note(f"{method}'s matrix products without all else", alone, "us of a core per environment step")
        whole = 1e6 * len(processes) / report.figures[f"training {method}, {SEEDS} seeds"]["value"]
        report.note(f"training {method}", whole, "us of a core per environment step")

    settings = [point.setting for point in EXPERIMENTS["fig8"].points("as_printed")]
    runs = runs_of("Proposed", EPISODES["Proposed"], SEEDS, settings)
    rate = env_steps(runs) / processes.training_seconds(dealt(runs, len(processes)), FEW)
    report.note(f"training Proposed over Fig. 8, {SEEDS} seeds", rate, "steps/s")


def measure_growth(report: Report, processes: Processes) -> None:
    """Microseconds of a core for each environment step, while all processes do the same, as one size grows."""

    def cost(runs):
        return 1e6 * processes.training_seconds([runs] * len(processes), FEW) / env_steps(runs)

    def both(runs_of_size, sizes):
        return {
            method: {size: cost(runs_of_size(method, EPISODES[method], size)) for size in sizes} for method in GROWING
        }

    def with_servers(method, episodes, size):
        return runs_of(method, episodes, 2, [replace(Setting(), num_servers=size)])

    def with_blocks(method, episodes, size):
        return runs_of(method, episodes, 2, [replace(Setting(), num_blocks=size)])

    unit = "us of a core per environment step"
    report.table(f"seeds one after the other in each process: {unit}", both(runs_of, SEED_COUNTS))
    report.table(f"edge servers N: {unit}", both(with_servers, SERVERS))
    report.table(f"blocks M: {unit}", both(with_blocks, BLOCKS))
    first_calls = {
        method: {
            size: processes.compile_seconds[program_of(with_blocks(method, EPISODES[method], size)[0]).key]
            for size in BLOCKS
        }
        for method in GROWING
    }
    report.table("blocks M: seconds to compile", first_calls)

    def shared_by(method, count):
        runs = runs_of(method, EPISODES[method], SEEDS)
        return 1e6 * count * processes.training_seconds(dealt(runs, count), FEW) / env_steps(runs)

    counts = [count for count in (1, 2, 4, 8, 16, 32) if count <= len(processes)]
    shared = {method: {count: shared_by(method, count) for count in counts} for method in GROWING}
    report.table(f"processes that share {SEEDS} seeds: {unit}", shared)
    print()


def measure_stable_baselines(report: Report) -> None:
    """Stable-Baselines3's A2C on the same problem, if it is there."""
    try:
        import sb3
    except ImportError as error:
        print(f"Stable-Baselines3 was not measured: {error}")
        return
    scenario, _ = default_slots()
    sb3.check_against_mecpart(scenario)
    theirs = sb3.steps_per_second(scenario)
    report.note("Stable-Baselines3 A2C, 8 environments x 32 steps", theirs, "steps/s")
    ours = report.figures[f"training Proposed, {SEEDS} seeds"]["value"]
    report.note("Proposed / Stable-Baselines3", ours / theirs, "times")


if __name__ == "__main__":
    main()
