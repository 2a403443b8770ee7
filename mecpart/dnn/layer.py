"""What one layer of a network costs: the row of a layer table, wherever it comes from."""

import itertools
from collections import Counter
from dataclasses import dataclass

from mecpart.validation import check_count, shown


@dataclass(frozen=True)
class Layer:
    """What one layer of a network computes, moves and stores for one task; whole numbers.

    - `name`: unique within its network.
    - `macs`: multiply-accumulates of its convolutions and matrix products. As in published totals, taps that
      fall on padding count; pooling, normalisation and additions do not.
    - `input_bytes`, `output_bytes`: the one tensor that enters and the one that leaves.
    - `parameter_bytes`: trainable parameters. As in published totals, the running statistics of a batch
      normalisation are not among them.

    **Raises:** `ValueError` if the name is empty or a quantity is not a whole number of at least 0.
    """

    name: str
    macs: int
    input_bytes: int
    output_bytes: int
    parameter_bytes: int

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"name of a layer must be a non-empty string; got {self.name!r}")
        for quantity in ("macs", "input_bytes", "output_bytes", "parameter_bytes"):
            check_count(f"{quantity} of layer {self.name!r}", getattr(self, quantity), minimum=0, maximum=None)


def check_layers(layers: tuple[Layer, ...]) -> None:
    """Raise `ValueError` unless `layers` are a chain: each named by itself, and fed by the one before it."""
    if not layers:
        raise ValueError("layers must hold at least one layer; got none")
    if others := [layer for layer in layers if not isinstance(layer, Layer)]:
        raise ValueError(f"layers must be of type mecpart.dnn.layer.Layer; got {shown(others[0])}")
    names = Counter(layer.name for layer in layers)
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise ValueError(f"layers must have names of their own; got {', '.join(twice)} more than once")
    for earlier, later in itertools.pairwise(layers):
        if earlier.output_bytes != later.input_bytes:
            raise ValueError(
                f"input_bytes of layer {later.name!r} must be the {earlier.output_bytes} output_bytes of "
                f"layer {earlier.name!r} before it; got {later.input_bytes}"
            )
