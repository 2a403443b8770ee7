"""The neural networks of the agents: trunks, the ways of sharing them, and the heads.

A network maps an observation to the logits of its decisions and to values:

| heads | decisions of a slot | logits | values |
|---|---|---|---|
| `branches` | one softmax of N + 1 nodes for each block, all at once | [M, N + 1] | [1] |
| `sequential` | one softmax of N + 1 nodes, asked block by block, told the node before | [M, N + 1] | [M] |
| `joint` | one softmax over all (N + 1)^M plans | [1, (N + 1)^M] | [1] |

| sharing | trunks of actor and critic |
|---|---|
| `none` | one each |
| `soft` | one each; the loss pulls them together, see `trunk_distance` |
| `hard` | one for both |
| `cross_stitch` | one each, mixed after every layer by a learned 2 x 2 matrix (Misra et al. 2016) |
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mecpart.ledger import LEDGER
from mecpart.sampling import uniform

HEADS = ("branches", "sequential", "joint")
SHARING = ("none", "hard", "soft", "cross_stitch")

#: The `joint` head is refused above this many plans.
MAX_JOINT_PLANS = 20_000

#: What may be chosen: the nodes that exist; or of each block those that can follow a node (`allowed_nodes`).
Allowed = Bool[Array, " nodes"] | Bool[Array, "blocks nodes nodes"]


def _fan_in(scale: float):
    """Uniform with variance scale / fan-in; no QR, which hangs inside `vmap` in some versions of jaxlib."""

    def initialise(key, shape, dtype=jnp.float32):
        bound = jnp.sqrt(3 * scale / shape[0])
        return (bound * (2 * uniform(key, shape) - 1)).astype(dtype)

    return initialise


_he = _fan_in(2.0)  # He et al. 2015, for ReLU
_small = _fan_in(LEDGER.default("initial_scale"))  # a nearly uniform first policy and nearly zero first values

_own = LEDGER.default("stitch")
_STITCH = ((_own, 1 - _own), (1 - _own, _own))  # what actor and critic have of either's layer, at first


class PartitionNetwork(nn.Module):
    """Actor and critic, or with `critic=False` the trunk and branches of a Q-network."""

    num_blocks: int
    num_nodes: int
    hidden: tuple[int, ...]
    heads: str = "branches"
    sharing: str = "none"
    critic: bool = True

    @nn.compact
    def __call__(
        self,
        observation: Float[Array, "*slots features"],
        block: Int[Array, " asked"] | None = None,
        previous: Int[Array, "*slots asked"] | None = None,
    ) -> tuple[Float[Array, "*slots decisions choices"], Float[Array, "*slots values"]]:
        """Logits and values; the sequential head answers for each `block` given the node of the block before."""
        columns = ["actor", "critic"] if self.critic and self.sharing != "hard" else ["shared"]
        # All slots, and all that is asked of each, lie along one axis: the derivative of a layer's weights then is a
        # product of two matrices as they are, where more axes would be transposed first.
        decisions = observation.shape[:-1]
        hidden = {column: observation.reshape(-1, observation.shape[-1]) for column in columns}
        for layer, width in enumerate(self.hidden):
            for column in columns:
                out = nn.Dense(width, kernel_init=_he, name=f"{column}_{layer}")(hidden[column])
                if layer == 0 and self.heads == "sequential":
                    assert block is not None
                    assert previous is not None
                    decisions = previous.shape
                    out = out[:, None] + self._question(column, width, block, previous)
                hidden[column] = nn.relu(out).reshape(-1, width)
            if self.sharing == "cross_stitch" and self.critic:
                mix = self.param(f"stitch_{layer}", lambda _: jnp.array(_STITCH))
                actor, critic = hidden["actor"], hidden["critic"]
                hidden["actor"] = mix[0, 0] * actor + mix[0, 1] * critic
                hidden["critic"] = mix[1, 0] * actor + mix[1, 1] * critic

        shape = {
            "branches": (self.num_blocks, self.num_nodes),
            "sequential": (self.num_nodes,),
            "joint": (1, self.num_nodes**self.num_blocks),
        }[self.heads]
        logits = nn.Dense(math.prod(shape), kernel_init=_small, name="policy")(hidden[columns[0]])
        logits = logits.reshape(*decisions, *shape)
        if not self.critic:
            return logits, jnp.zeros((*decisions, 0))
        values = nn.Dense(1, kernel_init=_small, name="value")(hidden[columns[-1]])
        return logits, values.reshape(decisions if self.heads == "sequential" else (*decisions, 1))

    def _question(
        self, column: str, width: int, block: Int[Array, " asked"], previous: Int[Array, "*slots asked"]
    ) -> Float[Array, "rows asked width"]:
        """What the question adds to the first layer, as if it stood one-hot behind the observation.

        The node before is multiplied by the weights that it picks a row of: the derivative of picking rows adds them up
        one after the other, which takes longer than the product.
        """
        inputs, name = self.num_blocks + self.num_nodes, f"{column}_question"
        rows = nn.Embed(inputs, width, embedding_init=_he, name=name)
        before = jax.nn.one_hot(previous.ravel(), self.num_nodes) @ rows.embedding[self.num_blocks :]
        return rows(block) + before.reshape(-1, previous.shape[-1], width)

    def initialise(
        self, key, observation: Float[Array, " features"], initial_scale: float = LEDGER.default("initial_scale")
    ):
        """First parameters for observations like `observation`; `initial_scale`: of the last layers, may be traced."""
        parameters: Any = self.init(key, observation, *self._first_question())
        times = jnp.sqrt(initial_scale / LEDGER.default("initial_scale"))
        last = {
            name: layer | {"kernel": times * layer["kernel"]}
            for name, layer in parameters["params"].items()
            if name in ("policy", "value")
        }
        return parameters | {"params": parameters["params"] | last}

    def assess(
        self,
        parameters,
        observations: Float[Array, "slots features"],
        plans: Int[Array, "slots blocks"],
        available: Allowed,
    ) -> tuple[Float[Array, "decisions choices slots"], Int[Array, "decisions slots"], Float[Array, "values slots"]]:
        """(log-probabilities, the choices that `plans` made, values) of the decisions that lead to the plans."""
        question = jnp.arange(self.num_blocks), jnp.pad(plans[:, :-1], ((0, 0), (1, 0)))
        answer: Any = self.apply(parameters, observations, *(question if self.heads == "sequential" else ()))
        logits, values = answer
        log_probabilities = jax.nn.log_softmax(self._slots_last(logits, available, *question), axis=1)
        choices = plans.T if self.heads != "joint" else _plan_to_index(plans, self.num_nodes)[None]
        return log_probabilities, choices, values.T

    def first_value(self, parameters, observation: Float[Array, " features"]) -> Float[Array, ""]:
        """The value of a state in which nothing is decided yet."""
        answer: Any = self.apply(parameters, observation, *self._first_question())
        return answer[1][0]

    def decide(
        self,
        parameters,
        observations: Float[Array, "slots features"],
        available: Allowed,
        choose: Callable[[Float[Array, "choices slots"], Array], Int[Array, " slots"]],
        noise: Float[Array, "slots decisions"],
    ) -> Int[Array, "slots blocks"]:
        """The plans made by `choose(logits, noise)` for every decision, leaving out nodes that do not exist.

        On measured devices branches decide one after the other, as what can follow depends on the node before.
        """
        if self.heads == "sequential":

            def answer(previous, question):
                block, noise = question
                logits, _ = self.apply(parameters, observations, block[None], previous[:, None])
                logits = self._slots_last(logits, available, block[None], previous[:, None])
                node = choose(logits[0], noise).astype(jnp.int32)
                return node, node

            device = jnp.zeros(observations.shape[0], jnp.int32)
            return jax.lax.scan(answer, device, (jnp.arange(self.num_blocks), noise.T))[1].T
        logits, _ = self.apply(parameters, observations)
        if self.heads == "branches" and available.ndim > 1:
            return choose_in_order(jnp.moveaxis(logits, 0, -1), available, choose, noise)
        chosen = jax.vmap(choose)(self._slots_last(logits, available), noise.T).astype(jnp.int32)
        return chosen.T if self.heads == "branches" else _index_to_plan(chosen[0], self.num_blocks, self.num_nodes).T

    @property
    def num_decisions(self) -> int:
        """Decisions that make a plan."""
        return 1 if self.heads == "joint" else self.num_blocks

    def _first_question(self):
        return (jnp.array([0]), jnp.array([0])) if self.heads == "sequential" else ()

    def _slots_last(
        self,
        logits: Float[Array, "slots decisions choices"],
        available: Allowed,
        block: Int[Array, " decisions"] | None = None,
        previous: Int[Array, "slots decisions"] | None = None,
    ) -> Float[Array, "decisions choices slots"]:
        """The logits with choices that do not exist masked, and the long axis last.

        A softmax over a handful of choices is then a few operations on whole vectors of slots: twice as fast on a CPU.
        """
        logits = jnp.moveaxis(logits, 0, -1)
        if self.heads == "joint":
            plans = _index_to_plan(jnp.arange(self.num_nodes**self.num_blocks), self.num_blocks, self.num_nodes)
            before = jnp.pad(plans[:-1], ((1, 0), (0, 0)))
            at = (plans,) if available.ndim == 1 else (jnp.arange(self.num_blocks)[:, None], before, plans)
            available = jnp.all(available[at], axis=0)
        if available.ndim == 1:
            return _masked(logits, available[:, None])
        return _masked(logits, jnp.moveaxis(available[block, previous], 0, -1))


def _masked(logits: Float[Array, "*decisions choices slots"], possible) -> Float[Array, "*decisions choices slots"]:
    return jnp.where(possible, logits, -1e9)  # not -inf, so that 0 log 0 stays 0 in the entropy


def choose_in_order(
    logits: Float[Array, "blocks choices slots"],
    ways: Bool[Array, "blocks nodes nodes"],
    choose: Callable[[Float[Array, "choices slots"], Array], Int[Array, " slots"]],
    noise: Float[Array, "slots blocks"],
) -> Int[Array, "slots blocks"]:
    """The plans made by `choose(logits, noise)` block by block, of the nodes that can follow the one just chosen."""

    def answer(previous, question):
        logits, way, noise = question
        node = choose(_masked(logits, way[previous].T), noise).astype(jnp.int32)
        return node, node

    return jax.lax.scan(answer, jnp.zeros(noise.shape[0], jnp.int32), (logits, ways, noise.T))[1].T


def _plan_to_index(plan, num_nodes: int):
    weights = num_nodes ** jnp.arange(plan.shape[-1])[::-1]
    return jnp.sum(plan * weights, axis=-1)


def _index_to_plan(index, num_blocks: int, num_nodes: int):
    return jnp.stack([index // num_nodes**m % num_nodes for m in reversed(range(num_blocks))])


def most_likely(logits: Float[Array, "choices *slots"], noise: Float[Array, "*slots"]) -> Int[Array, "*slots"]:
    """The choice with the largest logit."""
    return jnp.argmax(logits, axis=0)


def sampled(logits: Float[Array, "choices *slots"], noise: Float[Array, "*slots"]) -> Int[Array, "*slots"]:
    """A choice drawn from softmax(logits) by one uniform number in [0, 1) (inverse of the distribution function)."""
    below = jnp.cumsum(jnp.exp(logits - jnp.max(logits, axis=0)), axis=0)
    return jnp.sum(below <= noise * below[-1], axis=0)


def trunk_distance(parameters) -> Float[Array, ""]:
    """Squared L2 distance between the actor's and the critic's trunk, summed over the layers: what `soft` adds."""
    layers = parameters["params"]
    actor = {name: layer for name, layer in layers.items() if name.startswith("actor_")}
    critic = {name: layers[name.replace("actor_", "critic_")] for name in actor}
    distances = jax.tree.map(lambda one, other: jnp.sum((one - other) ** 2), actor, critic)
    return jax.tree.reduce(jnp.add, distances)
