import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecpart.relatives.neurosurgeon import DEVICE_SECONDS, imagenet_vgg16, neurosurgeon


def test_the_network_is_that_of_the_publication():
    """Multiply-accumulates and bytes as the authors' code lists them (github.com/letian-zhang/ANS, muLinUCB.py)."""
    task = imagenet_vgg16()
    macs = dict(zip(task.block_names, np.asarray(task.macs, np.float64), strict=True))
    assert sum(macs[name] for name in macs if name.startswith("conv")) == pytest.approx(15_346_630_656, rel=1e-6)
    assert sum(macs[name] for name in macs if name.startswith("fc")) == 123_633_664
    assert float(task.input_bytes[0]) == 3 * 224 * 224 * 4


def test_delay_by_hand():
    problem, task = neurosurgeon(), imagenet_vgg16()
    rate, ratio = 1e6, 4.0
    state = jnp.array([rate, ratio])
    share = np.cumsum([0, *np.asarray(task.macs, np.float64)]) / float(task.macs.sum())
    enters = [*np.asarray(task.input_bytes), 0]
    for cut in range(22):
        back = 4000 / rate if cut < 21 else 0
        by_hand = DEVICE_SECONDS * (share[cut] + (1 - share[cut]) / ratio) + enters[cut] / rate + back
        assert float(problem.cost(state, jnp.array([cut]))) == pytest.approx(by_hand, rel=1e-5)


def test_no_placement_is_better_than_one_cut_and_no_rule_than_that():
    problem = neurosurgeon()
    states = jax.vmap(problem.draw)(jax.random.uniform(jax.random.key(0), (50, 2)))
    costs = jax.jit(jax.vmap(jax.vmap(problem.cost, (None, 0)), (0, None)))(states, problem.plans)
    least = np.asarray(costs.min(axis=1))
    found = {name: np.asarray(jax.jit(jax.vmap(rule))(states)) for name, rule in problem.rules.items()}
    np.testing.assert_allclose(found["Any placement"], least, rtol=1e-5)
    np.testing.assert_allclose(found["Local or server"], np.minimum(costs[:, 0], costs[:, -1]), rtol=1e-6)
    assert np.all(found["Earliest finish"] >= least * (1 - 1e-5))
