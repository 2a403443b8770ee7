"""The Markov decision process of the paper (Sec. 4.1) as pure functions.

`PartitionEnv` steps through it by the interface of gymnax 1.0. `rollout` runs many slots in one go, which is how the
agents are trained and evaluated here.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mecpart.delay import PlanCost, evaluate_plan, plan_cost
from mecpart.scenario import Scenario, Slot, sample_slot


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class EnvState:
    """State between two slots (a pytree): the slot to decide on, E^r in J, and the number of slots done."""

    slot: Slot
    remaining_energy: Float[Array, ""]
    time: Int[Array, ""]


class PartitionEnv:
    """Place every block of each slot's tasks on a node; the parameters of the environment are a `Scenario`.

    - Observation (Eq. 11): float32 [M * (N + 2) + 1], see `observe`.
    - Action: a plan, int32 [M], nodes 0..N.
    - Reward: Eq. 14 of the slot, minus its delay and penalty in seconds; never zero while there is work.
    - Termination: never. After `scenario.num_slots` slots the episode is *truncated*, so its value is to be
      bootstrapped from `info["final_observation"]`; `step` then returns the first observation of the next episode.
    """

    def reset(self, key: PRNGKeyArray, scenario: Scenario) -> tuple[Float[Array, " features"], EnvState]:
        """Start an episode: a fresh slot, the whole energy budget, time 0. Returns (observation, state)."""
        state = EnvState(sample_slot(key, scenario), scenario.energy_budget, jnp.int32(0))
        return observe(scenario, state), state

    def step(
        self, key: PRNGKeyArray, state: EnvState, plan: Int[Array, " blocks"], scenario: Scenario
    ) -> tuple[Float[Array, " features"], EnvState, Float[Array, ""], Bool[Array, ""], Bool[Array, ""], dict]:
        """Run `plan` in the slot of `state` and move to the next slot, starting a new episode after the last.

        **Returns:** (observation, state, reward, terminated, truncated, info); `info` holds the fields of `PlanCost`,
        `terminated`, `truncated`, and `final_observation`, which differs from the observation only at truncation.

        **Raises:** `ValueError` as `evaluate_plan`.
        """
        final_observation, ended, reward, terminated, info = self.step_env(key, state, plan, scenario)
        truncated = ended.time >= scenario.num_slots
        # Slots are drawn afresh anyway, so a new episode differs from the old one in energy and time alone.
        state = EnvState(
            slot=Slot(ended.slot.device_rate, jnp.where(truncated, 0, ended.slot.backlog)),
            remaining_energy=jnp.where(truncated, scenario.energy_budget, ended.remaining_energy),
            time=jnp.where(truncated, 0, ended.time),
        )
        info |= {"terminated": terminated, "truncated": truncated, "final_observation": final_observation}
        return observe(scenario, state), state, reward, terminated, truncated, info

    def step_env(
        self, key: PRNGKeyArray, state: EnvState, plan: Int[Array, " blocks"], scenario: Scenario
    ) -> tuple[Float[Array, " features"], EnvState, Float[Array, ""], Bool[Array, ""], dict]:
        """The dynamics alone, without starting a new episode: (observation, state, reward, terminated, info)."""
        cost = evaluate_plan(scenario, state.slot, plan)
        state = EnvState(sample_slot(key, scenario), state.remaining_energy - cost.energy, state.time + 1)
        info = {field.name: getattr(cost, field.name) for field in fields(PlanCost)}
        return observe(scenario, state), state, cost.reward, jnp.bool_(False), info

    @property
    def name(self) -> str:
        """The environment's name."""
        return type(self).__name__

    def plan_shape(self, scenario: Scenario) -> tuple[int]:
        """Shape of a plan: (M,)."""
        return (scenario.num_blocks,)

    def num_actions(self, scenario: Scenario) -> int:
        """Choices for each block: N + 1."""
        return scenario.num_nodes

    def observation_size(self, scenario: Scenario) -> int:
        """Length of an observation."""
        return scenario.num_blocks * (scenario.num_nodes + 1) + 1


def observe(scenario: Scenario, state: EnvState) -> Float[Array, " features"]:
    """What an agent sees (Eq. 11), each entry scaled to order one by constants of the scenario:

    | entries | meaning | scale |
    |---|---|---|
    | M | c_m, work of each block | what the IoT tier computes in a slot |
    | M | d_m, parameter bytes of each block | those of the whole network |
    | M N | R_m^n, rate to each server (0: no such server) | top of the device rate range |
    | 1 | E^r, remaining energy | the energy budget |
    """
    network, parameter_bytes = scenario.network, scenario.workload.parameter_bytes
    tier_cycles = network.speed[0] * scenario.slot_seconds
    rate = jnp.where(network.available[1:], state.slot.device_rate, 0)
    return jnp.concatenate(
        [
            scenario.work / tier_cycles,
            parameter_bytes / jnp.maximum(jnp.sum(parameter_bytes), 1),
            (rate / network.device_rate_range[1]).ravel(),
            (state.remaining_energy / jnp.maximum(scenario.energy_budget, 1e-30))[None],
        ]
    )


def observe_all(scenario: Scenario, states: EnvState) -> Float[Array, "slots features"]:
    """`observe` of many states, every array of which has a leading axis [slots]."""
    return jax.vmap(observe, (None, 0))(scenario, states)


def rollout(
    scenario: Scenario,
    start: EnvState,
    slots: Slot,
    choose_plans: Callable[[EnvState, Array], Int[Array, "slots blocks"]],
    noise: Array,
) -> tuple[EnvState, Int[Array, "slots blocks"], PlanCost]:
    """Run a policy over T consecutive slots of one episode, all slots at the same time.

    What a slot draws does not depend on the plans; only the remaining energy does. So the plans of all slots are
    computed at once for a guess of the states, then the states for these plans, and so on until no plan changes. After
    k rounds the first k plans are those of a run slot by slot, so the loop ends, and it ends with exactly that run; in
    practice after three or four rounds, each of them a few large matrix products instead of many small ones.

    **Arguments:**

    - `start`: the state before the first slot; its `slot` is not used.
    - `slots`: what each slot and the one after them draws, every array with a leading axis [T + 1]. Slots from
      `scenario.num_slots` on are not run: they leave the state as it is.
    - `choose_plans`: (states [T], noise [T, ...]) -> plans [T, M], each a function of the state and the noise of its
      own slot alone: the `vmap` of a function for one slot, or the same by larger matrix products.
    - `noise`: random numbers for each slot, [T, ...].

    **Returns:** the states before each slot and after the last [T + 1], the plans [T, M], and their costs [T].
    """
    count = slots.device_rate.shape[0] - 1
    run_slots = jax.tree.map(lambda leaf: leaf[:-1], slots)
    time = start.time + jnp.arange(count + 1)
    active = time[:-1] < scenario.num_slots

    def costs_of(plans):
        return jax.vmap(lambda slot, plan: plan_cost(scenario, slot, plan))(run_slots, plans)

    def states_under(energy) -> EnvState:
        spent = jnp.concatenate([jnp.zeros(1), jnp.cumsum(jnp.where(active, energy, 0))])
        return EnvState(slots, start.remaining_energy - spent, jnp.minimum(time, scenario.num_slots))

    def refine(loop):
        energy, plans, _ = loop
        states = jax.tree.map(lambda leaf: leaf[:-1], states_under(energy))
        refined = choose_plans(states, noise)
        return costs_of(refined).energy, refined, jnp.any(refined != plans)

    guess = (jnp.zeros(count), jnp.full((count, scenario.num_blocks), -1), jnp.bool_(True))
    _, plans, _ = jax.lax.while_loop(lambda loop: loop[2], refine, guess)
    cost = costs_of(plans)
    return states_under(cost.energy), plans, cost
