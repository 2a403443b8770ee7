"""Where a graph may be cut, what is made one layer, and what that is called; on graphs small enough to see through."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mecpart.dnn.graph import ModelGraph, Operator, Tensor, common_path
from mecpart.dnn.layer import Layer


def op(reads, makes, macs=0, kind="op", path=(), **more):
    return Operator(kind, tuple(path), macs, tuple(reads.split()), tuple(makes.split()), **more)


def graph(*operators, sizes=None, parameters=None, outputs="y", inputs="x"):
    """Every tensor holds 10 values of 4 bytes, unless `sizes` says how many."""
    names = {*inputs.split(), *(made for operator in operators for made in operator.makes)}
    sizes = dict.fromkeys(names, 10) | (sizes or {})
    tensors = {name: Tensor(size, 4 * size) for name, size in sizes.items()}
    return ModelGraph(operators, tensors, parameters or {}, inputs.split(), outputs.split())


def macs_of(model):
    return [layer.macs for layer in model.layers()]


@st.composite
def random_graphs(draw):
    """Operators of one or two results, each of which reads up to three earlier tensors; some lead nowhere."""
    known, operators = ["x"], []
    for at in range(draw(st.integers(1, 9))):
        # Mostly recent ones, so that there are necks.
        reads = {known[-1 - min(draw(st.integers(0, 3)), len(known) - 1)] for _ in range(draw(st.integers(1, 3)))}
        makes = [f"t{at}.{part}" for part in range(draw(st.integers(1, 2)))]
        known += makes
        operators.append(Operator("op", (), 1, tuple(sorted(reads)), tuple(makes)))
    return operators, known[-1]


class TestLegalCuts:
    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(random_graphs(), st.randoms(use_true_random=False))
    def test_are_the_tensors_without_which_no_output_is_reached(self, drawn, rng):
        """By brute force: each tensor removed in turn. In whatever order the operators are listed."""
        operators, output = drawn

        def reached(without):
            found = {"x"} - {without}
            for operator in operators:
                if found.intersection(operator.reads):
                    found.update(set(operator.makes) - {without})
            return output in found

        tensors = ["x"] + [made for operator in operators for made in operator.makes]
        necks = [tensor for tensor in tensors if not reached(tensor) and tensor not in ("x", output)]
        model = ModelGraph(operators, {tensor: Tensor(1, 1) for tensor in tensors}, {}, ["x"], [output])
        # Every operator multiplies, so every legal cut is one between layers.
        assert len(model.layers()) == len(necks) + 1
        wanted = {output}
        for operator in reversed(operators):
            wanted |= set(operator.reads) if wanted.intersection(operator.makes) else set()
        live = [operator for operator in operators if wanted.intersection(operator.makes)]
        assert sum(macs_of(model)) == len(live)
        again = ModelGraph(shuffled(operators, rng), model.tensors, {}, ["x"], [output])
        assert macs_of(again) == macs_of(model)

    def test_none_inside_a_residual_unit(self):
        unit = [op("x", "a", 1), op("a", "b", 2), op("b", "c", 4), op("a c", "d"), op("d", "y", 8)]
        assert macs_of(graph(*unit)) == [1, 6, 8]

    def test_constants_and_parameters_in_flight_do_not_count(self):
        """`mask` is made first and used last; it depends on a parameter alone."""
        model = graph(
            op("w", "mask", 32), op("x", "a", 1), op("a v", "b", 2), op("b mask", "y", 4), parameters={"w": 7, "v": 5}
        )  # fmt: skip
        # What is worked out from parameters is charged to who uses it.
        assert macs_of(model) == [1, 2, 36]
        assert [layer.parameter_bytes for layer in model.layers()] == [0, 5, 7]

    def test_shapes_are_known_beforehand(self):
        """The shape of `a` is read after `b` has been made of it."""
        model = graph(op("x", "a", 1), op("a", "s", static=True), op("a", "b", 2), op("b s", "y", 4))
        assert macs_of(model) == [1, 2, 4]

    def test_several_inputs_enter_together(self):
        model = graph(op("x", "a", 1), op("u a", "b", 2), op("b", "y", 4), inputs="x u v", sizes={"u": 3})
        assert [(layer.macs, layer.input_bytes) for layer in model.layers()] == [(3, 52), (4, 40)]  # v is not read

    def test_several_outputs_leave_together(self):
        """One that was made before the last layers travels through them, so that nothing is cut there."""
        steps = [op("x", "a", 1), op("a", "early", 2), op("a", "b", 4), op("b", "y", 8)]
        layers = graph(*steps, outputs="early y", sizes={"early": 5}).layers()
        assert [(layer.macs, layer.output_bytes) for layer in layers] == [(1, 40), (14, 60)]

    def test_an_output_that_does_not_depend_on_the_input_is_refused(self):
        for operators in ([op("w", "y")], [op("x", "a")], []):
            with pytest.raises(ValueError, match="must compute its output from its input"):
                graph(*operators).layers()

    def test_a_tensor_of_unknown_size_is_named(self):
        model = ModelGraph([op("x", "a", kind="NonZero"), op("a", "y")], {"x": Tensor(1, 4)}, {}, ["x"], ["y"])
        with pytest.raises(ValueError, match="known shape; got none for 'a', made by NonZero"):
            model.layers()


def shuffled(operators, rng):
    """The same operators in another order in which they can run."""
    left, known, order = list(operators), {"x"}, []
    while left:
        ready = [operator for operator in left if known.issuperset(operator.reads)]
        operator = rng.choice(ready)
        left.remove(operator)
        known.update(operator.makes)
        order.append(operator)
    return order


class TestLayers:
    def test_activation_and_normalisation_stay_with_their_convolution(self):
        model = graph(
            op("x w", "a", 5), op("a s", "b"), op("b", "c"), op("c v", "y", 7), parameters={"w": 100, "s": 8, "v": 50}
        )  # fmt: skip
        assert model.layers() == (Layer("op_1", 5, 40, 40, 108), Layer("op_2", 7, 40, 40, 50))

    def test_pooling_is_a_layer_and_a_pool_that_keeps_the_size_is_not(self):
        steps = [op("x", "a", 5), op("a", "p", kind="pool"), op("p", "q", kind="same"), op("q", "y", 7)]
        layers = graph(*steps, sizes={"p": 4, "q": 4}).layers()
        assert [(layer.name, layer.macs, layer.output_bytes) for layer in layers] == [
            ("op_1", 5, 40), ("pool", 0, 16), ("op_2", 7, 40),
        ]  # fmt: skip

    def test_padding_goes_with_what_follows(self):
        steps = [op("x", "a", 5), op("a", "relu"), op("relu", "padded"), op("padded", "y", 7)]
        layers = graph(*steps, sizes={"padded": 14}).layers()
        assert [layer.input_bytes for layer in layers] == [40, 40]

    def test_the_image_enters_as_it_is(self):
        """Eight bits a pixel, although the first thing a model does is to make floats of it."""
        tensors = {"x": Tensor(10, 10), "floats": Tensor(10, 40), "y": Tensor(10, 40)}
        model = ModelGraph([op("x", "floats"), op("floats", "y", 3)], tensors, {}, ["x"], ["y"])
        assert model.layers() == (Layer("op", 3, 10, 40, 0),)

    def test_an_embedding_is_a_layer(self):
        steps = [op("x table", "a", kind="gather", lookup=True), op("a", "y", 7)]
        layers = graph(*steps, sizes={"x": 2}, parameters={"table": 4000}).layers()
        assert layers == (Layer("gather", 0, 8, 40, 4000), Layer("op", 7, 40, 40, 0))

    def test_a_shared_parameter_counts_once(self):
        layers = graph(op("x w", "a", 5), op("a w v", "y", 7), parameters={"w": 100, "v": 1}).layers()
        assert [layer.parameter_bytes for layer in layers] == [100, 1]

    def test_a_model_that_computes_nothing_is_one_layer(self):
        assert graph(op("x", "a"), op("a", "y")).layers() == (Layer("op", 0, 40, 40, 0),)


class TestNames:
    def test_the_outermost_module_of_a_layers_own(self):
        model = graph(
            op("x", "a", 1, path=("net", "stem", "conv")),
            op("a", "b", 1, path=("net", "block1", "first")), op("b", "c", 1, path=("net", "block1", "second")),
            op("a c", "d", path=("net", "block1")),
            op("d", "e", 1, path=("net", "block2", "attention", "query")),
            op("e d", "f", 1, path=("net", "block2", "attention", "out")),
            op("f", "g", 1, path=("net", "block2", "wide")), op("f g", "h", 1, path=("net", "block2", "narrow")),
            op("h", "y", 1, kind="dot", path=("net",)),
        )  # fmt: skip
        names = ["net/stem", "net/block1", "net/block2/attention", "net/block2/wide", "net/dot"]
        assert [layer.name for layer in model.layers()] == names

    def test_equal_names_are_numbered_past_those_there_are(self):
        chain = [op("x", "a", 1, "conv"), op("a", "b", 1, path=("conv_1",)), op("b", "y", 1, "conv")]
        assert [layer.name for layer in graph(*chain).layers()] == ["conv_2", "conv_1", "conv_3"]

    def test_modules_that_repeat_the_outer_ones_name(self):
        chain = [
            op("x", "a", 1, path=("f", "f.0")),
            op("a", "b", 1, path=("f", "f.1")),
            op("b", "y", 1, path=("head",)),
        ]
        assert [layer.name for layer in graph(*chain).layers()] == ["f.0", "f.1", "head"]

    def test_common_path(self):
        assert common_path([("a", "b", "c"), ("a", "b"), ("a", "b", "d")]) == ("a", "b")
        assert common_path([("a",), ("b",)]) == ()
