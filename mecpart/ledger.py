"""The ledger: every constant of the model, with its unit, where it comes from, and why it has this value.

The paper leaves most of its constants open. Each row is *stated* (by the paper), *derived* (from what it prints),
*cited* (a sibling paper of the same authors) or *chosen* (by this project, with a reason). `print(mecpart.LEDGER)`
shows the table; every function that uses a constant takes another value by keyword.
"""

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True)
class Constant:
    """One row of the ledger."""

    name: str
    symbol: str
    value: Any
    unit: str
    status: Literal["stated", "derived", "cited", "chosen"]
    reason: str


class Ledger(Mapping):
    """An ordered, read-only mapping from a constant's name to its `Constant`; prints as a table."""

    def __init__(self, *constants: Constant):
        self._constants = {constant.name: constant for constant in constants}

    def __getitem__(self, name: str) -> Constant:
        try:
            return self._constants[name]
        except KeyError:
            raise KeyError(f"no constant {name!r} in the ledger; there are: {', '.join(self)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._constants)

    def __len__(self) -> int:
        return len(self._constants)

    def default(self, name: str) -> Any:
        """The value of the constant `name`."""
        return self[name].value

    def to_frame(self):
        """The ledger as a pandas DataFrame, one row per constant."""
        import pandas as pd

        names = [field.name for field in fields(Constant)]
        return pd.DataFrame([astuple(constant) for constant in self.values()], columns=names)

    def __str__(self) -> str:
        return self.shown().to_string(index=False, justify="left")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.shown().to_html(index=False, justify="left")

    def shown(self):
        """The ledger as it is printed: a DataFrame with values as text."""
        frame = self.to_frame()
        return frame.assign(value=frame.value.map(_format))


def _format(value) -> str:
    if isinstance(value, tuple):
        between = " x " if isinstance(value[0], int) else " to " if len(value) == 2 else ", "
        return between.join(map(_format, value))
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


#: Every constant of the model, by name: a read-only mapping that prints as a table.
LEDGER = Ledger(
    Constant("num_servers", "N", 4, "1", "stated", "fixed value of Figs. 9, 10, 12"),
    Constant("num_blocks", "M", 6, "1", "stated", "fixed value of Figs. 8, 10, 12"),
    Constant("network", "DNN", "vgg16", "", "stated", "Figs. 8 to 11"),
    Constant("release_rate", "lambda", 60.0, "tasks/slot", "stated", "fixed value of Figs. 8, 9, 12"),
    Constant("num_slots", "T", 600, "slots", "stated", "slots of one episode"),
    Constant(
        "device_rate_range",
        "R_m^n",
        (0.8e6, 2.0e6),
        "byte/s",
        "stated",
        "stated range; drawn uniformly per slot, block and server (distribution chosen)",
    ),
    Constant("energy_coefficient", "kappa", 1e-26, "J s^2/cycle^3", "stated", "Eq. 4"),
    Constant("episodes", "", 3000, "1", "stated", "axis of Figs. 6 and 7"),
    Constant("learning_rate", "", 0.01, "1", "stated", "of the actor; stated as the best of Fig. 7a"),
    Constant("critic_learning_rate", "", 0.01, "1", "stated", "of the critic; stated as the best of Fig. 7a"),
    Constant("t_max", "t_max", 32, "slots", "stated", "the batch size; read as the length of a worker's rollout"),
    Constant("workers", "", 8, "1", "stated", "the best of Fig. 7b"),
    Constant("discount", "gamma", 0.95, "1", "stated", "Sec. 5.1"),
    Constant("exploration", "", (1.0, 0.01), "1", "stated", "first and last probability of a random plan"),
    Constant(
        "exploration_fraction", "", 0.3, "1", "chosen", "share of the episodes over which exploration falls linearly"
    ),
    Constant(
        "server_speed_range",
        "F_n",
        (3e9, 9e9),
        "cycle/s",
        "cited",
        "3, 6 and 9 GHz in a sibling paper (ICC 2021); drawn uniformly once per seed",
    ),
    Constant("transmit_power", "p", 1.25, "W", "cited", "1.0 to 1.5 W in a sibling paper (WCNC 2020)"),
    Constant(
        "device_frequency",
        "f^l",
        0.34e9,
        "cycle/s",
        "derived",
        "Eqs. 3 and 4: energy / local delay >= kappa f^3 D; the least published is 4.04 W (Fig. 11c over 10c, APDI at "
        "90 tasks/slot), so at most 0.343 GHz for 10 devices",
    ),
    Constant(
        "num_devices", "D", 10, "1", "chosen", "makes the IoT tier as fast as a slow server: local is a real option"
    ),
    Constant(
        "cycles_per_mac", "", 4.0, "cycle", "chosen", "brings random placement to the order of the published delays"
    ),
    Constant("wired_rate", "R_max", 125e6, "byte/s", "chosen", "1 Gbit/s Ethernet between servers"),
    Constant(
        "slot_seconds",
        "",
        7.0,
        "s",
        "chosen",
        "of 10 networks Myopic keeps up on 10 at the defaults and on 9 at 110 tasks/slot (nodes busy 0.30 and 0.66 of "
        "the time on average); the fastest server alone would have to work 1.2 to 2.2 times as fast to carry 60",
    ),
    Constant("arrivals", "", "constant", "", "chosen", "as the paper has a rate only; poisson is the alternative"),
    Constant("deadline", "tau_m", 5.0, "s", "chosen", "stated range 1 to 7 s per block; value chosen"),
    Constant("penalty", "beta", 1.0, "1", "chosen", "one second beyond a deadline counts twice"),
    Constant("energy_budget", "E^max", None, "J", "chosen", "None: the energy of an episode computed on the devices"),
    Constant("hidden", "", (64, 64), "units", "chosen", "two hidden layers, ReLU"),
    Constant("rmsprop_decay", "", 0.99, "1", "chosen", "usual for A3C (Mnih et al. 2016)"),
    Constant("rmsprop_epsilon", "", 1e-5, "1", "chosen", "usual for A3C, inside the square root"),
    Constant("max_gradient_norm", "", 0.5, "1", "chosen", "usual for A2C/A3C"),
    Constant("entropy_weight", "beta", 0.01, "1", "chosen", "Eq. 18; usual for A3C"),
    Constant(
        "gae_lambda",
        "",
        None,
        "1",
        "stated",
        "None: the k-step return of Eq. 16; a number weighs those of 1 to k steps (Schulman et al. 2016)",
    ),
    Constant("sharing_weight", "", 1e-3, "1", "chosen", "weight of the squared L2 distance between the trunks"),
    Constant(
        "evaluation",
        "",
        "drawn",
        "",
        "chosen",
        "where slots couple, of an actor-critic: by plans drawn as in training; greedy ones are the alternative",
    ),
    Constant(
        "queue_price",
        "",
        1.0,
        "1",
        "chosen",
        "1 is what later slots pay for a second that all of them wait, 0 leaves queues out of a learner's reward; of "
        "0, 1 and 2, on 8 networks that no figure uses, Proposed and Distributed DQN keep up on all with 1 alone",
    ),
    Constant(
        "patience", "V", 20.0, "s", "chosen", "Drift-plus-penalty: best of 1 to 100 s on 6 networks that no figure uses"
    ),
    Constant(
        "patiences",
        "",
        (3.0, 10.0, 30.0, 100.0),
        "s",
        "chosen",
        "Look-ahead: of Drift-plus-penalty's plans among its candidates, from impatient to nearly myopic",
    ),
    Constant("horizon", "", 8, "slots", "chosen", "Look-ahead: 4, 8 and 16 differed by little more than 1 % there"),
    Constant(
        "beam",
        "",
        16,
        "plans",
        "chosen",
        "Best constant plan: 16 found the best of all 15,625 plans on every network that was tried, 8 on nearly all",
    ),
    Constant(
        "step_range",
        "",
        (0.01, 1.0),
        "1",
        "chosen",
        "Learned prices: steps of its search, which was chosen of 16 variants on 6 networks that no figure uses; half "
        "and double change nothing on 10 networks under load at 60 tasks/slot, and 0.2 % (95 % interval -0.2 to 0.5) "
        "and -0.3 % (-0.9 to 0.4) at 110",
    ),
    Constant("batch", "", 32, "slots", "stated", "batch size of Sec. 5.1, for the DQN's minibatch"),
    Constant("replay_size", "", 10_000, "slots", "chosen", "about 17 episodes; usual for a problem of this size"),
    Constant("target_period", "", 100, "updates", "chosen", "updates between two copies to the target network"),
    Constant(
        "queue_scale",
        "",
        10.0,
        "1",
        "chosen",
        "q slots of queue are observed as log(1 + 10 q) / log 11: of order one",
    ),
    Constant(
        "initial_scale", "", 1e-4, "1", "chosen", "variance x fan-in of the last layers: a nearly uniform first policy"
    ),
    Constant("stitch", "", 0.9, "1", "chosen", "cross-stitch: part of its own layer at first (Misra et al. 2016)"),
    Constant("bound_steps", "", 300, "1", "chosen", "of the ascent to the prices of the certified bound"),
    Constant("bound_step_range", "", (0.5, 1e-3), "1", "chosen", "first and last step of that ascent"),
    Constant("bound_momentum", "", 0.8, "1", "chosen", "part of the direction that such a step keeps"),
    Constant(
        "relatives_batch", "", 256, "frames", "chosen", "for one gradient: of ten variants of the learner on two seeds"
    ),
    Constant("relatives_learning_rate", "", 3e-3, "1", "chosen", "of Adam; as relatives_batch"),
    Constant("relatives_entropy_weight", "", 0.3, "1", "chosen", "at first, falling to 0: as relatives_batch"),
    Constant(
        "times_variation",
        "",
        0.1,
        "1",
        "chosen",
        "standard deviation of a measured block's seconds, in proportion, where its source has no spread",
    ),
)
