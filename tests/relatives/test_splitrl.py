import csv
from collections import defaultdict

import jax.numpy as jnp
import pytest

from mecpart.locations import data_folder
from mecpart.relatives.splitrl import TESTBEDS, splitrl


@pytest.mark.parametrize("testbed", TESTBEDS)
def test_costs_and_rule_are_those_of_the_table(testbed):
    table = defaultdict(list)
    with (data_folder() / "measured" / "paretopipe_splits.csv").open() as file:
        for row in csv.DictReader(file):
            if row["testbed"] == testbed:
                parts = [float(row[f"{part}_seconds"]) for part in ("first_part", "transfer", "second_part")]
                table[row["network"]].append(parts)
    problem = splitrl(testbed)
    assert sum(map(len, table.values())) == 105
    assert len(problem.plans) == max(map(len, table.values())) == 30
    for network, name in enumerate(sorted(table)):
        cuts = table[name]
        for cut in (0, 1, len(cuts) - 1, 29):
            expected = max(cuts[min(cut, len(cuts) - 1)])
            assert float(problem.cost(network, jnp.array([cut]))) == pytest.approx(expected)
        balanced = next((parts for parts in cuts if parts[0] >= parts[2]), cuts[-1])
        assert float(problem.rules["Balance"](network)) == pytest.approx(max(balanced))


def test_every_network_is_drawn():
    problem = splitrl("pi_to_pi")
    assert [int(problem.draw(jnp.array([noise]))) for noise in (0.0, 0.2, 0.4, 0.6, 0.8, 0.9999999)] == list(range(6))


def test_an_unknown_testbed_is_refused():
    with pytest.raises(ValueError, match="testbed must be one of 'pi_to_gpu', 'pi_to_pi'; got 'moon'"):
        splitrl("moon")
