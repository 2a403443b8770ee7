"""What a testbed is measured by, without one: plans that cover all, and links that are found again."""

from itertools import pairwise, permutations, product

import numpy as np
import pytest

import mecpart
from mecpart.testbed.calibration import Probe, calibration, covering_plans, fitted_links, probes
from mecpart.testbed.routes import moves_of, route_of

SIZES = [3000.0, 64000.0, 32000.0, 8000.0, 40.0]


def all_linked(nodes):
    return ~np.eye(nodes, dtype=bool)


class TestCoveringPlans:
    def test_one_for_each_node_where_all_is_possible(self):
        can = np.ones((5, 3), bool)
        assert sorted(covering_plans(can, all_linked(3), moving=False)) == [[0] * 5, [1] * 5, [2] * 5]
        on_the_move = covering_plans(can, all_linked(3), moving=True)
        assert all(a != b for a, b in pairwise([0, *on_the_move[0], 0]))
        assert {pair for plan in on_the_move for pair in enumerate(plan)} == set(product(range(5), range(3)))
        assert len(on_the_move) <= 5

    @pytest.mark.parametrize("moving", [False, True])
    @pytest.mark.parametrize("seed", range(20))
    def test_all_that_any_plan_covers_and_nothing_that_is_not_possible(self, seed, moving):
        draw = np.random.default_rng(seed)
        can, linked = draw.random((4, 3)) < 0.7, (draw.random((3, 3)) < 0.6) & all_linked(3)

        def possible(plan):
            path = [0, *plan, 0]
            return can[range(4), plan].all() and all(a == b or linked[a, b] for a, b in pairwise(path))

        expected = {pair for plan in product(range(3), repeat=4) if possible(plan) for pair in enumerate(plan)}
        found = covering_plans(can, linked, moving=moving)
        assert all(map(possible, found))
        assert {pair for plan in found for pair in enumerate(plan)} == expected
        assert len(found) <= len(expected)


class TestLinks:
    def test_are_found_again(self):
        """Latencies as far as any closed way tells: all of those by other nodes take as long as they did."""
        draw = np.random.default_rng(0)
        latency, rate = draw.uniform(1e-3, 5e-2, (4, 4)), 10 ** draw.uniform(5, 8, (4, 4))
        moves = [probe.moves for probe in probes(all_linked(4), SIZES)]
        seconds = [sum(latency[a, b] + size / rate[a, b] for a, b, size in each) for each in moves]
        found, rates = fitted_links(moves, seconds, [False] * len(moves), 4)
        np.testing.assert_allclose(rates[all_linked(4)], rate[all_linked(4)], rtol=1e-3)
        for count in (1, 2, 3):
            for way in permutations((1, 2, 3), count):
                steps = list(zip((0, *way), (*way, 0), strict=True))
                assert sum(found[step] for step in steps) == pytest.approx(
                    sum(latency[step] for step in steps), rel=1e-3
                )

    def test_a_few_that_were_disturbed_do_not_count(self):
        latency, rate = 0.01, 1e6
        moves = [((0, 1, size), (1, 0, 0)) for size in np.linspace(1e3, 1e5, 9)]
        moves += [((0, 1, 0), (1, 0, size)) for size in np.linspace(1e3, 1e5, 9)]
        seconds = np.array([2 * latency + (one[2] + other[2]) / rate for one, other in moves])
        seconds[[3, 7, 12]] += 0.5
        found, rates = fitted_links(moves, seconds, [False] * len(moves), 2)
        np.testing.assert_allclose(found, [[0, latency], [latency, 0]], atol=1e-6)
        np.testing.assert_allclose(rates[[0, 1], [1, 0]], rate, rtol=1e-3)

    def test_what_transfers_take_longer_between_blocks_is_theirs(self):
        """Probes of 10 ms and 1 MB/s; 3 ms more for each of four transfers in a run of blocks."""
        moves = [((0, 1, size), (1, 0, 0)) for size in (0, 1e4, 1e5)] + [
            ((0, 1, 0), (1, 0, size)) for size in (1e4, 1e5)
        ]
        whole = ((0, 1, 2e4), (1, 0, 1e4), (0, 1, 3e4), (1, 0, 40))
        seconds = [0.02 + (one[2] + other[2]) / 1e6 for one, other in moves]
        seconds.append(sum(0.013 + size / 1e6 for *_, size in whole))
        found, rates = fitted_links([*moves, whole], seconds, [False] * len(moves) + [True], 2)
        np.testing.assert_allclose(found, [[0, 0.013], [0.013, 0]], atol=1e-6)
        np.testing.assert_allclose(rates[[0, 1], [1, 0]], 1e6, rtol=1e-3)

    def test_none_is_below_zero_or_infinite(self):
        found, rates = fitted_links([((0, 1, 1e3), (1, 0, 0))] * 3, [0.0] * 3, [False] * 3, 3)
        assert (found == 0).all()
        assert (rates[[0, 1], [1, 0]] == 1e12).all()
        assert (rates > 0).sum() == 2

    def test_probes_take_another_way_where_there_is_no_link(self):
        linked = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], bool)
        found = probes(linked, SIZES)
        assert {tuple(stage.node for stage in probe.route) for probe in found} == {(0, 1, 2, 0)}
        assert {move for probe in found for move in probe.moves if move[2]} == {
            *((0, 1, int(size)) for size in SIZES[:-1]),
            *((1, 2, int(size)) for size in SIZES[1:-1]),
            *((2, 0, int(size)) for size in SIZES[1:]),
        }


def test_medians_of_all_rounds_but_the_first():
    """By hand: one plan for each node, and the first round much slower."""
    task = mecpart.workload("alexnet", 2)
    plans = [[0, 0], [1, 1]]
    runs = [Probe(route_of(plan), moves_of(plan, [3000.0, 1000.0, 40.0])) for plan in plans]
    blocks = [[[9, 9], [1, 2], [3, 4], [2, 9]], [[9, 9], [5, 1], [5, 1], [5, 1]]]
    beyond = [[9, 0, 0, 0], [9, 0.5, 0.25, 0.75]]
    told = [
        [(sum(each) + more, np.array([each], float)) for each, more in zip(*both, strict=True)]
        for both in zip(blocks, beyond, strict=True)
    ]
    times, links = calibration(task, ("a", "b"), plans, runs, told)
    np.testing.assert_allclose(times.seconds, [[2, 5], [4, 1]])
    np.testing.assert_allclose(times.spread, [[1, 0], [np.sqrt(13), 0]], rtol=1e-6)
    way = links.latency + np.array([[0, 3000], [40, 0]]) / np.where(links.rate > 0, links.rate, 1)
    assert float(way.sum()) == pytest.approx(0.5)
    assert (times.names, links.names) == (("a", "b"), ("a", "b"))
