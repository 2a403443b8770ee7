"""The Markov decision process of the paper (Sec. 4.1) as pure functions.

`PartitionEnv` steps through it by the interface of gymnax 1.0. `rollout` runs many slots in one go, which is how the
agents are trained and evaluated here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mecpart.fields import check_record, integers_to_floats, quantity, short_repr
from mecpart.ledger import LEDGER
from mecpart.model.delay import PlanCost, backlog_after, checked_plan, evaluate_plan, plan_cost
from mecpart.model.durations import finite
from mecpart.model.network import Network
from mecpart.model.scenario import Scenario, Slot, check_scenario
from mecpart.model.slots import check_slot, check_slots, sample_slot
from mecpart.validation import check_callable, check_key, check_type, shown


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class EnvState:
    """State between two slots (a pytree): the slot to decide on, E^r in J, and the number of slots done."""

    slot: Slot
    remaining_energy: Float[Array, ""] = field(metadata=quantity("J", minimum=None))  # what never ends takes all
    time: Int[Array, ""] = field(metadata=quantity("slots"))

    __repr__ = short_repr

    def __post_init__(self):
        integers_to_floats(self)


def check_state(scenario: Scenario, state: EnvState, name: str = "state") -> None:
    """Raise `ValueError` where `scenario` or `state` is none or holds a bad value, or they do not fit."""
    check_scenario(scenario)
    check_type(name, state, EnvState, "from PartitionEnv.reset")
    check_slot(scenario, state.slot, f"{name}.slot")
    check_record(name, state, EnvState)


class PartitionEnv:
    """Place every block of each slot's tasks on a node; the parameters of the environment are a `Scenario`.

    - Observation (Eq. 11): float32 [M * (N + 2) + 1], with queues N + 1 more, see `observe`; with measured times, of
      each block on each node, M * N more.
    - Action: a plan, int32 [M], nodes 0..N.
    - Reward: Eq. 14 of the slot, minus its delay and penalty in seconds; never zero while there is work.
    - Termination: never. After `scenario.num_slots` slots the episode is *truncated*, so its value is to be
      bootstrapped from `info["final_observation"]`; `step` then returns the first observation of the next episode.
    """

    def __repr__(self) -> str:
        return "PartitionEnv()"

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
        # Slots are drawn afresh anyway, so a new episode differs from the old one in queues, energy and time alone.
        state = EnvState(
            slot=replace(ended.slot, backlog=jnp.where(truncated, 0, scenario.backlog_in(ended.slot))),
            remaining_energy=jnp.where(truncated, scenario.energy_budget, ended.remaining_energy),
            time=jnp.where(truncated, 0, ended.time),
        )
        info |= {"terminated": terminated, "truncated": truncated, "final_observation": final_observation}
        return observe(scenario, state), state, reward, terminated, truncated, info

    def step_env(
        self, key: PRNGKeyArray, state: EnvState, plan: Int[Array, " blocks"], scenario: Scenario
    ) -> tuple[Float[Array, " features"], EnvState, Float[Array, ""], Bool[Array, ""], dict]:
        """The dynamics alone, without starting a new episode: (observation, state, reward, terminated, info)."""
        check_key("key", key)
        check_state(scenario, state)
        cost = evaluate_plan(scenario, state.slot, plan)
        backlog = backlog_after(scenario, state.slot, jnp.asarray(plan))
        slot = replace(sample_slot(key, scenario), backlog=backlog)
        state = EnvState(slot, state.remaining_energy - cost.energy, jnp.int32(state.time) + 1)
        info = {entry.name: getattr(cost, entry.name) for entry in fields(PlanCost)}
        return observe(scenario, state), state, cost.reward, jnp.bool_(False), info

    @property
    def name(self) -> str:
        """The environment's name."""
        return type(self).__name__

    def plan_shape(self, scenario: Scenario) -> tuple[int]:
        """Shape of a plan: (M,)."""
        check_type("scenario", scenario, Scenario)
        return (scenario.num_blocks,)

    def num_actions(self, scenario: Scenario) -> int:
        """Choices for each block: N + 1."""
        check_type("scenario", scenario, Scenario)
        return scenario.num_nodes

    def observation_size(self, scenario: Scenario) -> int:
        """Length of an observation."""
        check_type("scenario", scenario, Scenario)
        queues = scenario.num_nodes if scenario.rules.queues else 0
        return _num_works(scenario) + scenario.num_blocks * scenario.num_nodes + 1 + queues


def observe(scenario: Scenario, state: EnvState) -> Float[Array, " features"]:
    """What an agent sees (Eq. 11), each entry scaled to order one by constants of the scenario:

    | entries | meaning | scale |
    |---|---|---|
    | M | c_m, work of each block in this slot | what the IoT tier computes in a slot |
    | or M (N + 1) | measured seconds of each block on each node, -1: cannot run | the longest of a mean slot |
    | M | d_m, parameter bytes of each block | those of the whole network |
    | M N | R_m^n, rate to each server (0: no such server) | top of the device rate range |
    | 1 | E^r, remaining energy | the energy budget |
    | N + 1 | with queues: free_n, time x until each node is free | x slots become log(1 + 10 x) / log 11 |

    The logarithm keeps a queue that grows without limit readable beside one that begins to form; one slot stays 1.
    """
    network, parameter_bytes = scenario.network, scenario.workload.parameter_bytes
    rate = jnp.where(network.available[1:], scenario.device_rate_in(state.slot), 0)
    entries = [
        observed_work(scenario, scenario.tasks_in(state.slot)),
        parameter_bytes / jnp.maximum(jnp.sum(parameter_bytes), 1),
        (rate / rate_scale(network)).ravel(),
        (state.remaining_energy / energy_scale(scenario))[None],
    ]
    if scenario.rules.queues:
        entries.append(observed_queue(scenario.backlog_in(state.slot) / scenario.slot_seconds))
    return jnp.concatenate(entries)


def read_observation(scenario: Scenario, observation: Float[Array, " features"]) -> Slot:
    """The slot that an agent in `scenario` sees in `observation`: what `observe` scaled, in its own units again."""
    blocks, servers, nodes, works = (
        scenario.num_blocks,
        scenario.num_nodes - 1,
        scenario.num_nodes,
        _num_works(scenario),
    )
    work, rate = observation[:works], observation[works + blocks : works + (1 + servers) * blocks]
    backlog, tasks = jnp.zeros(nodes), None
    if scenario.rules.queues:
        backlog = jnp.expm1(observation[-nodes:] * np.log1p(QUEUE_SCALE)) / QUEUE_SCALE * scenario.slot_seconds
    if scenario.arrivals == "poisson":
        if scenario.times is None:
            seen = jnp.sum(work) * scenario.network.speed[0] * scenario.slot_seconds
            mean = jnp.sum(scenario.work)
        else:
            of_mean = observed_work(scenario, scenario.release_rate)
            seen, mean = (jnp.sum(jnp.where(of_mean < 0, 0, each)) for each in (work, of_mean))
        tasks = scenario.release_rate * seen / jnp.where(mean > 0, mean, 1)
    return Slot(rate.reshape(blocks, servers) * rate_scale(scenario.network), backlog, tasks)


def observed_work(scenario: Scenario, tasks) -> Float[Array, " works"]:
    """How the work of some tasks is observed: see `observe`."""
    if scenario.times is None:
        work = tasks * scenario.workload.macs * scenario.cycles_per_mac
        return work / (scenario.network.speed[0] * scenario.slot_seconds)
    seconds = jnp.asarray(scenario.times.seconds).ravel()
    longest = scenario.release_rate * jnp.max(finite(seconds))
    return jnp.where(jnp.isfinite(seconds), tasks * finite(seconds) / jnp.where(longest > 0, longest, 1), -1)


def _num_works(scenario: Scenario) -> int:
    return scenario.num_blocks * (1 if scenario.times is None else scenario.num_nodes)


#: How many times the time until a node is free, in slots, is taken before its logarithm is observed.
QUEUE_SCALE = LEDGER.default("queue_scale")


def observed_queue(slots: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """How the time until a node is free, in slots, is observed."""
    return jnp.log1p(QUEUE_SCALE * slots) / np.log1p(QUEUE_SCALE)


def rate_scale(network: Network) -> Float[Array, ""]:
    """What device rates are observed in, bytes/s: the top of their range, or 1 where no device reaches any server."""
    top = network.device_rate_range[1]
    return jnp.where(top > 0, top, 1)


def energy_scale(scenario: Scenario) -> Float[Array, ""]:
    """What the remaining energy is observed in, J: the budget; one too small to divide by is taken for 1 nJ."""
    return jnp.maximum(scenario.energy_budget, 1e-9)


def observe_all(scenario: Scenario, states: EnvState) -> Float[Array, "slots features"]:
    """`observe` of many states, every array of which has a leading axis [slots]."""
    return jax.vmap(observe, (None, 0))(scenario, states)


def rollout(
    scenario: Scenario,
    start: EnvState | None,
    slots: Slot,
    choose_plans: Callable[[EnvState, Array], Int[Array, "slots blocks"]],
    noise: Array,
) -> tuple[EnvState, Int[Array, "slots blocks"], PlanCost]:
    """Run a policy over T consecutive slots of one episode.

    **Arguments:**

    - `start`: the state before the first slot; of its `slot` only the backlog counts, and only with queues. None stands
      for the beginning of an episode in the first of `slots`.
    - `slots`: what each slot and the one after them draws, every array with a leading axis [T + 1]; with [T] the last
      one is taken to come again. Slots from `scenario.num_slots` on are not run: they leave the state as it is.
    - `choose_plans`: (states [T], noise [T, ...]) -> plans [T, M], each a function of the state and the noise of its
      own slot alone: the `vmap` of a function for one slot, or the same by larger matrix products.
    - `noise`: random numbers for each slot, [T, ...].

    **Returns:** the states before each slot and after the last [T + 1], the plans [T, M], and their costs [T].

    **Raises:** `ValueError` for states or slots that do not fit the scenario, noise that does not fit the slots, and
    plans of wrong shape or type, or of nodes that do not exist where that is known before they are run.
    """
    count = check_slots(scenario, slots)
    if start is not None:
        check_state(scenario, start, "start")
    check_callable("choose_plans", choose_plans, "(states, noise) -> plans")
    _check_noise(noise, count)
    slots = jax.vmap(scenario.complete)(slots)
    if slots.device_rate.shape[0] == jax.tree.leaves(noise)[0].shape[0]:
        slots = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[-1:]]), slots)
    first = jax.tree.map(lambda leaf: leaf[0], slots)
    if start is None:
        start = EnvState(first, scenario.energy_budget, jnp.int32(0))
    start = EnvState(
        slot=replace(first, backlog=scenario.backlog_in(start.slot)),
        remaining_energy=jnp.asarray(start.remaining_energy, float),
        time=jnp.int32(start.time),
    )
    run = _run_slot_by_slot if scenario.rules.slots_couple else _run_at_once

    def choose(states, noise):
        plans = choose_plans(states, noise)
        return checked_plan(scenario, plans, name="plans of choose_plans", leading=states.time.shape)

    return run(scenario, start, slots, choose, noise)


def _check_noise(noise, count: int) -> None:
    leaves = jax.tree.leaves(noise)
    arrays = all(
        isinstance(leaf, jax.Array) or getattr(getattr(leaf, "dtype", ""), "kind", "") in "iufb" for leaf in leaves
    )
    lengths = {np.shape(leaf)[:1] for leaf in leaves} if arrays else set()
    if len(lengths) != 1 or not lengths <= {(count - 1,), (count,)}:
        raise ValueError(
            f"noise must be arrays with a leading axis of the {count - 1} slots, or of {count} if slots holds none "
            f"after the last; got {shown(noise)}"
        )


def _run_at_once(scenario: Scenario, start: EnvState, slots: Slot, choose_plans, noise):
    """`rollout` where slots do not couple, all of them at the same time.

    What a slot draws does not depend on the plans; only the remaining energy does. So the plans of all slots are
    computed at once for a guess of the states, then the states for these plans, and so on until no plan changes. After
    k rounds the first k plans are those of a run slot by slot, so the loop ends, and it ends with exactly that run,
    whatever the guess; in practice after two or three rounds, each of them a few large matrix products instead of many
    small ones. The guess is that each slot takes what the slots of the episode took so far, on average.
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

    average = (scenario.energy_budget - start.remaining_energy) / jnp.maximum(start.time, 1)
    guess = (jnp.full(count, average), jnp.full((count, scenario.num_blocks), -1), jnp.bool_(True))
    _, plans, _ = jax.lax.while_loop(lambda loop: loop[2], refine, guess)
    cost = costs_of(plans)
    return states_under(cost.energy), plans, cost


def _run_slot_by_slot(scenario: Scenario, start: EnvState, slots: Slot, choose_plans, noise):
    """`rollout` where slots couple, each with all before it: guesses as above would take many rounds."""

    def step(state, inputs):
        drawn, noise = inputs
        state = replace(state, slot=replace(drawn, backlog=state.slot.backlog))
        one = jax.tree.map(lambda leaf: leaf[None], (state, noise))
        plan = choose_plans(*one)[0]
        cost = plan_cost(scenario, state.slot, plan)
        behind = replace(state.slot, backlog=backlog_after(scenario, state.slot, plan))
        after = EnvState(behind, state.remaining_energy - cost.energy, state.time + 1)
        active = state.time < scenario.num_slots
        after = jax.tree.map(lambda new, old: jnp.where(active, new, old), after, state)
        return after, (state, plan, cost)

    run_slots = jax.tree.map(lambda leaf: leaf[:-1], slots)
    end, (states, plans, cost) = jax.lax.scan(step, start, (run_slots, noise))
    last = jax.tree.map(lambda leaf: leaf[-1], slots)
    end = replace(end, slot=replace(last, backlog=end.slot.backlog))
    return jax.tree.map(lambda some, one: jnp.concatenate([some, one[None]]), states, end), plans, cost
