"""That every operator of the ONNX standard is counted, costs nothing by convention, or is refused."""

import pytest
from onnx import checker, defs, helper, inliner, shape_inference

from mecpart.dnn.from_onnx import layers_from_onnx
from mecpart.dnn.onnx_counts import CONTROL, COUNTED, QUANTISED, REFUSED, WEIGHTS, ZERO

STANDARD = [schema for schema in defs.get_all_schemas_with_history() if schema.domain == ""]


def test_every_operator_of_the_standard_has_its_place():
    """So that one which a newer standard adds is refused until someone says what it costs."""
    for name in {schema.name for schema in STANDARD}:
        assert sum(name in group for group in (COUNTED, ZERO, REFUSED, CONTROL)) == 1, name
    assert {*COUNTED, *ZERO, *REFUSED, *CONTROL, *WEIGHTS, *QUANTISED} <= {schema.name for schema in STANDARD}


def test_what_counts_as_nothing_does_not_multiply_by_its_own_definition():
    functions = [schema for schema in STANDARD if schema.has_function and schema.name in ZERO]
    assert len(functions) > 20
    for schema in functions:
        inside = set(kinds(schema.function_body.node))
        assert inside <= ZERO | {*CONTROL}, (schema.name, inside - ZERO)


def kinds(nodes):
    """The types of operators, and of those in the graphs that they hold."""
    for node in nodes:
        yield node.op_type
        for entry in node.attribute:
            yield from kinds(entry.g.node)


@pytest.mark.parametrize("groups", [1, 2])
def test_attention_counts_as_its_definition_does(tmp_path, groups):
    shapes = {"q": [1, 4, 6, 8], "k": [1, 4 // groups, 9, 8], "v": [1, 4 // groups, 9, 5]}
    graph = helper.make_graph(
        [helper.make_node("Attention", list(shapes), ["y"])], "g",
        [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("y", 1, [1, 4, 6, 5])],
    )  # fmt: skip
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    checker.check_model(whole)
    parts = inliner.inline_selected_functions(
        shape_inference.infer_shapes(whole), [("", "Attention")], inline_schema_functions=True
    )
    assert len(parts.graph.node) > 10
    found = []
    for at, model in enumerate((whole, parts)):
        path = tmp_path / f"{at}.onnx"
        path.write_bytes(model.SerializeToString())
        found.append(sum(layer.macs for layer in layers_from_onnx(path).layers))
    assert found == [4 * 6 * 9 * (8 + 5)] * 2
