"""Measured devices: the two types."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilation import compilations

from mecpart import BlockTimes, Links, Workload, workload
from mecpart.model.devices import check_links, check_times

INF = float("inf")
NAN = float("nan")
UNITS = Workload(
    macs=np.float32([1, 2, 3, 4]),
    input_bytes=np.float32([100, 80, 60, 40]),
    parameter_bytes=np.float32([8, 7, 6, 5]),
    output_bytes=np.float32(10),
    block_names=("a", "b", "c", "d"),
    name="mine",
)
TIMES = BlockTimes(
    seconds=[[1, 0.5], [2, 0.25], [4, INF], [8, 2]],
    workload=UNITS,
    names=("pi", "edge"),
    spread=[[3, 0], [4, 0], [0, INF], [1, 0.5]],
    memory_bytes=[1, 2, 3, 4],
    watts=[5, 200],
)
LINKS = Links(
    latency=[[NAN, 1, 2], [3, NAN, 4], [5, 6, NAN]],
    rate=[[INF, 10, 20], [0, INF, 30], [40, 50, -1]],
    names=("pi", "edge", "cloud"),
)


class TestBlockTimes:
    def test_merged_blocks_add_up(self):
        cut = TIMES.cut([0, 1, 3])
        np.testing.assert_array_equal(cut.seconds, [[1, 0.5], [6, INF], [8, 2]])
        np.testing.assert_array_equal(cut.spread, [[3, 0], [4, INF], [1, 0.5]])
        np.testing.assert_array_equal(cut.memory_bytes, [1, 5, 4])
        np.testing.assert_array_equal(cut.workload.macs, [1, 5, 4])
        np.testing.assert_array_equal(cut.workload.input_bytes, [100, 80, 40])
        np.testing.assert_array_equal(cut.workload.parameter_bytes, [8, 13, 5])
        assert (cut.workload.output_bytes, cut.workload.block_names) == (10, ("a", "b-c", "d"))
        assert (cut.names, cut.num_blocks, cut.num_nodes) == (("pi", "edge"), 3, 2)
        np.testing.assert_array_equal(cut.watts, [5, 200])

    def test_independent_spreads_add_by_their_squares(self):
        assert TIMES.cut([0, 2]).spread[0, 0] == 5

    def test_a_number_of_blocks_is_cut_as_a_workload_is(self):
        layers = workload("alexnet", 9)
        seconds = np.ones((9, 2))
        times = BlockTimes(seconds, layers, ("a", "b"))
        for blocks in (1, 3, 5, 9):
            wanted, cut = workload("alexnet", blocks), times.cut(blocks)
            assert cut.workload.block_names == wanted.block_names
            np.testing.assert_allclose(cut.workload.macs, wanted.macs, rtol=1e-6)
            np.testing.assert_array_equal(cut.workload.input_bytes, wanted.input_bytes)

    def test_without_macs_seconds_of_the_fastest_node_are_balanced(self):
        times = replace(TIMES, workload=replace(UNITS, macs=np.zeros(4, np.float32)))
        # 0.5, 0.25, 4 and 2 s: the largest block of two is 4.75 s, then 2 s.
        assert times.cut(2).workload.block_names == ("a-c", "d")

    def test_nodes_by_name_and_by_number(self):
        for nodes in (["edge", "pi"], [1, 0]):
            chosen = TIMES.select(nodes)
            np.testing.assert_array_equal(chosen.seconds, np.asarray(TIMES.seconds)[:, ::-1])
            np.testing.assert_array_equal(chosen.spread, np.asarray(TIMES.spread)[:, ::-1])
            np.testing.assert_array_equal(chosen.watts, [200, 5])
            assert chosen.names == ("edge", "pi")

    def test_tables_beside_each_other(self):
        """One node is a table too, as one machine measures it."""
        first, second = (
            replace(TIMES, seconds=TIMES.seconds[:, [n]], names=(name,), spread=TIMES.spread[:, [n]], watts=watts)
            for n, (name, watts) in enumerate([("pi", [3]), ("edge", None)])
        )
        both = first.beside(second)
        np.testing.assert_array_equal(both.seconds, TIMES.seconds)
        assert both.names == TIMES.names
        np.testing.assert_array_equal(both.spread, TIMES.spread)
        assert both.watts is None
        check_times(both)
        with pytest.raises(ValueError, match=r"others\.names must be a tuple of .* no two of them the same"):
            first.beside(first)
        with pytest.raises(ValueError, match="others must be of the blocks"):
            first.beside(TIMES.cut(2))

    def test_names_are_no_part_of_what_is_compiled(self):
        total = jax.jit(lambda times: jnp.sum(times.watts) * times.num_nodes)
        assert total(TIMES) == 410
        with compilations() as compiled:
            total(replace(TIMES, names=("other", "names"), workload=replace(UNITS, name="other")))
        assert not compiled
        assert jax.jit(lambda times: times)(TIMES).names == ("", "")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"seconds": -np.ones((4, 2))}, r"times\.seconds must be infinite, or finite and at least 0; got -1"),
            ({"seconds": np.full((4, 2), NAN)}, r"times\.seconds must be .* got nan"),
            ({"seconds": np.ones((4, 3))}, r"times\.seconds must have shape \(4, 2\); got \(4, 3\)"),
            ({"seconds": [[1, 1], [INF, INF], [1, 1], [1, 1]]}, r"times\.seconds must be finite .* block 1 \('b'\)"),
            ({"spread": np.ones(4)}, r"times\.spread must have shape"),
            ({"memory_bytes": [1, 2, INF, 3]}, r"times\.memory_bytes must be finite"),
            ({"watts": [1, -1]}, r"times\.watts must be finite and at least 0; got -1"),
            ({"names": ("a", "a")}, r"times\.names must be a tuple of one or more texts"),
            ({"names": ["a", "b"]}, r"times\.names must be a tuple"),
            ({"names": ()}, r"times\.names must be a tuple of one or more texts"),
            ({"workload": None}, r"times\.workload must be a mecpart\.Workload"),
        ],
    )
    def test_bad_values(self, change, message):
        with pytest.raises(ValueError, match=message):
            check_times(replace(TIMES, **change))

    @pytest.mark.parametrize("blocks", [0, 5, True, [1, 2], [0, 2, 2], [], [0, 4]])
    def test_bad_cuts(self, blocks):
        with pytest.raises(ValueError, match=r"blocks|starts"):
            TIMES.cut(blocks)

    @pytest.mark.parametrize("nodes", ["pi", ["pi"], ["pi", "pi"], ["pi", "other"], [0, 2], [0, -1], None, 3])
    def test_bad_nodes(self, nodes):
        with pytest.raises(ValueError, match="nodes"):
            TIMES.select(nodes)


class TestLinks:
    def test_diagonals_do_not_count(self):
        check_links(LINKS)

    def test_nodes_by_name_and_by_number(self):
        for nodes in (["cloud", "pi"], [2, 0]):
            chosen = LINKS.select(nodes)
            assert (chosen.latency[0, 1], chosen.latency[1, 0]) == (5, 2)
            assert (chosen.rate[0, 1], chosen.rate[1, 0]) == (40, 20)
            assert (chosen.names, chosen.num_nodes) == (("cloud", "pi"), 2)

    def test_spread_goes_with_its_nodes(self):
        spread = np.arange(9).reshape(3, 3)
        assert replace(LINKS, spread=spread).select([2, 1]).spread[0, 1] == 7

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"rate": np.full((3, 3), -1)}, r"links\.rate must be finite and at least 0; got -1"),
            ({"rate": np.full((3, 3), INF)}, r"links\.rate must be finite"),
            ({"rate": np.ones((3, 2))}, r"links\.rate must have shape \(N \+ 1, N \+ 1\)"),
            ({"rate": None}, r"links\.rate must"),
            ({"latency": np.ones((2, 2))}, r"links\.latency must have shape \(3, 3\); got \(2, 2\)"),
            ({"latency": np.full((3, 3), NAN)}, r"links\.latency must be finite"),
            ({"spread": -np.ones((3, 3))}, r"links\.spread must be finite and at least 0; got -1"),
            ({"names": ("a", "b")}, r"links\.names must be a tuple of 3 texts"),
        ],
    )
    def test_bad_values(self, change, message):
        with pytest.raises(ValueError, match=message):
            check_links(replace(LINKS, **change))

    def test_bad_nodes(self):
        with pytest.raises(ValueError, match="nodes"):
            replace(LINKS, names=()).select(["pi", "edge"])
