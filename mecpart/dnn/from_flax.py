"""Any Flax module as a layer table, by tracing it: nothing is computed, and no parameter is made."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import jax
from flax import linen as nn
from jax.extend import core

from mecpart.dnn.graph import ModelGraph, Operator, Path, Tensor, common_path
from mecpart.dnn.jaxpr_counts import CALLS, called_by, equation_macs, resamples
from mecpart.dnn.workload import LayerTable, Workload
from mecpart.validation import check_text, shown

if TYPE_CHECKING:
    from flax import nnx

_KINDS = {
    "conv_general_dilated": "conv",
    "dot_general": "dot",
    "reduce_window_max": "max_pool",
    "reduce_window_sum": "avg_pool",
}


def layers_from_module(
    module: "nn.Module | nnx.Module",
    example,
    *,
    name: str | None = None,
    method: str | Callable | None = None,
    count_as_zero: Collection[str] = (),
    **keywords,
) -> LayerTable:
    """The finest table of layers of a Flax module, between which it may be cut (`ModelGraph.layers`).

    **Arguments:**

    - `module`: of `flax.linen`, or of `flax.nnx` in the mode in which it is (`module.eval()` for inference). An nnx
      module made under `nnx.eval_shape` holds no arrays.
    - `example`: the input of one task, an array or `jax.ShapeDtypeStruct` with a batch axis of one; its dtype says how
      it travels, so an image is best given as `uint8`. A tuple for a module that takes several.
    - `name`: of the network; by default that of the module's class.
    - `method`: of the module, to call instead of the module itself.
    - `count_as_zero`: names of JAX primitives that may count as no multiply-accumulates, of those for which published
      totals have no rule ("fft", "cholesky").
    - `keywords`: for that call, such as `train=False`.

    **Returns:** layers named after the modules that they are. Multiply-accumulates are counted as in
    `mecpart.dnn.zoo.multiply_accumulates`, a `scan` is a single operator, and parameters are those of the collection
    "params", or nnx's `Param`.

    **Raises:** `ValueError` for something that is no module, an example of another kind or with another batch axis, or
    a module whose output does not depend on it, or is made by a primitive of which nothing says what it costs.
    """
    examples = example if isinstance(example, tuple) else (example,)
    _check_examples(examples)
    name = type(module).__name__ if name is None else name
    check_text("name", name)
    if not (method is None or inspect.isroutine(method) or (isinstance(method, str) and hasattr(type(module), method))):
        raise ValueError(f"method must be a method of the module, or the name of one; got {shown(method)}")
    if isinstance(count_as_zero, str | bytes) or not isinstance(count_as_zero, Sequence | Set):
        raise ValueError(f"count_as_zero must be names of primitives, in a list; got {shown(count_as_zero)}")
    for primitive in count_as_zero:
        check_text("each name in count_as_zero", primitive)
    if isinstance(module, nn.Module):
        return LayerTable(name, _linen_graph(module, examples, method, count_as_zero, keywords).layers())
    from flax import nnx  # takes long to import

    if isinstance(module, nnx.Module):
        return LayerTable(name, _nnx_graph(module, examples, method, count_as_zero, keywords).layers())
    raise ValueError(f"module must be a module of flax.linen or flax.nnx, made by calling its class; got {module!r}")


def workload_from_module(
    module: "nn.Module | nnx.Module",
    example,
    blocks: int | None = None,
    *,
    name: str | None = None,
    method: str | Callable | None = None,
    count_as_zero: Collection[str] = (),
    **keywords,
) -> Workload:
    """A Flax module cut into blocks: `layers_from_module(...).workload(blocks)`.

    **Arguments:** `blocks` as in `LayerTable.workload`, all others as in `layers_from_module`.

    **Raises:** `ValueError` as there; for `blocks`, with the most that the module allows.
    """
    table = layers_from_module(
        module, example, name=name, method=method, count_as_zero=count_as_zero, **keywords
    )  # fmt: skip
    return table.workload(blocks)


def _check_examples(examples: tuple) -> None:
    if not examples:
        raise ValueError("example must be the input of one task; got ()")
    for example in examples:
        shape = getattr(example, "shape", None)
        if shape is None or not hasattr(example, "dtype"):
            raise ValueError(f"example must be an array or a jax.ShapeDtypeStruct; got {example!r}")
        if len(shape) == 0 or shape[0] != 1:
            raise ValueError(
                f"example must be the input of one task, with a batch axis of one; got shape {tuple(shape)}"
            )


def _linen_graph(
    module: nn.Module, examples: tuple, method: str | Callable | None, count_as_zero: Collection[str], keywords: dict
) -> ModelGraph:
    def init(*examples):
        return nn.unbox(module.init(jax.random.key(0), *examples, method=method, **keywords))

    def apply(parameters, others, *examples):
        # In training a module also writes (statistics) and draws (dropout); neither is part of its output.
        variables, key = {"params": parameters} | others, jax.random.key(0)
        made, _ = module.apply(variables, *examples, method=method, mutable=[*others], rngs=key, **keywords)
        return made

    def trace():
        others = dict(jax.eval_shape(init, *examples))
        parameters = others.pop("params", {})
        return parameters, jax.make_jaxpr(apply)(parameters, others, *examples)

    parameters, closed = _computing_settings(trace)
    # What is traced is marked with the modules that it belongs to, the whole model first.
    return _Reader(parameters, 1, count_as_zero).graph(closed, len(jax.tree.leaves(examples)))


def _nnx_graph(
    module: "nnx.Module", examples: tuple, method: str | Callable | None, count_as_zero: Collection[str], keywords: dict
) -> ModelGraph:
    from flax import nnx

    split: Any = nnx.split(module, nnx.Param, ...)
    definition, parameters, others = split

    def apply(parameters, others, *examples):
        merged = nnx.merge(definition, parameters, others)
        if callable(method):
            return method(merged, *examples, **keywords)
        return getattr(merged, method or "__call__")(*examples, **keywords)

    closed = _computing_settings(lambda: jax.make_jaxpr(apply)(parameters, others, *examples))
    reader = _Reader(nnx.to_pure_dict(parameters), 0, count_as_zero)  # no marks
    return reader.graph(closed, len(jax.tree.leaves(examples)))


def _computing_settings(trace: Callable[[], Any]) -> Any:
    """What `trace` returns.

    Modules that work out settings with jax.numpy and need them as numbers (`.item()`) are traced while JAX computes
    whatever does not depend on their input.
    """
    try:
        return trace()
    except jax.errors.ConcretizationTypeError:
        with jax.ensure_compile_time_eval():
            return trace()


class _Reader:
    """Writes a jaxpr down as operators, with what it calls in the place of the calls.

    - `parameters`: a tree of nested dictionaries, whose leaves are the jaxpr's first arguments.
    - `root`: how many names of a name stack are of the whole model.
    - `count_as_zero`: primitives that may.
    """

    def __init__(self, parameters: Mapping, root: int, count_as_zero: Collection[str]):
        paths = [tuple(str(key.key) for key in path) for path, _ in jax.tree.leaves_with_path(parameters)]
        self._modules = {"/".join(path): path[:-1] for path in paths}
        self._root, self._count_as_zero = root, count_as_zero
        self._operators: list[Operator] = []
        self._sizes: dict[str, Tensor] = {}

    def graph(self, closed: core.ClosedJaxpr, inputs: int) -> ModelGraph:
        """The model, whose last `inputs` arguments are its input, and those between constants."""
        jaxpr = closed.jaxpr
        parameters = dict(zip(self._modules, jaxpr.invars[: len(self._modules)], strict=True))
        entering = {f"input {at}": var for at, var in enumerate(jaxpr.invars[-inputs:])}
        known = {var: tensor for tensor, var in (parameters | entering).items()}
        leaving = self._read(jaxpr, known, ())
        return ModelGraph(
            operators=self._operators,
            tensors=self._sizes | {tensor: _size(var) for tensor, var in entering.items()},
            parameters={tensor: _size(var).bytes for tensor, var in parameters.items()},
            inputs=tuple(entering),
            outputs=tuple(tensor for tensor in leaving if tensor is not None),
        )

    def _read(self, jaxpr: core.Jaxpr, known: dict[core.Var, str], outer: Path) -> list[str | None]:
        """Write down `jaxpr`, of whose variables `known` are tensors, and say which it returns (None: a constant)."""

        def tensor_of(atom) -> str | None:
            return None if isinstance(atom, core.Literal) else known.get(atom)

        for equation in jaxpr.eqns:
            path = outer + tuple(filter(None, str(equation.source_info.name_stack).split("/")))
            reads = [tensor_of(atom) for atom in equation.invars]
            kind = equation.primitive.name
            if kind in CALLS and not resamples(equation):
                called = called_by(equation)
                inside = {var: read for var, read in zip(called.invars, reads, strict=True) if read is not None}
                made = self._read(called, inside, path)
                known |= {var: tensor for var, tensor in zip(equation.outvars, made, strict=True) if tensor is not None}
                continue
            makes = {f"{len(self._operators)}.{at}": var for at, var in enumerate(equation.outvars)}
            known |= {var: tensor for tensor, var in makes.items()}
            self._sizes |= {tensor: _size(var) for tensor, var in makes.items()}
            tensors = tuple(read for read in reads if read is not None)
            modules = [self._modules[tensor] for tensor in tensors if tensor in self._modules]
            self._operators.append(
                Operator(
                    kind=_KINDS.get(kind, kind),
                    path=path[self._root :] or (common_path(modules) if modules else ()),
                    macs=equation_macs(equation, self._count_as_zero),
                    reads=tensors,
                    makes=tuple(makes),
                    lookup=kind == "gather" and bool(modules),
                )
            )
        return [tensor_of(atom) for atom in jaxpr.outvars]


def _size(var: Any) -> Tensor:  # of core.Var, whose type does not tell that values have shapes
    return Tensor(var.aval.size, var.aval.size * var.aval.dtype.itemsize)
