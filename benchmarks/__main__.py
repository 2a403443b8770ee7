"""Measure the speed of mecpart: `make benchmark`, or `python benchmarks` in the environment of the package.

All figures come from one run, so that their ratios mean something; absolute ones move by a factor of two between
machines and hours. Each is the median of several repetitions after one to warm up.
"""

import json
import platform
from pathlib import Path

import jax
from measurements import EPISODES, SEEDS, default_slots, environment, matrix_rate, optimum, rate, training_rate

from mecpart.experiments import _cores, _pool


def main() -> None:
    processes = len(_cores())
    figures = {}

    def note(name: str, value: float, unit: str) -> None:
        figures[name] = {"value": value, "unit": unit}
        print(f"{name:<55} {value:>14,.0f} {unit}", flush=True)

    with _pool(processes) as pool:
        note("matrix products", rate(pool, processes, matrix_rate, count=20 * 1024**3) / 1e9, "GFLOP/s")
        for method, episodes in (("Proposed", EPISODES), ("A3C", EPISODES // 5), ("Distributed DQN", EPISODES)):
            episodes -= episodes % 8
            note(f"training {method}, {SEEDS} seeds", training_rate(pool, processes, method, episodes), "steps/s")
        note("environment alone, given plans", rate(pool, processes, environment, 2048, 64, count=2048 * 64), "slots/s")
        note("optimal_plan, N=4, M=6", rate(pool, processes, optimum, 65536, count=65536), "slots/s")
    try:
        import sb3
    except ImportError as error:
        print(f"Stable-Baselines3 was not measured: {error}")
    else:
        scenario, _ = default_slots()
        sb3.check_against_mecpart(scenario)
        note("Stable-Baselines3 A2C, 8 environments x 32 steps", sb3.steps_per_second(scenario), "steps/s")
        proposed = figures[f"training Proposed, {SEEDS} seeds"]["value"]
        ratio = proposed / figures["Stable-Baselines3 A2C, 8 environments x 32 steps"]["value"]
        note("Proposed / Stable-Baselines3", ratio, "times")
    machine = {"cores": processes, "cpu": _cpu(), "python": platform.python_version(), "jax": jax.__version__}
    target = Path("build") / "benchmarks.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"machine": machine, "figures": figures}, indent=1))
    print(f"written to {target}: {machine}")


def _cpu() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
