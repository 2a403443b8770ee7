"""SplitRL: REINFORCE chooses where to cut a network that two devices run as a pipeline, by a table of measured times.

R. Shrestha, "Learning Optimal Split Points: Reinforcement Learning for DNN Partitioning", University of Texas at San
Antonio, 2024, github.com/riwaj666/SplitRL_V1 (MIT by its README, commit b06ae00); the times are of ParetoPipe's
testbed, batches of 8 images: from a Raspberry Pi to a GPU, or to a second Pi (`data/measured/README.md`). With s
blocks on the first device a batch leaves the pipeline every

    cost = max(first(s), transfer(s), second(s))

seconds. A network stands in every frame, one of the six of the table at random.

Taken over: cost, table, one policy for all six networks, the least cut of one block, and that a cut beyond the end of a
network counts as its last. Left out: that the cut is found block by block; what the learner sees of blocks beside the
name of the network, which alone decides all of it; and limits of memory, which never bind.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from mecpart.locations import data_folder
from mecpart.relatives.harness import Relative
from mecpart.validation import check_choice

TESTBEDS = {"pi_to_gpu": "Pi to GPU", "pi_to_pi": "Pi to Pi"}


def splitrl(testbed: str) -> Relative:
    """The problem on a testbed: the plan is the cut, counted from 0 for one block on the first device.

    The state is the number of the network; the cost the period of the pipeline, s per batch. The rule "Balance" cuts
    where the first device begins to take at least as long as the second.

    **Raises:** `ValueError` unless `testbed` is a key of `TESTBEDS`.
    """
    check_choice("testbed", testbed, TESTBEDS)
    first, transfer, second = measured_times(testbed)
    period = jnp.maximum(jnp.maximum(first, transfer), second)
    networks, cuts = period.shape
    # Beyond the end of a network every entry is its last: there the first device has long overtaken the second.
    balanced = jnp.argmax(first >= second, axis=1)
    balanced = jnp.where(jnp.any(first >= second, axis=1), balanced, cuts - 1)
    return Relative(
        name=f"SplitRL, {TESTBEDS[testbed]}",
        cost_name="period [s per batch]",
        plans=jnp.arange(cuts)[:, None],
        draws=1,
        draw=lambda noise: jnp.floor(noise[0] * networks).astype(jnp.int32),
        observe=lambda network: jax.nn.one_hot(network, networks),
        cost=lambda network, plan: period[network, plan[0]],
        rules={"Balance": lambda network: period[network, balanced[network]]},
    )


def measured_times(testbed: str) -> Float[Array, "3 networks cuts"]:
    """Seconds of the first part, the transfer and the second part of every cut; after the last those of the last."""
    table = pd.read_csv(data_folder() / "measured" / "paretopipe_splits.csv").query("testbed == @testbed")
    kinds = ["first_part_seconds", "transfer_seconds", "second_part_seconds"]
    wide = table.pivot(index="network", columns="split", values=kinds).ffill(axis=1)
    return jnp.asarray(np.stack([wide[kind].to_numpy(np.float32) for kind in kinds]))
