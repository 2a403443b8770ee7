"""Results made up by simple rules, so that what follows from them is known by hand."""

import numpy as np
import pandas as pd

from mecpart.comparison import BASELINES, PROPOSED

METHODS = (PROPOSED, *BASELINES)
LEVEL = {PROPOSED: 1.0, "A3C": 1.25, "Distributed DQN": 2.0, "Greedy": 2.5, "APDI": 4.0, "RPDI": 5.0}


def results(
    level: dict[str, float],
    *,
    seeds: int = 6,
    xs: tuple[float, ...] = (2, 4, 6),
    local_share: float = 0.25,
    noise: float = 0.0,
    figure: str = "fig8",
    scenario: str = "as_printed",
) -> pd.DataFrame:
    """Tidy results: a method's total delay is its level times a factor of the seed and a falling one of x."""
    draw = np.random.default_rng(7)
    rows = []
    for seed in range(seeds):
        for method, factor in level.items():
            for x in xs:
                total = 1000.0 * (1 + seed / 10) * (1 - x / 20) * factor * (1 + noise * draw.normal())
                optimum = 1000.0 * (1 + seed / 10) * (1 - x / 20)
                rows.append(
                    {
                        "figure": figure,
                        "scenario": scenario,
                        "method": method,
                        "seed": seed,
                        "x_name": "num_servers",
                        "x": float(x),
                        "total_delay_s": total,
                        "edge_delay_s": (1 - local_share) * total,
                        "local_delay_s": local_share * total,
                        "energy_j": 10 * total,
                        "reward": -total,
                        "optimal_total_delay_s": optimum,
                    }
                )
    return pd.DataFrame(rows)


def learning_curve(settle: dict[str, float], episodes: float = 3000.0, seeds: int = 6) -> pd.DataFrame:
    """Rewards that rise in a line from -2 to -1 over the episodes given, then stay; RPDI stays at -2."""
    windows = np.arange(100, episodes + 1, 100)
    return pd.DataFrame(
        [
            {
                "figure": "fig6",
                "scenario": "as_printed",
                "method": method,
                "seed": seed,
                "x_name": "episode",
                "x": x,
                "reward": -2.0 if method == "RPDI" else -2 + min(1.0, (x - 100) / (settle.get(method, 200) - 100)),
            }
            for seed in range(seeds)
            for method in METHODS
            for x in windows
        ]
    )


def headline_row(table: pd.DataFrame, baseline: str, averaging: str = "mean of ratios", metric: str = "total_delay_s"):
    return table.query("baseline == @baseline and averaging == @averaging and metric == @metric").iloc[0]
