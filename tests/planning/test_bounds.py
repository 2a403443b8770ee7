import heapq
import itertools
from dataclasses import replace
from functools import cache, partial

import equations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from instances import by_any_mixture, instance, random_instances, round_problem

from mecpart.experiments.setting import Setting
from mecpart.model.slots import sample_slots
from mecpart.planning.bounds import bound_prices, episode_bound, lower_bound, pooled_bound, priced_bound


def random_episodes(seed, count, length, *, name="loaded", servers=2, round_values=False):
    """`count` episodes of two blocks on devices and servers, slots of [count, length]; some far beyond capacity."""
    scenario, _ = random_instances(seed, count, blocks=2, servers=servers, name=name, round_values=round_values)
    drawn = random_instances(seed + 1, count * length, blocks=2, servers=servers, tasks=name == "loaded")[1]
    scenario = replace(scenario, num_slots=length, arrivals="poisson" if name == "loaded" else "constant")
    return scenario, jax.tree.map(lambda leaf: leaf.reshape(count, length, *leaf.shape[1:]), drawn)


@cache
def small_episodes(length, servers):
    """Episodes, and the least total delay of each: of all sequences of plans."""
    episodes = random_episodes(10 * length + servers, 120, length, servers=servers)
    one_by_one = [instance(episodes, i) for i in range(120)]
    least = [
        equations.least_of_episode(scenario, [instance(slots, t) for t in range(length)])
        for scenario, slots in one_by_one
    ]
    return episodes, np.array(least)


def shortest_remaining_first(releases, works, speed):
    """The sum of completion times less releases on one machine that always serves the job with least work left."""
    now, total, waiting, pending = 0.0, 0.0, [], sorted(zip(releases, works, strict=True), reverse=True)
    while waiting or pending:
        if not waiting:
            now = max(now, pending[-1][0])
        while pending and pending[-1][0] <= now:
            release, work = pending.pop()
            heapq.heappush(waiting, (work, release))
        work, release = heapq.heappop(waiting)
        until = pending[-1][0] if pending else np.inf
        if now + work / speed <= until:
            now += work / speed
            total += now - release
        else:
            heapq.heappush(waiting, (work - (until - now) * speed, release))
            now = until
    return total


def least_in_any_order(scenario, slots) -> float:
    """The least total delay of an episode, whatever the plans and the order in which nodes serve blocks.

    Every order of the blocks of all slots is tried, each block as soon as its input is there and its node is through
    with those before it: some such order is at least as good as any schedule (Giffler and Thompson 1960).
    """
    every = equations.all_plans(2, len(scenario.network.speed))
    unpaid = replace(scenario, rules=replace(scenario.rules, return_charged=False))
    costs = [equations.cost_of(unpaid, replace(slot, backlog=0 * slot.backlog), every) for slot in slots]
    paid = [equations.cost_of(scenario, replace(slot, backlog=0 * slot.backlog), every) for slot in slots]
    length, least = float(scenario.slot_seconds), np.inf
    orders = set(itertools.permutations([slot for slot in range(len(slots)) for _ in range(2)]))
    for chosen in itertools.product(range(len(every)), repeat=len(slots)):
        if not all(np.isfinite(paid[t].total_delay[plan]) for t, plan in enumerate(chosen)):
            continue
        back = sum(paid[t].total_delay[plan] - costs[t].total_delay[plan] for t, plan in enumerate(chosen))
        for order in orders:
            free, done, block = [0.0] * len(scenario.network.speed), [t * length for t in range(len(slots))], {}
            for t in order:
                plan, m = chosen[t], block.get(t, 0)
                node = every[plan, m]
                done[t] = max(done[t] + costs[t].transmission_delay[plan, m], free[node])
                done[t] += costs[t].computation_delay[plan, m]
                free[node], block[t] = done[t], m + 1
            least = min(least, sum(done) - sum(t * length for t in range(len(slots))) + back)
    return least


class TestEpisodeBounds:
    """Against the least total delay of hundreds of small episodes, over all sequences of plans, by NumPy."""

    SIZES = ((4, 1), (4, 2))  # slots, servers
    ALONE = staticmethod(jax.jit(jax.vmap(lambda *episode: jnp.sum(jax.vmap(lower_bound, (None, 0))(*episode)))))
    POOLED = staticmethod(jax.jit(jax.vmap(pooled_bound)))
    PRICED = staticmethod(jax.jit(jax.vmap(jax.vmap(priced_bound, (None, None, 0)), (0, 0, None))))
    EPISODE = staticmethod(jax.jit(jax.vmap(episode_bound)))

    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_none_exceeds_the_optimum(self, size):
        episodes, least = small_episodes(*size)
        alone, pooled, whole = (np.asarray(bound(*episodes)) for bound in (self.ALONE, self.POOLED, self.EPISODE))
        for bound in (alone, pooled, whole):
            assert np.isfinite(bound).all()
            assert (bound <= least * (1 + 1e-6)).all()
        assert (whole >= np.maximum(alone, pooled)).all()
        assert (least > 1.05 * alone).sum() > 60, "queues matter in many"
        assert (least > 1.5 * alone).sum() > 10, "and much where the network is overloaded"
        assert (pooled > 1.01 * alone).sum() > 10
        assert (whole > 1.01 * np.maximum(alone, pooled)).sum() > 10, "each is the best of the three somewhere"
        assert (whole > least * (1 - 1e-6)).sum() > 5, "and in some episodes it is the optimum itself"

    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_priced_bound_whatever_the_prices(self, size):
        episodes, least = small_episodes(*size)
        rng, shape = np.random.default_rng(0), (200, size[1] + 1)
        prices = rng.exponential(1, shape) * rng.choice([0, 0.1, 1, 10], shape)
        prices[0] = 0
        bounds = np.asarray(self.PRICED(*episodes, prices.astype(np.float32)))
        assert (bounds <= least[:, None] * (1 + 1e-6)).all()
        np.testing.assert_allclose(bounds[:, 0], self.ALONE(*episodes), rtol=1e-6)
        assert (bounds.max(axis=1) > 1.01 * bounds[:, 0]).sum() > 30, "some prices make it better"
        assert (bounds.min(axis=1) < 0.9 * bounds[:, 0]).sum() > 30, "and some worse"

    def test_none_exceeds_the_optimum_in_any_order_of_service(self):
        episodes = random_episodes(3, 24, 3, servers=1)
        rng = np.random.default_rng(0)
        prices = (rng.exponential(1, (100, 2)) * rng.choice([0, 0.1, 1, 10], (100, 2))).astype(np.float32)
        least, fifo = [], []
        for i in range(24):
            scenario, slots = instance(episodes, i)
            slots = [instance(slots, t) for t in range(3)]
            least.append(least_in_any_order(scenario, slots))
            fifo.append(equations.least_of_episode(scenario, slots))
        least, fifo = np.array(least), np.array(fifo)
        assert (least <= fifo * (1 + 1e-9)).all()
        assert (least < 0.99 * fifo).sum() > 3, "overtaking helps in some"
        assert (np.asarray(self.EPISODE(*episodes)) <= least * (1 + 1e-6)).all()
        assert (np.asarray(self.PRICED(*episodes, prices)) <= least[:, None] * (1 + 1e-6)).all()

    def test_an_overload_by_hand(self):
        """Devices alone, 14 s of work in each of ten slots of 1 s: each waits 13 s longer than the one before."""
        scenario, slot = round_problem("loaded")
        alone = replace(scenario, network=replace(scenario.network, speed=np.float32([8, 0, 0])))
        slots = jax.tree.map(lambda leaf: jnp.stack([leaf] * 10), slot)
        assert self.EPISODE(*jax.tree.map(lambda leaf: leaf[None], (alone, slots))) == 10 * 14 + 13 * 45
        assert jax.jit(pooled_bound)(alone, slots) == 10 * 14 + 13 * 45
        # At a price of 2, V = 14 + 2 * 14 = 42, and H = 9 * 1 + V = 51.
        bound = jax.jit(priced_bound)(alone, slots, jnp.array([2.0, 5.0, 7.0]))
        assert bound == 10 * 42 - 2 * 51

    def test_the_pool_serves_what_has_least_work_left(self):
        """Against a simulation of events."""
        scenarios, slots = random_episodes(0, 60, 30)
        tasks = slots.tasks * (np.random.default_rng(0).random(slots.tasks.shape) > 1 / 8)  # now and then none
        found, expected, first_come = self.POOLED(scenarios, replace(slots, tasks=tasks)), [], []
        for i in range(60):
            scenario, length = instance(scenarios, i), float(scenarios.slot_seconds[i])
            works = np.float64(tasks[i]) * scenario.workload.macs.sum() * scenario.cycles_per_mac
            speed = float(scenario.network.speed.sum())
            expected.append(shortest_remaining_first(np.arange(30) * length, works, speed))
            done = 0.0
            for release, work in zip(np.arange(30) * length, works, strict=True):
                done = max(done, release) + work / speed
                first_come.append(done - release)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        in_order = np.reshape(first_come, (60, 30)).sum(axis=1)
        assert (expected < 0.9 * in_order).sum() > 10, "the order matters"

    def test_without_queues_the_optimum_itself(self):
        episodes = random_episodes(1, 20, 5, name="as_printed")
        least = [
            sum(
                equations.cost_of(scenario, instance(slots, t), equations.all_plans(2, 3)).total_delay.min()
                for t in range(5)
            )
            for scenario, slots in (instance(episodes, i) for i in range(20))
        ]
        np.testing.assert_allclose(self.EPISODE(*episodes), least, rtol=1e-5)

    @by_any_mixture
    def test_by_any_mixture_of_rules(self, rules):
        scenarios, slots = random_episodes(2, 40, 3, servers=1)
        scenarios = replace(scenarios, rules=rules)
        least = [
            equations.least_of_episode(instance(scenarios, i), [instance(instance(slots, i), t) for t in range(3)])
            for i in range(40)
        ]
        bound = np.asarray(self.EPISODE(scenarios, slots))
        assert (bound <= np.multiply(least, 1 + 1e-6)).all()
        attained = bound > np.multiply(least, 1 - 1e-6)
        assert attained.all() != rules.queues
        assert attained.any()

    def test_under_load_prices_improve_the_bound(self):
        scenario = replace(Setting(release_rate=110.0).build("loaded", 3), num_slots=100)
        slots = sample_slots(jax.random.key(0), scenario, 100)

        @jax.jit
        def bounds(scenario, slots):
            price = bound_prices(scenario, slots)
            free = priced_bound(scenario, slots, jnp.zeros_like(price))
            return price, free, priced_bound(scenario, slots, price), episode_bound(scenario, slots, price)

        price, free, priced, whole = bounds(scenario, slots)
        assert (price >= 0).all()
        assert priced > 1.2 * free
        assert whole == priced

    def test_one_step_by_hand(self):
        """From no prices along the slope, whatever its size, by the first length; back to none where that is worse."""
        scenario = replace(Setting(release_rate=110.0).build("loaded", 3), num_slots=20)
        slots = sample_slots(jax.random.key(0), scenario, 20)
        slope = jax.jit(jax.grad(lambda price: priced_bound(scenario, slots, price)))(jnp.zeros(scenario.num_nodes))
        expected = np.maximum(0.03 * np.asarray(slope) / np.linalg.norm(slope), 0)
        for momentum in (0.0, 0.5):  # the direction is of length one, and there is none before it
            price = bound_prices(scenario, slots, 2, (0.03, 1e-9), momentum)
            np.testing.assert_allclose(price, expected, rtol=1e-4, atol=1e-7)

    @pytest.mark.parametrize(
        ("argument", "value", "got"),
        [("steps", 0, "0"), ("step_range", 0.5, "0.5"), ("step_range", (0.5, 0.0), "0"), ("momentum", 1.5, "1.5")],
    )
    def test_refuses_a_bad_ascent(self, refused, argument, value, got):
        scenario, slot = round_problem("loaded")
        with refused(argument, f"got {got}"):
            bound_prices(scenario, jax.tree.map(lambda leaf: leaf[None], slot), **{argument: value})


class TestBadInput:
    @pytest.mark.parametrize("price", [-1.0, np.nan, np.inf, 1e39], ids=repr)
    def test_refuses_a_price_that_makes_no_bound(self, refused, price):
        scenario, slot = round_problem("loaded")
        slots, prices = jax.tree.map(lambda leaf: leaf[None], slot), np.array([0, price, 0])
        for bound in (episode_bound, priced_bound):
            with refused("price", f"got {price:g}", "finite and at least 0"):
                bound(scenario, slots, prices)
            with refused("price must have shape (3,)", "got (2,)"):
                bound(scenario, slots, np.zeros(2))

    @pytest.mark.parametrize("rate", [-1.0, np.nan, np.inf], ids=repr)
    def test_refuses_slots_that_hold_bad_values(self, refused, rate):
        scenario, slot = round_problem("loaded")
        bad = jax.tree.map(lambda leaf: leaf[None], replace(slot, device_rate=np.full((3, 2), rate, np.float32)))
        calls = (episode_bound, pooled_bound, bound_prices, partial(priced_bound, price=np.zeros(3)))
        for bound in calls:
            with refused("slots.device_rate", f"got {rate:g}", "finite and at least 0"):
                bound(scenario, bad)

    def test_refuses_slots_of_another_network(self, refused):
        scenario, slot = round_problem("loaded")
        other = replace(slot, device_rate=np.ones((3, 6), np.float32), backlog=np.zeros(7, np.float32))
        with refused("slots.device_rate must have shape (1, 3, 2)", "got (1, 3, 6)"):
            episode_bound(scenario, jax.tree.map(lambda leaf: leaf[None], other))
        with refused("slots.backlog must have shape (3, 3)", "got (3,)"):
            episode_bound(scenario, slot)
        with refused("slots.backlog must have shape (2, 3)", "got (3,)"):
            pooled_bound(scenario, replace(slot, device_rate=np.ones((2, 3, 2), np.float32)))
        with refused("slots.device_rate must have a leading axis", "got shape ()"):
            pooled_bound(scenario, replace(slot, device_rate=np.float32(1)))

    def test_a_traced_price_that_makes_no_bound_counts_as_none(self):
        scenario, slot = round_problem("loaded")
        bound = jax.jit(partial(priced_bound, scenario, jax.tree.map(lambda leaf: leaf[None], slot)))
        best = bound(np.zeros(3))
        for price in (-1, np.nan, np.inf):
            assert bound(np.full(3, price)) == best
