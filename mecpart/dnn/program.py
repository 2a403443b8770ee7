"""What a traced model computes, equation by equation: as a graph of operators, and cut into programs of its parts.

A part is exported by JAX (StableHLO): it runs on any machine with JAX, which needs neither the module nor Flax.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import export
from jax.extend import core

from mecpart.dnn.graph import ModelGraph, Operator, Path, Tensor, common_path
from mecpart.dnn.jaxpr_counts import CALLS, called_by, equation_macs, resamples

_KINDS = {
    "conv_general_dilated": "conv",
    "dot_general": "dot",
    "reduce_window_max": "max_pool",
    "reduce_window_sum": "avg_pool",
}


@dataclass(frozen=True, eq=False)
class Program:
    """A model between named tensors.

    - `graph`: its operators, one for each equation.
    - `equations`: in the order of the operators.
    - `constants`: by name, what is given by neither weights nor inputs.
    - `shapes`: of inputs and of whatever an operator makes.
    - `weights`: names of what the model holds, parameters first; they are the first arguments of the jaxpr.
    """

    graph: ModelGraph
    equations: tuple[core.JaxprEqn, ...]
    constants: Mapping[str, Any]
    shapes: Mapping[str, jax.ShapeDtypeStruct]
    weights: tuple[str, ...]

    def exported(self, entering: Sequence[str], leaving: Sequence[str], values: Mapping[str, Any]) -> list[np.ndarray]:
        """What makes some tensors of others, as JAX exports it, [bytes] uint8; and the weights that it takes.

        It is called with a list of weights and one of the tensors that enter, and returns one of those that leave.

        - `values`: of all weights, by name.
        """
        needed, wanted = [], set(leaving)
        for operator, equation in zip(self.graph.operators[::-1], self.equations[::-1], strict=True):
            if not wanted.isdisjoint(operator.makes):
                needed.append((operator, equation))
                wanted.update(set(operator.reads).difference(entering))
        keys = {name: value for name, value in values.items() if _is_key(value)}  # which are no arrays to be sent
        held = [name for name in self.weights if name in wanted and name not in keys]

        def run(weights, tensors):
            known = {**self.constants, **keys}
            known |= zip((*held, *entering), (*weights, *tensors), strict=True)
            for operator, equation in reversed(needed):
                made = equation.primitive.bind(*map(known.get, operator.reads), **equation.params)
                known |= zip(operator.makes, made if equation.primitive.multiple_results else [made], strict=True)
            return [known[name] for name in leaving]

        weights = [np.asarray(values[name]) for name in held]
        whole = export.export(jax.jit(run), platforms=["cpu"])(weights, [self.shapes[name] for name in entering])
        return [np.frombuffer(whole.serialize(), np.uint8), *weights]


def read_program(
    closed: core.ClosedJaxpr, parameters: Sequence[Path], inputs: int, *, root: int, count_as_zero: Collection[str]
) -> Program:
    """A jaxpr as a program, with what it calls in the place of the calls.

    - `parameters`: paths of those that are the first arguments; the last `inputs` arguments are the model's input, and
      those between are what else it holds.
    - `root`: how many names of a name stack are of the whole model.
    - `count_as_zero`: primitives that may.
    """
    return _Reader(parameters, root, count_as_zero).program(closed, inputs)


class _Reader:
    def __init__(self, parameters: Sequence[Path], root: int, count_as_zero: Collection[str]):
        self._modules = {"/".join(path): path[:-1] for path in parameters}
        self._root, self._count_as_zero = root, count_as_zero
        self._operators: list[Operator] = []
        self._equations: list[core.JaxprEqn] = []
        self._constants: dict[str, Any] = {}
        self._shapes: dict[str, jax.ShapeDtypeStruct] = {}

    def program(self, closed: core.ClosedJaxpr, inputs: int) -> Program:
        arguments = closed.jaxpr.invars
        others = len(arguments) - len(self._modules) - inputs
        weights = [*self._modules, *(f"held {at}" for at in range(others))]
        named = dict(zip([*weights, *(f"input {at}" for at in range(inputs))], arguments, strict=True))
        entering = [*named][len(weights) :]
        self._shapes = {name: _shape(named[name]) for name in entering}
        leaving = self._read(closed, [*named], ())
        graph = ModelGraph(
            operators=self._operators,
            tensors={name: _size(shape) for name, shape in self._shapes.items()},
            parameters={name: _size(_shape(named[name])).bytes for name in self._modules},
            inputs=tuple(entering),
            outputs=tuple(leaving),
        )
        return Program(graph, tuple(self._equations), self._constants, self._shapes, tuple(weights))

    def _read(self, closed: core.ClosedJaxpr, arguments: Sequence[str], outer: Path) -> list[str]:
        """Write down a jaxpr whose `arguments` have these names, and say which names are what it returns."""
        known = dict(zip(closed.jaxpr.invars, arguments, strict=True))
        known |= {var: self._constant(value) for var, value in zip(closed.jaxpr.constvars, closed.consts, strict=True)}

        def name_of(atom: Any) -> str:
            return self._constant(atom.val) if isinstance(atom, core.Literal) else known[atom]

        for equation in closed.jaxpr.eqns:
            path = outer + tuple(filter(None, str(equation.source_info.name_stack).split("/")))
            reads = tuple(name_of(atom) for atom in equation.invars)
            kind = equation.primitive.name
            if kind in CALLS and not resamples(equation):
                known |= zip(equation.outvars, self._read(called_by(equation), reads, path), strict=True)
                continue
            makes = {f"{len(self._operators)}.{at}": var for at, var in enumerate(equation.outvars)}
            known |= {var: tensor for tensor, var in makes.items()}
            self._shapes |= {tensor: _shape(var) for tensor, var in makes.items()}
            modules = [self._modules[name] for name in reads if name in self._modules]
            self._operators.append(
                Operator(
                    kind=_KINDS.get(kind, kind),
                    path=path[self._root :] or (common_path(modules) if modules else ()),
                    macs=equation_macs(equation, self._count_as_zero),
                    reads=reads,
                    makes=tuple(makes),
                    lookup=kind == "gather" and bool(modules),
                )
            )
            self._equations.append(equation)
        return [name_of(atom) for atom in closed.jaxpr.outvars]

    def _constant(self, value: Any) -> str:
        name = f"constant {len(self._constants)}"
        self._constants[name] = value
        return name


def _shape(var: Any) -> jax.ShapeDtypeStruct:  # of core.Var, whose type does not tell that values have shapes
    return jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype)


def _is_key(value: Any) -> bool:
    return isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)


def _size(shape: jax.ShapeDtypeStruct) -> Tensor:
    return Tensor(shape.size, shape.size * shape.dtype.itemsize)
