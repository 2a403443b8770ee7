import itertools
import pickle
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mecpart.dnn.layer import Layer
from mecpart.dnn.workload import (
    LayerTable,
    Workload,
    balanced_cut,
    check_workload,
    layers_from_csv,
    workload,
    workload_from_csv,
    workload_from_layers,
)
from mecpart.dnn.zoo import NETWORKS, layer_table

LAYERS = {"alexnet": 9, "nin": 12, "resnet32": 18, "vgg16": 21}
TABLES = {name: layer_table(NETWORKS[name]()) for name in LAYERS}


def chain_of(macs, crossing=None):
    """A layer table with the given multiply-accumulates, and the bytes that cross between its layers."""
    crossing = [1] * (len(macs) + 1) if crossing is None else crossing
    return [Layer(f"l{i}", m, crossing[i], crossing[i + 1], 10 + i) for i, m in enumerate(macs)]


@st.composite
def chains(draw):
    """Short chains in which equal sizes, zeros and hence ties are common."""
    macs = draw(st.lists(st.integers(0, 6) | st.integers(0, 10**9), min_size=1, max_size=9))
    crossing = draw(st.lists(st.integers(0, 5), min_size=len(macs) + 1, max_size=len(macs) + 1))
    return chain_of(macs, crossing)


class TestBalancedCut:
    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(chains(), st.data())
    def test_against_all_cuts(self, layers, data):
        blocks = data.draw(st.integers(1, len(layers)))

        def cost(starts):
            ends = (*starts[1:], len(layers))
            sizes = [sum(x.macs for x in layers[a:b]) for a, b in zip(starts, ends, strict=True)]
            crossing = sum(layers[start].input_bytes for start in starts[1:])
            return max(sizes), sum(size**2 for size in sizes), crossing, starts

        cuts = [(0, *rest) for rest in itertools.combinations(range(1, len(layers)), blocks - 1)]
        assert balanced_cut(layers, blocks) == min(cuts, key=cost)

    def test_by_hand(self):
        assert balanced_cut(chain_of([7, 2, 5, 10, 8]), 2) == (0, 3)  # 14 | 18
        assert balanced_cut(chain_of([1, 2, 3, 4, 5, 6, 7, 8, 9]), 3) == (0, 5, 7)  # 15 | 13 | 17

    def test_the_largest_block_does_not_excuse_the_others(self):
        # the 9 is the largest block of any cut; the rest is halved all the same
        assert balanced_cut(chain_of([2, 2, 2, 2, 9]), 3) == (0, 2, 4)

    def test_a_pooling_layer_stays_with_the_layer_it_shrinks(self):
        assert balanced_cut(chain_of([5, 0, 5], crossing=[3, 64, 16, 16]), 2) == (0, 2)
        assert balanced_cut(chain_of([5, 0, 5], crossing=[3, 16, 64, 16]), 2) == (0, 1)

    def test_the_earliest_cut_decides_the_last_tie(self):
        assert balanced_cut(chain_of([1, 1, 1]), 2) == (0, 1)

    @pytest.mark.parametrize("blocks", [0, -1, 4, 2.0, True, "2", None, float("nan")])
    def test_impossible_numbers_of_blocks_are_refused(self, blocks):
        message = rf"blocks must be a whole number from 1 to 3; got {re.escape(repr(blocks))}"
        with pytest.raises(ValueError, match=message):
            balanced_cut(chain_of([1, 2, 3]), blocks)


class TestWorkload:
    def test_vgg16_in_six_blocks_is_cut_as_in_the_paper(self):
        task = workload("vgg16", blocks=6)
        assert task.name == "vgg16"
        assert task.block_names == (
            "conv1_1-pool1", "conv2_1-pool2", "conv3_1-pool3", "conv4_1-pool4", "conv5_1-pool5", "fc1-fc3",
        )  # fmt: skip
        # (side, channels in, channels out, convolutions) of the five stages, then 512-512-512-10
        stages = [(32, 3, 64, 2), (16, 64, 128, 2), (8, 128, 256, 3), (4, 256, 512, 3), (2, 512, 512, 3)]
        macs = [side**2 * 9 * (a * b + (depth - 1) * b * b) for side, a, b, depth in stages]
        np.testing.assert_array_equal(task.macs, [*macs, 512 * 512 * 2 + 512 * 10])
        # the image in bytes, then the pooled feature maps in float32
        np.testing.assert_array_equal(
            task.input_bytes, [3072, 4 * 16**2 * 64, 4 * 8**2 * 128, 4 * 4**2 * 256, 4 * 2**2 * 512, 4 * 512]
        )
        assert task.parameter_bytes[-1] == 4 * (2 * (512 * 512 + 512) + 512 * 10 + 10)
        assert task.output_bytes == 40

    def test_six_blocks_are_the_default(self):
        for name in NETWORKS:
            assert workload(name).block_names == workload(name, 6).block_names
            assert workload(name).num_blocks == 6

    @pytest.mark.parametrize(
        ("name", "blocks"), [(name, m) for name, most in LAYERS.items() for m in range(1, most + 1)]
    )
    def test_every_number_of_blocks_keeps_the_totals(self, name, blocks):
        task, table = workload(name, blocks), TABLES[name]
        assert task.num_blocks == len(task.block_names) == len(set(task.block_names)) == blocks
        for quantity in ("macs", "parameter_bytes"):
            exact = sum(getattr(layer, quantity) for layer in table)
            np.testing.assert_allclose(np.asarray(getattr(task, quantity), np.float64).sum(), exact, rtol=1e-6)
        assert task.input_bytes[0] == 3072
        assert task.output_bytes == 40
        arrays = (task.macs, task.input_bytes, task.parameter_bytes)
        assert all(array.shape == (blocks,) and array.dtype == jnp.float32 for array in arrays)
        check_workload(task)

    @pytest.mark.parametrize("name", LAYERS)
    def test_finest_cut_is_the_layer_table(self, name):
        task, table = workload(name, LAYERS[name]), TABLES[name]
        assert task.block_names == tuple(layer.name for layer in table)
        for quantity in ("macs", "input_bytes", "parameter_bytes"):
            np.testing.assert_array_equal(
                getattr(task, quantity), np.float32([getattr(layer, quantity) for layer in table])
            )

    @pytest.mark.parametrize("name", LAYERS)
    def test_more_blocks_never_make_the_largest_larger(self, name):
        table = TABLES[name]
        cuts = [balanced_cut(table, blocks) for blocks in range(1, len(table) + 1)]
        largest = [float(np.max(workload_from_layers(table, cut, name=name).macs)) for cut in cuts]
        assert largest == sorted(largest, reverse=True)
        assert largest[-1] == max(layer.macs for layer in table)

    @pytest.mark.parametrize("name", ["VGG16", "vgg", "", None, 16, ["vgg16"]])
    def test_unknown_names_are_answered_with_the_names_there_are(self, name):
        message = rf"name must be one of 'alexnet', 'nin', 'resnet32', 'vgg16'; got {re.escape(repr(name))}"
        with pytest.raises(ValueError, match=message):
            workload(name)

    @pytest.mark.parametrize(("name", "most"), LAYERS.items())
    def test_impossible_numbers_of_blocks_are_refused(self, name, most):
        for blocks in (0, -3, most + 1, 6.0, True, "6", float("nan")):
            message = rf"blocks must be a whole number from 1 to {most}; got {re.escape(repr(blocks))}"
            with pytest.raises(ValueError, match=message):
                workload(name, blocks)

    def test_numpy_integers_are_numbers_of_blocks(self):
        assert workload("vgg16", np.int64(3)).num_blocks == 3


class TestFromLayers:
    def test_by_hand(self):
        layers = chain_of([5, 0, 7, 2], crossing=[3072, 64, 16, 8, 40])
        task = workload_from_layers(layers, (0, 2, 3), name="own")
        assert task.block_names == ("l0-l1", "l2", "l3")
        np.testing.assert_array_equal(task.macs, [5, 7, 2])
        np.testing.assert_array_equal(task.input_bytes, [3072, 16, 8])
        np.testing.assert_array_equal(task.parameter_bytes, [10 + 11, 12, 13])
        assert task.output_bytes == 40
        assert task.name == "own"

    @pytest.mark.parametrize(
        ("starts", "message"),
        [
            ((), r"starts must rise from 0, each index once; got \(\)"),
            ((1, 2), r"starts must rise from 0, each index once; got \(1, 2\)"),
            ((0, 2, 2), r"starts must rise from 0"),
            ((0, 2, 1), r"starts must rise from 0"),
            ((0, 3), r"each index in starts must be a whole number from 0 to 2; got 3"),
            ((0, -1), r"each index in starts must be .* got -1"),
            ((0, 1.0), r"each index in starts must be .* got 1\.0"),
        ],
    )
    def test_bad_cuts_are_refused(self, starts, message):
        with pytest.raises(ValueError, match=message):
            workload_from_layers(chain_of([1, 2, 3]), starts, name="own")

    def test_a_table_that_is_no_chain_is_refused(self):
        with pytest.raises(ValueError, match="layers must hold at least one layer; got none"):
            workload_from_layers([], (0,), name="own")
        with pytest.raises(ValueError, match="names of their own; got a more than once"):
            workload_from_layers([Layer("a", 1, 8, 8, 0), Layer("a", 1, 8, 8, 0)], (0,), name="own")
        with pytest.raises(ValueError, match=r"input_bytes of layer 'b' must be the 8 output_bytes .*; got 9"):
            balanced_cut([Layer("a", 1, 8, 8, 0), Layer("b", 1, 9, 8, 0)], 1)


class TestPytree:
    def test_transformations_trace_the_numbers(self):
        task = workload("vgg16")
        doubled = jax.jit(lambda task, factor: jax.tree.map(lambda x: x * factor, task))(task, 2.0)
        assert isinstance(doubled, Workload)
        np.testing.assert_array_equal(doubled.macs, 2 * task.macs)
        gradient = jax.grad(lambda t: jnp.sum(t.macs * t.input_bytes) + t.output_bytes)(task)
        np.testing.assert_array_equal(gradient.macs, task.input_bytes)
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(task)]
        assert paths == [".macs", ".input_bytes", ".parameter_bytes", ".output_bytes"]

    def test_what_is_compiled_for_one_serves_all_of_as_many_blocks(self):
        @jax.jit
        @chex.assert_max_traces(1)
        def traced(task):
            assert (task.name, task.block_names) == ("", ("",) * 6)
            return task

        for name in ("vgg16", "alexnet"):
            task, found = workload(name, 6), traced(workload(name, 6))
            np.testing.assert_array_equal(found.macs, task.macs)
            assert (found.name, found.num_blocks) == ("", 6), "of no network rather than of the first"

    def test_names_are_kept_where_nothing_is_traced(self):
        task = workload("vgg16")
        leaves, structure = jax.tree.flatten(task)
        for same in (jax.device_put(task), jax.tree.map(np.asarray, task), jax.tree.unflatten(structure, leaves)):
            assert (same.name, same.block_names) == (task.name, task.block_names)

    def test_batches_and_placeholders_unflatten(self):
        task = workload("nin")
        batch = jax.tree.map(lambda x: jnp.stack([x, x]), task)
        assert batch.macs.shape == (2, 6)
        assert batch.num_blocks == 6
        assert batch._repr_html_() is None
        totals = jax.vmap(lambda t: jnp.sum(t.macs))(batch)
        np.testing.assert_allclose(totals, 222_486_528, rtol=1e-6)
        leaves, structure = jax.tree.flatten(task)
        assert jax.tree.unflatten(structure, [object()] * len(leaves)).name == "nin"

    def test_works_inside_jit(self):
        total = jax.jit(lambda scale: scale * jnp.sum(workload("alexnet", 7).macs))(1.0)
        np.testing.assert_allclose(total, 14_957_056, rtol=1e-6)
        assert float(workload("alexnet", 7).macs[0]) > 0  # no tracer is left behind


class TestCheckWorkload:
    def make(self, **changes):
        values = dict(
            macs=jnp.ones(2), input_bytes=jnp.ones(2), parameter_bytes=jnp.ones(2), output_bytes=jnp.ones(()),
            block_names=("a", "b"), name="own",
        )  # fmt: skip
        return Workload(**(values | changes))

    def test_a_good_one_passes(self):
        check_workload(self.make())
        jax.jit(lambda task: check_workload(task))(self.make())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"macs": jnp.ones(3)}, r"workload\.macs must have shape \(2,\); got \(3,\)"),
            ({"input_bytes": jnp.array([1.0, -1.0])}, r"workload\.input_bytes must be .* at least 0; got -1"),
            ({"parameter_bytes": jnp.array([1.0, jnp.nan])}, r"workload\.parameter_bytes must be .* got nan"),
            ({"output_bytes": jnp.array(jnp.inf)}, r"workload\.output_bytes must be .* got inf"),
            ({"output_bytes": jnp.ones(1)}, r"workload\.output_bytes must have shape \(\); got \(1,\)"),
            ({"block_names": ()}, r"workload\.block_names must name at least one block"),
        ],
    )
    def test_bad_ones_are_refused(self, changes, message):
        with pytest.raises(ValueError, match=message):
            check_workload(self.make(**changes))


def test_html_table_shows_every_block():
    shown = workload("vgg16")._repr_html_()
    assert shown.count("<tr>") == 1 + 6
    assert "<td>conv1_1-pool1</td><td>39.52</td><td>3.1</td>" in shown
    assert "313.73 M multiply-accumulates" in shown
    assert "40 bytes of output" in shown
    named = workload_from_layers([Layer("<b>", 1, 1, 1, 1)], (0,), name="<own>")._repr_html_()
    assert "<b>" not in named
    assert "&lt;own&gt;" in named


class TestLayerTables:
    """Networks of one's own."""

    @pytest.fixture
    def table(self):
        return LayerTable("mine", (Layer("a", 5, 10, 20, 1), Layer("b", 7, 20, 30, 2), Layer("c", 1, 30, 4, 0)))

    def test_cut_as_the_zoos_are(self, table):
        found = workload(table, 2)
        np.testing.assert_array_equal(found.macs, [5, 8])
        np.testing.assert_array_equal(found.input_bytes, [10, 20])
        assert (found.name, found.block_names) == ("mine", ("a", "b-c"))
        assert workload(table).num_blocks == 3  # fewer than are usual

    def test_plain_values(self, table):
        same = pickle.loads(pickle.dumps(table))
        assert same == table
        assert hash(same) == hash(table)
        assert LayerTable("mine", table.layers[:2]) != table
        assert list(table.to_frame()["name"]) == ["a", "b", "c"]

    def test_refused(self, table, refused):
        with refused("name must be a non-empty text", "''"):
            LayerTable("", table.layers)
        with refused("at least one layer"):
            LayerTable("mine", ())
        with refused("input_bytes of layer 'c'", "20", "30"):
            LayerTable("mine", (table.layers[0], table.layers[2]))
        with refused("blocks", "3", "4"):
            table.workload(4)


class TestCSV:
    HEADER = "block_name,macs,input_bytes,parameter_bytes,output_bytes\n"

    def write(self, tmp_path, text):
        file = tmp_path / "mine.csv"
        file.write_text(text, encoding="utf-8")
        return file

    def test_each_row_is_a_block(self, tmp_path):
        file = self.write(tmp_path, self.HEADER + "first, 1.5e9 ,3072,0,\n\nsecond,2,16,8,40\n")
        found = workload_from_csv(file)
        np.testing.assert_array_equal(found.macs, np.float32([1.5e9, 2]))
        np.testing.assert_array_equal(found.input_bytes, [3072, 16])
        np.testing.assert_array_equal(found.parameter_bytes, [0, 8])
        assert float(found.output_bytes) == 40
        assert (found.name, found.block_names) == ("mine", ("first", "second"))

    def test_columns_in_any_order_as_a_spreadsheet_writes_them(self, tmp_path):
        """With a byte order mark, Windows' line ends and quotes."""
        text = '\ufeff"output_bytes","name","macs","parameter_bytes","input_bytes"\r\n"8","a, b","1","2","4"\r\n'
        (layer,) = layers_from_csv(self.write(tmp_path, text), name="own").layers
        assert layer == Layer("a, b", 1, 4, 8, 2)

    def test_what_a_table_writes_is_read(self, tmp_path):
        table = LayerTable("mine", (Layer("a", 5, 10, 20, 1), Layer("b", 7, 20, 30, 2)))
        file = tmp_path / "mine.csv"
        table.to_frame().to_csv(file, index=False)
        assert layers_from_csv(file) == table

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", ["columns", "no header"]),
            ("macs,input_bytes\n1,2\n", ["columns", "block_name", "macs, input_bytes"]),
            (HEADER, ["a row for each block", "none"]),
            (HEADER + "a,1,2,3\n", ["row 1", "5 columns", "4"]),
            (HEADER + "a,-1,2,3,4\n", ["'macs' in row 1", "'-1'"]),
            (HEADER + "a,nan,2,3,4\n", ["'macs' in row 1", "'nan'"]),
            (HEADER + "a,1.5,2,3,4\n", ["'macs' in row 1", "'1.5'"]),
            (HEADER + "a,1e99,2,3,4\n", ["'macs' in row 1", "'1e99'"]),
            (HEADER + "a,1,x,3,4\n", ["'input_bytes' in row 1", "'x'"]),
            (HEADER + "a,1,2,3,\n", ["'output_bytes' in row 1", "''"]),
            (HEADER + "a,1,2,3,4\na,1,4,3,4\n", ["'name' in row 2", "'a'"]),
            (HEADER + "a,1,2,3,4\nb,1,5,3,4\n", ["'output_bytes' in row 1", "5", "got 4"]),
            (HEADER + 'a,1,2,3,"4\n', ["cannot be read"]),
        ],
    )
    def test_refused(self, tmp_path, refused, text, told):
        with refused("mine.csv", *told):
            workload_from_csv(self.write(tmp_path, text))

    def test_a_file_that_is_no_text(self, tmp_path, refused):
        file = tmp_path / "mine.csv"
        file.write_bytes(b"\xff\xfe\x00\x01")
        with refused("mine.csv", "UTF-8"):
            workload_from_csv(file)
