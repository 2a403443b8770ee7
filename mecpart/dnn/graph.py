"""A model as a dataflow graph of operators, wherever it comes from, and where it may be cut.

A cut is legal where exactly one tensor is alive: the one computed so far that anything later still reads. Parameters
and whatever else does not depend on the input are on the node beforehand and do not count; both branches of a residual
unit do, so that no cut falls inside it. Such a tensor lies on every path from the input to the output. The legal cuts
are therefore those of the graph, the same in whatever order its operators are listed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from mecpart.dnn.layer import Layer

Path = tuple[str, ...]


@dataclass(frozen=True)
class Tensor:
    """What one task moves: a number of values, and the bytes that they take."""

    elements: int
    bytes: int


@dataclass(frozen=True)
class Operator:
    """One operation of a model.

    - `kind`: what it does; names a layer that nothing better names.
    - `path`: of the module that it belongs to, outermost first.
    - `macs`: multiply-accumulates.
    - `reads`, `makes`: names of tensors; of `reads` some may be parameters or constants.
    - `lookup`: whether it picks rows of a table, as an embedding does: no multiplication, yet no detail either.
    - `static`: whether it depends on the shapes of what it reads alone, which are known beforehand.
    """

    kind: str
    path: Path
    macs: int
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    lookup: bool = False
    static: bool = False


@dataclass(frozen=True)
class _Step:
    """Operators that no legal cut divides, the parameters that no earlier ones need, and the tensors that leave."""

    operators: tuple[Operator, ...]
    macs: int
    parameters: frozenset[str]
    leaving: tuple[str, ...]


@dataclass(frozen=True)
class ModelGraph:
    """A model as operators in an order in which they can run.

    - `tensors`: the size of each of the inputs and of whatever an operator makes of them.
    - `parameters`: bytes of each trainable parameter. What is neither here, an input, nor made by an operator is a
      constant.
    - `separator`: between the modules of a path, in names.
    """

    operators: Sequence[Operator]
    tensors: Mapping[str, Tensor]
    parameters: Mapping[str, int]
    inputs: Sequence[str]
    outputs: Sequence[str]
    separator: str = "/"

    def layers(self) -> tuple[Layer, ...]:
        """The layer table: the finest chain of layers that is worth telling apart.

        A layer is what lies between two legal cuts, if it multiplies, looks up a table, or hands on fewer values than
        it takes in, as pooling does. Whatever else lies between two such layers (activation, normalisation, reshaping,
        padding) belongs to one of them: the cut is where the fewest bytes cross, and of several such places the last,
        so that an activation stays with its convolution and padding goes with the next.

        A parameter that several layers share counts in the first of them. Operators that lead to no output count
        nothing; those that work on parameters alone count where their result is first used.

        A layer is named after the outermost module that holds all that computes in it, or at least the first of that,
        and nothing that computes in another layer; where there is none, after the kind of its first operator that
        computes.

        **Raises:** `ValueError` where no output depends on the input, or the size of a tensor is not known.
        """
        steps, entering = self._steps, self._entering
        main, starts = self._cut
        names = _names([_computing(steps[at]) for at in main], self.separator)

        table = []
        for name, start, end in zip(names, starts, (*starts[1:], len(steps)), strict=True):
            parameters = [parameter for step in steps[start:end] for parameter in step.parameters]
            table.append(
                Layer(
                    name=name,
                    macs=sum(step.macs for step in steps[start:end]),
                    input_bytes=self._bytes(entering[start]),
                    output_bytes=self._bytes(entering[end]),
                    parameter_bytes=sum(self.parameters[parameter] for parameter in parameters),
                )
            )
        return tuple(table)

    def crossings(self) -> tuple[str, ...]:
        """The one tensor that crosses each cut between two `layers`, in their order."""
        _, starts = self._cut
        return tuple(self._entering[start][0] for start in starts[1:])

    @cached_property
    def _cut(self) -> tuple[list[int], list[int]]:
        """The step after which each layer is named, and the one with which it starts."""
        steps, entering = self._steps, self._entering
        values = [self._values(tensors) for tensors in entering]
        main = [
            at
            for at, step in enumerate(steps)
            if step.macs or any(op.lookup for op in step.operators) or values[at + 1] < values[at]
        ] or [0]
        # A cut before step c is crossed by entering[c].
        return main, [0] + [
            min(range(a + 1, b + 1), key=lambda c: (self._bytes(entering[c]), -c)) for a, b in pairwise(main)
        ]

    @cached_property
    def _entering(self) -> list[tuple[str, ...]]:
        """The tensors that enter each step, and those that leave the last."""
        read = {tensor for op in self._live for tensor in op.reads}
        inputs = tuple(tensor for tensor in self.inputs if tensor in read)
        return [inputs, *(step.leaving for step in self._steps)]

    @cached_property
    def _live(self) -> list[Operator]:
        """The operators that lead to an output."""
        wanted, found = set(self.outputs), []
        for operator in reversed(self.operators):
            if wanted.intersection(operator.makes):
                wanted.update(operator.reads)
                found.append(operator)
        return found[::-1]

    @cached_property
    def _steps(self) -> list[_Step]:
        moving = set(self.inputs)  # the tensors that depend on the input
        made_by: dict[str, Operator] = {}  # of all others, those that operators make
        chain: list[Operator] = []
        for operator in self._live:
            if operator.static or moving.isdisjoint(operator.reads):
                made_by |= dict.fromkeys(operator.makes, operator)
            else:
                moving.update(operator.makes)
                chain.append(operator)
        outputs = moving.intersection(self.outputs)
        if not chain or not outputs:
            raise ValueError("the model must compute its output from its input; got one that does not depend on it")

        last_read = {tensor: at for at, operator in enumerate(chain) for tensor in operator.reads}
        last_read |= dict.fromkeys(outputs, len(chain))
        alive = {tensor for tensor in self.inputs if tensor in last_read}
        charged: set[str] = set()  # a constant is made once
        steps, start = [], 0
        for at, operator in enumerate(chain):
            alive.update(tensor for tensor in operator.makes if tensor in last_read)
            alive.difference_update([tensor for tensor in operator.reads if last_read[tensor] == at])
            if len(alive) == 1 or at == len(chain) - 1:
                inside = chain[start : at + 1]
                constants = [tensor for op in inside for tensor in op.reads if tensor not in moving]
                macs, parameters = self._made_beforehand(constants, made_by, charged)
                steps.append(
                    _Step(
                        operators=tuple(inside),
                        macs=sum(op.macs for op in inside) + macs,
                        parameters=frozenset(parameters),
                        leaving=tuple(alive),
                    )
                )
                start = at + 1
        return steps

    def _made_beforehand(
        self, constants: list[str], made_by: Mapping[str, Operator], charged: set[str]
    ) -> tuple[int, set[str]]:
        """The multiply-accumulates and the parameters that `constants` are made of, without those already `charged`."""
        macs, parameters = 0, set()
        while constants:
            tensor = constants.pop()
            if tensor in charged:
                continue
            charged.add(tensor)
            if tensor in self.parameters:
                parameters.add(tensor)
            maker = made_by.get(tensor)
            if maker is not None and charged.isdisjoint(set(maker.makes) - {tensor}):
                macs += maker.macs
            constants.extend(maker.reads if maker is not None and not maker.static else ())
        return macs, parameters

    def _bytes(self, tensors: Iterable[str]) -> int:
        return sum(self._size(tensor).bytes for tensor in tensors)

    def _values(self, tensors: Iterable[str]) -> int:
        return sum(self._size(tensor).elements for tensor in tensors)

    def _size(self, tensor: str) -> Tensor:
        if tensor not in self.tensors:
            made_by = ", ".join(operator.kind for operator in self.operators if tensor in operator.makes)
            raise ValueError(f"every tensor must have a known shape; got none for {tensor!r}, made by {made_by}")
        return self.tensors[tensor]


def _computing(step: _Step) -> list[Operator]:
    """The operators that a layer is named after."""
    return [op for op in step.operators if op.macs] or [op for op in step.operators if op.lookup] or [*step.operators]


def _names(layers: Sequence[Sequence[Operator]], separator: str) -> list[str]:
    """A name for each layer, no two the same, from the operators that compute in it."""
    # How many layers compute something in each module.
    users = Counter(
        module
        for layer in layers
        for module in {op.path[:depth] for op in layer for depth in range(1, len(op.path) + 1)}
    )
    names: list[str] = []
    for layer in layers:
        first, common = layer[0], common_path([op.path for op in layer])
        modules = [path[:depth] for path in (common, first.path) for depth in range(1, len(path) + 1)]
        own = next((module for module in modules if users[module] == 1), (*first.path, first.kind))
        names.append(_joined(own, separator))
    taken, twice = set(names), {name for name, number in Counter(names).items() if number > 1}
    seen: Counter = Counter()
    for at, name in enumerate(names):
        if name in twice:
            seen[name] += 1
            while (numbered := f"{name}_{seen[name]}") in taken:
                seen[name] += 1
            taken.add(numbered)
            names[at] = numbered
    return names


def _joined(path: Path, separator: str) -> str:
    """`path` as a name, without modules whose names those inside begin with: PyTorch's layer1, layer1.0, conv1."""
    inner = [part for part, next_part in pairwise((*path, "")) if not next_part.startswith(f"{part}.")]
    return separator.join(inner)


def common_path(paths: Sequence[Path]) -> Path:
    """The path of the innermost module that holds all of `paths`."""
    common = paths[0]
    for path in paths[1:]:
        same = 0
        while same < min(len(common), len(path)) and common[same] == path[same]:
            same += 1
        common = common[:same]
    return common
