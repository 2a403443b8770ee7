"""Neurosurgeon, and the bandit that learns its cut: device first, then server, on a link and a server that change.

Y. Kang et al., "Neurosurgeon: Collaborative Intelligence Between the Cloud and Mobile Edge", ASPLOS 2017, doi
10.1145/3037697.3037698, cuts a network once, by latencies predicted for the present link and load. L. Zhang, L. Chen
and J. Xu, "Autodidactic Neurosurgeon" (ANS), The Web Conference 2021, arXiv 2102.02638, learn that cut by a bandit,
and take the delay of what is offloaded to be linear in its operations and bytes. A. E. Eshratifar, M. S. Abrishami
and M. Pedram, "JointDNN", IEEE Transactions on Mobile Computing 20(2), 2021, doi 10.1109/TMC.2019.2947893, let any
layer run on either side, and find the best placement as a shortest path.

With layers of macs_m, a device of speed f and a server of speed F behind a link of rate R,

    delay = sum over m < cut of macs_m / f + (bytes into layer cut) / R + sum over m >= cut of macs_m / F + result / R

is `mecpart.loaded` without queues for one device, one server and one task: `mecpart.optimal_plan` is JointDNN's
shortest path, and the cost here is that of `mecpart.evaluate_plan`.

Taken over: VGG16 for images of 224 x 224, its tensors float32, and the 0.487 s that the device of ANS (a Jetson TX2)
takes for the whole network (github.com/letian-zhang/ANS, commit 6895eed; numbers cited), made proportional to
operations. Chosen: rate and server speed log-uniform and drawn afresh for every frame, the rate from 1 to 50 Mbit/s, a
range that holds the 1.1, 5.85 and 18.88 Mbit/s (3G, 4G, Wi-Fi) of JointDNN, the server 2 to 20 times as fast as the
device. Left out: energy, unequal up- and downlinks, what a layer takes beside its operations, key frames, and that ANS
does not see the state but infers it from the delays of the frames before.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mecpart.dnn.workload import Workload, workload_from_layers
from mecpart.dnn.zoo import Chain, FullyConnected, layer_table, vgg16
from mecpart.model.delay import plan_cost
from mecpart.model.network import make_network
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.scenarios import loaded
from mecpart.planning.optimum import optimal_plan
from mecpart.planning.policies import earliest_finish
from mecpart.relatives.harness import Relative

DEVICE_SECONDS = 0.487  # of the whole network on a Jetson TX2
RATES = (1e6 / 8, 50e6 / 8)  # bytes/s
SPEED_RATIOS = (2.0, 20.0)  # of the server to the device


@cache
def imagenet_vgg16() -> Workload:
    """VGG16 with 1,000 classes for a float32 image of 224 x 224, every layer a block of its own."""
    ends = {"fc1": FullyConnected(4096, activation=True), "fc2": FullyConnected(4096, activation=True)}
    chain = Chain({**vgg16().layers, **ends, "fc3": FullyConnected(1000)})
    layers = layer_table(chain, jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))
    return workload_from_layers(layers, range(len(layers)), name="vgg16 (ImageNet)")


def _world(state: Float[Array, "2"]) -> tuple[Scenario, Slot]:
    """The scenario and slot of a state: link rate, bytes/s, and server speed over device speed."""
    task = imagenet_vgg16()
    device = float(np.asarray(task.macs).sum()) / DEVICE_SECONDS  # one cycle for each multiply-accumulate
    network = make_network((state[1] * device)[None], num_devices=1, device_frequency=device, device_rate_range=RATES)
    scenario = loaded(task, network, release_rate=1.0, cycles_per_mac=1.0, queues=False)
    return scenario, Slot(state[0][None])


def neurosurgeon() -> Relative:
    """The problem: a plan is the number of layers that run on the device, from none to all.

    The state is [rate, server speed over device speed]; the cost the delay of an image, s. Rules: "Earliest finish" as
    in `mecpart.POLICIES`, "Local or server" the better of not cutting at all, and "Any placement" the exact optimum of
    JointDNN, which is not bound to one cut.
    """
    layers = imagenet_vgg16().num_blocks
    low, high = jnp.log(jnp.array([RATES, SPEED_RATIOS])).T

    def cost(state, plan):
        scenario, slot = _world(state)
        return plan_cost(scenario, slot, (jnp.arange(layers) >= plan[0]).astype(jnp.int32)).total_delay

    def by_earliest_finish(state):
        scenario, slot = _world(state)
        return plan_cost(scenario, slot, earliest_finish(scenario, slot)).total_delay

    return Relative(
        name="Neurosurgeon",
        cost_name="delay [s]",
        plans=jnp.arange(layers + 1)[:, None],
        draws=2,
        draw=lambda noise: jnp.exp(low + (high - low) * noise),
        observe=lambda state: 2 * (jnp.log(state) - low) / (high - low) - 1,
        cost=cost,
        rules={
            "Earliest finish": by_earliest_finish,
            "Local or server": lambda state: jnp.minimum(cost(state, jnp.array([0])), cost(state, jnp.array([layers]))),
            "Any placement": lambda state: optimal_plan(*_world(state)).total_delay,
        },
    )
