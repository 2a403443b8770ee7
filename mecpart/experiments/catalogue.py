"""The figures of the paper, and what goes beyond them, as data. To add one of your own, add an `Experiment`:

EXPERIMENTS["my_sweep"] = Experiment(
    "my_sweep", "Delay against the deadline", x_name="deadline", x_label="deadline (s)", xs=(1.0, 5.0)
)
"""

from dataclasses import replace
from typing import Any

from mecpart.agents.networks import HEADS, SHARING
from mecpart.experiments.experiment import Change, Experiment, change
from mecpart.experiments.setting import Setting
from mecpart.ledger import LEDGER

_LEARNING_CURVE: dict[str, Any] = {"x_name": "episode", "x_label": "episode", "methods": ("Proposed",)}
# In brief: where the paper states percentages; of Fig. 10, where it states none, the ends and the default.
_SERVERS = Experiment(
    "fig8", "Delay against the number of edge servers", "num_servers", "edge servers N", tuple(range(2, 10)),
    brief=(3, 4, 6, 7),
)  # fmt: skip
_BLOCKS = Experiment(
    "fig9", "Delay against the number of blocks", "num_blocks", "blocks M", tuple(range(3, 22, 3)),
    brief=(3, 6, 9, 15, 18),
)  # fmt: skip
_RATE = Experiment(
    "fig10", "Delay against the release rate", "release_rate", "tasks per slot", tuple(map(float, range(30, 111, 10))),
    brief=(30.0, 60.0, 110.0),
)  # fmt: skip

# How plain A3C has to be trained under load (docs/limits.md).
_CAREFUL = {
    "advantage_scaling": True, "separate_clipping": True, "annealed": True, "gae_lambda": 0.8, "entropy_weight": 0.1,
    "learning_rate": 0.003,
}  # fmt: skip

# One part of the method is changed at a time from the grid's cell `branches soft`, which is Proposed.
_ABLATION = {
    **{
        f"{heads} {sharing}": Change(method={"heads": heads, "sharing": sharing})
        for heads in HEADS
        for sharing in SHARING
    },
    "synchronous": Change(method={"asynchronous": False}),
    "replay": Change(method={"replay_rollouts": 40}),
    "scaled": Change(method={"advantage_scaling": True}, words="advantages scaled"),
    **{f"lambda={value:g}": Change(method={"gae_lambda": value}, words=f"lambda {value:g}") for value in (0.8, 0.95)},
    "clipped apart": Change(method={"separate_clipping": True}, words="gradients clipped apart"),
    "annealed": Change(method={"annealed": True}, words="learning rates annealed"),
    "careful": Change(method=_CAREFUL, words="trained with care"),
    "careful sequential": Change(
        method=_CAREFUL | {"heads": "sequential", "sharing": "none"}, words="sequential none, trained with care"
    ),
    "discount=0": Change(method={"discount": 0.0}, words="discount 0"),
    "unshaped": Change(method={"queue_price": 0.0}, words="no price of queues"),
    **{
        f"weight={weight:g}": Change(method={"sharing_weight": weight}, words=f"weight {weight:g}")
        for weight in (1e-4, 1e-2, 1e-1)
    },
}

# The cells of which the notebook says a sentence, and the way of sharing that none of these has.
_ABLATION_IN_BRIEF = tuple(
    name
    for name in _ABLATION
    if name in ("sequential soft", "joint soft") or not name.startswith(("sequential", "joint"))
)

#: The ledger's constants that the paper does not state, and other values for each: the ends of a range that the paper
#: or its siblings name; else half and double, or three to ten times less and more where only the order of magnitude is
#: known. Slots are not of half and double length: in 3.5 s Myopic would keep up on 17 of 20 networks; in 5 s it does on
#: 19, and in 10 s one fast server carries nearly all. The energy budgets are spent within a few slots, and never.
WORLDS: dict[str, tuple] = {
    "server_speed_range": ((2e9, 6e9), (6e9, 18e9)),
    "device_frequency": (0.17e9, 0.68e9),
    "num_devices": (5, 20),
    "cycles_per_mac": (2.0, 8.0),
    "wired_rate": (12.5e6, 1.25e9),
    "transmit_power": (1.0, 1.5),
    "slot_seconds": (5.0, 10.0),
    "penalty": (0.1, 10.0),
    "energy_budget": (1e3, 1e7),
    "deadline": (2.5, 7.0),
    "arrivals": ("poisson",),
    "hidden": ((32, 32), (128, 128)),
    "rmsprop_decay": (0.9, 0.999),
    "rmsprop_epsilon": (1e-6, 1e-4),
    "max_gradient_norm": (0.25, 1.0),
    "entropy_weight": (0.003, 0.03),
    "sharing_weight": (1e-4, 1e-2),
    "queue_price": (0.5, 2.0),
    "initial_scale": (1e-5, 1e-3),
    "evaluation": ("greedy",),
    "exploration_fraction": (0.15, 0.6),
    "replay_size": (5_000, 20_000),
    "target_period": (50, 200),
    "step_range": ((0.005, 0.5), (0.02, 2.0)),
    "beam": (8, 32),
    "horizon": (4, 16),
    "patiences": ((1.5, 5.0, 15.0, 50.0), (6.0, 20.0, 60.0, 200.0)),
    "patience": (10.0, 40.0),
}

#: The chosen constants that are not varied, and why not.
NOT_VARIED = {
    "queue_scale": "of the observation, which agents saved or trained elsewhere must find as it was",
    "stitch": "where a way of sharing begins that no method has, only the ablation; it is learned from there on",
    "bound_steps": "an argument of `bound_prices`: a bound is certified whatever its prices, this only makes it tight",
    "bound_step_range": "as bound_steps",
    "bound_momentum": "as bound_steps",
    "relatives_batch": "of the learner of `mecpart.relatives`, which no experiment runs",
    "relatives_learning_rate": "as relatives_batch",
    "relatives_entropy_weight": "as relatives_batch",
    "times_variation": "of measured devices, which no experiment of the paper has",
}


def _world(name: str, value: Any) -> tuple[str, Change]:
    """A constant of the ledger with another value: how its curve is named, and what is different."""
    if isinstance(value, tuple):
        shown = ("x" if isinstance(value[0], int) else "..").join(f"{part:g}" for part in value)
    else:
        shown = value if isinstance(value, str) else f"{value:g}"
    return f"{name}={shown}", replace(change(name, value), words=f"{name.replace('_', ' ')} {shown}")


#: The experiments that there are, by name; one of your own is added here.
EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment("fig6", "Convergence: average reward per episode", "episode", "episode"),
        Experiment(
            "fig7a", "Convergence under four pairs of learning rates", **_LEARNING_CURVE,
            series={
                f"lr={actor:g} lr_v={critic:g}": Change(
                    method={"learning_rate": actor, "critic_learning_rate": critic},
                    words=f"learning rates {actor:g} and {critic:g}",
                )
                for actor in (0.01, 0.001) for critic in (0.01, 0.001)
            },
        ),
        Experiment(
            "fig7b", "Convergence with 2 to 8 workers", **_LEARNING_CURVE,
            series={
                f"workers={workers}": Change(method={"workers": workers}, words=f"{workers} workers")
                for workers in (8, 6, 4, 2)
            },
        ),
        Experiment(
            "fig7c", "Convergence with batches of 8 to 64", **_LEARNING_CURVE,
            series={
                f"batch={size}": Change(method={"t_max": size}, words=f"batches of {size}") for size in (64, 32, 16, 8)
            },
        ),
        _SERVERS,
        _BLOCKS,
        _RATE,
        replace(_SERVERS, name="fig11a", title="Energy against the number of edge servers"),
        replace(_BLOCKS, name="fig11b", title="Energy against the number of blocks"),
        replace(_RATE, name="fig11c", title="Energy against the release rate", xs=_RATE.xs[2:],
                brief=_RATE.brief[1:]),
        Experiment("fig12", "Delay against the tolerated delay", "deadline", "tolerated delay of a block (s)",
                   xs=(1.0, 3.0, 5.0, 7.0)),
        Experiment(
            "fig13", "Delay of four networks against the link capacity", "link_capacity", "link capacity (Mbit/s)",
            xs=(2.0, 4.0, 6.0, 8.0, 10.0), methods=("Proposed",),
            series={
                f"dnn={name}": Change(workload={"network": name.lower()}, words=name)
                for name in ("NiN", "AlexNet", "VGG16", "ResNet32")
            },
        ),
        # Four blocks, so that the joint head, one output for each of (N + 1)^M plans, can be among them.
        Experiment("ablation", "What each part of the method is worth", **_LEARNING_CURVE,
                   fixed=Setting(num_blocks=4),
                   series=_ABLATION, brief=_ABLATION_IN_BRIEF),
        Experiment("sensitivity", "Every constant that is not stated, varied", "num_servers", "edge servers N",
                   xs=(LEDGER.default("num_servers"),), series={"ledger": Change()} | dict(
                       _world(name, value) for name, values in WORLDS.items() for value in values
                   ),
                   # One world of each constant.
                   brief=("ledger", *(_world(name, values[0])[0] for name, values in WORLDS.items()))),
    )
}  # fmt: skip
