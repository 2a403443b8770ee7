import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from mecpart.relatives.droo import droo, mean_gains, time_split

#: Frames of the authors' data set (github.com/revenol/DROO, MIT, data/data_10.mat, rows 0, 1, 11 and 27): channel
#: gains in units of 1e-6, who offloads at the optimum, its weighted rate in bit/s, its share of the broadcast.
PUBLISHED = [
    (
        [0.850383008, 3.05795456, 2.24054803, 0.543856444, 0.612909325, 1.25372186, 3.16007417, 2.19845587, 0.155449889,
         3.8808623],
        [0, 1, 0, 0, 0, 0, 1, 1, 0, 1], 1510816.98824089, 0.67103076,
    ),
    (
        [6.060203042, 11.03319338, 0.10021354, 1.216106109, 1.961388384, 1.714563396, 5.245635697, 0.5895307171,
         4.077694292, 2.883331858],
        [1, 1, 0, 0, 0, 0, 1, 0, 0, 0], 3278981.61500366, 0.52235021,
    ),
    (
        [4.41871692, 23.45915388, 3.976270928, 4.173761512, 5.166518798, 3.921729841, 1.601071349, 3.637947322,
         0.66237998, 0.822835758],
        [0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 5795555.92494413, 0.42356734,
    ),
    (
        [6.928219232, 24.32294625, 5.143544798, 3.078094592, 3.707211005, 3.699871199, 0.3652771079, 1.300149372,
         0.1536184806, 1.025547855],
        [0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 5881003.47899803, 0.41595102,
    ),
]  # fmt: skip


def rate_of(gain, offload, broadcast, shares):
    """The objective as the publication has it, in plain numbers."""
    total = 0.0
    for user, (h, sends) in enumerate(zip(gain, offload, strict=True)):
        weight = 1.5 if user % 2 else 1.0
        if sends:
            signal = 0.7 * 3 * h**2 / 1e-10
            total += weight * 2e6 / (1.1 * np.log(2)) * shares[user] * np.log1p(signal * broadcast / shares[user])
        else:
            total += weight * (0.7 * 3 * h * broadcast / 1e-26) ** (1 / 3) / 100
    return total


@pytest.mark.parametrize(("gain", "offload", "rate", "broadcast"), PUBLISHED)
def test_the_optimum_of_all_plans_is_the_published_one(gain, offload, rate, broadcast):
    problem, gain = droo(), jnp.array(gain) * 1e-6
    costs = jax.jit(jax.vmap(problem.cost, (None, 0)))(gain, problem.plans)
    best = problem.plans[jnp.argmin(costs)]
    assert best.tolist() == offload
    assert -float(costs.min()) * 1e6 == pytest.approx(rate, rel=2e-6)
    assert float(time_split(gain, best)[1]) == pytest.approx(broadcast, abs=1e-4)


@pytest.mark.parametrize("offload", list(itertools.product((0, 1), repeat=3)))
def test_no_other_split_of_the_frame_is_better(offload):
    """Against a solver that knows nothing of prices, which starts from an even split."""
    gain = np.array([4e-6, 1e-7, 2e-5])
    senders = [user for user in range(3) if offload[user]]

    def loss(split):
        shares = np.zeros(3)
        shares[senders] = split[1:]
        return -rate_of(gain, offload, split[0], shares) / 1e6

    even = np.full(1 + len(senders), 1 / (1 + len(senders)))
    frame = {"type": "eq", "fun": lambda split: 1 - split.sum()}
    bounds = [(1e-9, 1)] * len(even)
    found = minimize(loss, even, bounds=bounds, constraints=frame, method="SLSQP", options={"ftol": 1e-12})
    rate, broadcast, shares = map(np.asarray, time_split(jnp.array(gain), jnp.array(offload)))
    assert rate / 1e6 == pytest.approx(-found.fun, rel=1e-4)
    assert rate / 1e6 >= -found.fun * (1 - 2e-6)
    assert rate == pytest.approx(rate_of(gain, offload, broadcast, shares), rel=1e-5)
    assert broadcast + shares.sum() == pytest.approx(1, abs=1e-6)
    assert not shares[[user for user in range(3) if not offload[user]]].any()


def test_one_user_by_a_fine_grid():
    broadcast = np.linspace(0, 1, 200_001)[1:-1]
    grid = max(rate_of([3e-6], [1], a, [1 - a]) for a in broadcast[::20])
    assert float(time_split(jnp.array([3e-6]), jnp.array([1]))[0]) == pytest.approx(grid, rel=1e-6)
    alone = (2.1 * 3e-6 / 1e-26) ** (1 / 3) / 100  # the whole frame is broadcast
    assert float(time_split(jnp.array([3e-6]), jnp.array([0]))[0]) == pytest.approx(alone, rel=1e-6)


def test_rules_and_search_are_what_they_say():
    problem = droo(4)
    gain = mean_gains(4) * jnp.array([0.3, 2.0, 0.1, 1.0])
    cost = {tuple(plan): float(problem.cost(gain, jnp.array(plan))) for plan in problem.plans.tolist()}
    order = sorted(range(4), key=lambda user: -float(gain[user]) * (1.5 if user % 2 else 1.0))
    ranked = min(cost[tuple(int(user in order[:count]) for user in range(4))] for count in range(5))
    assert float(problem.rules["Ranked by gain"](gain)) == pytest.approx(ranked)
    plan = (0, 0, 0, 0)
    for user in range(4):
        plan = min(plan, (*plan[:user], 1, *plan[user + 1 :]), key=cost.get)
    assert float(problem.rules["User by user"](gain)) == pytest.approx(cost[plan])
    best = min(cost, key=cost.get)
    logits = jnp.stack([jnp.zeros(4), jnp.array(best, float)], axis=1)
    assert float(problem.search(gain, logits)) == pytest.approx(cost[best])


def test_more_users_than_can_be_enumerated_are_refused():
    with pytest.raises(ValueError, match="num_users must be a whole number from 1 to 12; got 30"):
        droo(30)
