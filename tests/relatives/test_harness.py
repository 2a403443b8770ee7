import jax.numpy as jnp
import pytest

from mecpart.relatives import Relative, assess

COSTS = jnp.array([[1.0, 3.0, 2.0], [4.0, 1.0, 1.5]])  # of three plans in two states
PROBLEM = Relative(
    name="made up",
    cost_name="cost",
    plans=jnp.arange(3)[:, None],
    draws=1,
    draw=lambda noise: (noise[0] < 0.5).astype(int),
    observe=lambda state: 2.0 * state[None] - 1,
    cost=lambda state, plan: COSTS[state, plan[0]],
    rules={"The first": lambda state: COSTS[state, 0]},
)


def test_gaps_by_hand_and_learning_finds_the_plan_of_each_state():
    reached, curve = assess(PROBLEM, frames=200, training_frames=20_000, seeds=2)
    gap = reached.set_index("method")["gap_percent"]
    at_optimum = reached.set_index("method")["at_optimum_percent"]
    share = at_optimum["The first"] / 100  # of frames in the first state; the optimum is 1 in both
    assert 0.4 < share < 0.6
    assert gap["Optimal"] == 0
    assert gap["The first"] == pytest.approx(100 * 3 * (1 - share), abs=1e-3)
    assert gap["Best constant plan"] == pytest.approx(100 * (share + 0.5 * (1 - share)), abs=1e-3)
    assert gap["Random plan"] == pytest.approx(100 * (share + 3.5 / 3 * (1 - share)), abs=1e-3)
    assert at_optimum["Best constant plan"] == 0
    assert gap["Learned"] == 0
    assert curve["frames"].max() == 20_480
    assert len(curve) == 2 * 20
    assert curve.groupby("seed")["gap_percent"].last().tolist() == [0, 0]


def test_what_is_gained_is_learned_like_what_is_paid():
    gains = Relative(**vars(PROBLEM) | {"cost": lambda state, plan: -COSTS[state, plan[0]], "rules": {}})
    reached, _ = assess(gains, frames=200, training_frames=20_000, seeds=1)
    gap = reached.set_index("method")["gap_percent"]
    assert gap["Learned"] == 0
    assert gap["Best constant plan"] > 10


@pytest.mark.parametrize("name", ["frames", "training_frames", "seeds"])
def test_wrong_arguments_are_refused_by_name(name):
    good = {"frames": 10, "training_frames": 10, "seeds": 1}
    with pytest.raises(ValueError, match=rf"^{name} must be a whole number of at least 1; got 0$"):
        assess(PROBLEM, **good | {name: 0})
    with pytest.raises(
        ValueError, match=r"^relative must be a mecpart\.Relative, from mecpart\.relatives; got 'DROO'$"
    ):
        assess("DROO", **good)
