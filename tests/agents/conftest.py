"""A small problem for the agents' tests."""

import pytest

import mecpart


@pytest.fixture(scope="session")
def scenario():
    """Three blocks, two servers and one that does not exist; ten slots, so that rounds of four leave a tail of two."""
    network = mecpart.make_network([9e9, 0.0, 5e9])
    return mecpart.as_printed(mecpart.workload("alexnet", blocks=3), network, num_slots=10)
