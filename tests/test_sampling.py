import jax
import numpy as np
import pytest
from scipy import stats

from mecpart.sampling import uniform


def test_uniform_in_shape_and_distribution():
    drawn = np.asarray(uniform(jax.random.key(0), (5, 200, 4)))
    assert drawn.shape == (5, 200, 4)
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 0.01
    assert abs(np.corrcoef(drawn.reshape(5, -1))[np.triu_indices(5, 1)]).max() < 0.15  # sigma is 0.035


def test_a_scalar():
    assert uniform(jax.random.key(0), ()).shape == ()


def test_depends_on_the_key_alone():
    a, b, c = (np.asarray(uniform(jax.random.key(seed), (3, 2))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).all()


@pytest.mark.parametrize("more", [1, 2, 7])
def test_more_rows_leave_the_earlier_ones_as_they_are(more):
    key = jax.random.key(3)
    few, many = uniform(key, (2, 3)), uniform(key, (2 + more, 3))
    np.testing.assert_array_equal(few, many[:2])


def test_vectorised_over_keys():
    keys = jax.random.split(jax.random.key(4), 3)
    together = jax.vmap(lambda key: uniform(key, (2, 3)))(keys)
    np.testing.assert_array_equal(together, [uniform(key, (2, 3)) for key in keys])
