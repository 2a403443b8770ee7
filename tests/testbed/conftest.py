import onnx
import pytest
from models import fill, mobilenet_v2


@pytest.fixture(scope="session")
def own_network(tmp_path_factory):
    """MobileNet V2 of an eighth of the width, with weights at random, as a file."""
    path = tmp_path_factory.mktemp("testbed") / "own.onnx"
    model = fill(mobilenet_v2(narrow=8))
    for axis in (2, 3):  # a smaller image
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 64
    onnx.save(model, path)
    return path
