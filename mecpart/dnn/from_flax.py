"""Any Flax module as a layer table, by tracing it: nothing is computed, and no parameter is made."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import linen as nn
from jax.extend import core

from mecpart.dnn.program import Program, read_program
from mecpart.dnn.workload import LayerTable, Workload, checked_starts
from mecpart.fields import short_repr
from mecpart.validation import check_text, shown

if TYPE_CHECKING:
    from flax import nnx

#: Shapes of parameters, what is computed, and what gives the arrays that are its first arguments.
_Traced = tuple[Mapping[str, Any], core.ClosedJaxpr, Callable[[], list[Any]]]


@dataclass(frozen=True, eq=False)
class TracedModule:
    """A Flax module for the input of one task: its layers, and what makes programs of its blocks.

    - `table`: its layers, between which it may be cut.
    - `program`: what it computes.
    - `examples`: of its inputs, arrays or their shapes.
    - `held`: gives the arrays that it holds, in the order of `program.weights`.
    """

    table: LayerTable
    program: Program
    examples: tuple[Any, ...]
    held: Callable[[], Sequence[Any]]

    __repr__ = short_repr

    def workload(self, blocks: int | None = None) -> Workload:
        """The module cut into blocks, as `LayerTable.workload` does."""
        return self.table.workload(blocks)

    def exported(self, starts: Sequence[int]) -> list[list[np.ndarray]]:
        """A program for each block, where each begins with the layer of such an index (`Program.exported`).

        **Raises:** `ValueError` for indices that do not rise from 0 within the table; for a module of nnx without
        arrays.
        """
        starts = checked_starts(starts, len(self.table.layers))
        graph, values = self.program.graph, dict(zip(self.program.weights, self.held(), strict=True))
        crossings = [graph.crossings()[start - 1 : start] for start in starts[1:]]
        return [
            self.program.exported(entering, leaving, values)
            for entering, leaving in pairwise((graph.inputs, *crossings, graph.outputs))
        ]


def trace_module(
    module: "nn.Module | nnx.Module",
    example,
    *,
    variables: Mapping[str, Any] | None = None,
    name: str | None = None,
    method: str | Callable | None = None,
    count_as_zero: Collection[str] = (),
    **keywords,
) -> TracedModule:
    """A Flax module that can be measured and run: `mecpart.measure` and `mecpart.Testbed` take it for a network.

    **Arguments:**

    - `variables`: of a module of `flax.linen`, as its `init` returns them; None: those, made when it is to run.
    - all others as in `layers_from_module`.

    **Returns:** its layers, and what it computes in each. Where `example` is an array, it is what enters in a run.

    **Raises:** `ValueError` as `layers_from_module`; for other variables than the module has.
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
        root = 1  # what is traced is marked with its modules, the whole model first
        parameters, closed, held = _trace_linen(module, examples, variables, method, keywords)
    else:
        from flax import nnx  # takes long to import

        if not isinstance(module, nnx.Module):
            raise ValueError(
                f"module must be a module of flax.linen or flax.nnx, made by calling its class; got {module!r}"
            )
        root = 0  # no marks
        parameters, closed, held = _trace_nnx(module, examples, variables, method, keywords)
    paths = [tuple(str(key.key) for key in path) for path, _ in jax.tree.leaves_with_path(parameters)]
    program = read_program(closed, paths, len(examples), root=root, count_as_zero=count_as_zero)
    return TracedModule(LayerTable(name, program.graph.layers()), program, examples, held)


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
    return trace_module(
        module, example, name=name, method=method, count_as_zero=count_as_zero, **keywords
    ).table  # fmt: skip


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


def _trace_linen(
    module: nn.Module,
    examples: tuple,
    variables: Mapping[str, Any] | None,
    method: str | Callable | None,
    keywords: dict,
) -> _Traced:
    def init(*examples):
        return nn.unbox(module.init(jax.random.key(0), *examples, method=method, **keywords))

    def apply(parameters, others, *examples):
        # In training a module also writes (statistics) and draws (dropout); neither is part of its output.
        variables, key = {"params": parameters} | others, jax.random.key(0)
        made, _ = module.apply(variables, *examples, method=method, mutable=[*others], rngs=key, **keywords)
        return made

    def trace():
        made = jax.eval_shape(init, *examples)
        parameters, others = _parted(made if variables is None else _checked(variables, made))
        return parameters, jax.make_jaxpr(apply)(parameters, others, *examples)

    def held():
        if variables is not None:
            return jax.tree.leaves(_parted(nn.unbox(variables)))
        inputs = [np.zeros(each.shape, each.dtype) for each in examples]
        return jax.tree.leaves(_parted(_computing_settings(lambda: jax.jit(init)(*inputs))))

    return *_computing_settings(trace), held


def _parted(variables: Mapping[str, Any]) -> tuple[dict, dict]:
    """Parameters, and all other collections."""
    others = {**variables}
    return others.pop("params", {}), others


def _checked(variables: Mapping[str, Any], made: Mapping[str, Any]) -> Mapping[str, Any]:
    """The shapes and types of given variables, which must be as many and as large as those that `init` has made."""
    if not isinstance(variables, Mapping):
        raise ValueError(f"variables must be what the module's init returns; got {shown(variables)}")
    given = jax.eval_shape(lambda: nn.unbox(variables))
    found, wanted = (
        {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(each)}
        for each in (given, made)
    )
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"variables must be as the module's init returns them, with {name} of shape "
                f"{wanted.get(name, 'none')}; got {found.get(name, 'none')}"
            )
    return given


def _trace_nnx(
    module: "nnx.Module",
    examples: tuple,
    variables: Mapping[str, Any] | None,
    method: str | Callable | None,
    keywords: dict,
) -> _Traced:
    from flax import nnx

    if variables is not None:
        raise ValueError(
            f"variables must be None for a module of flax.nnx, which holds its own; got {shown(variables)}"
        )
    split: Any = nnx.split(module, nnx.Param, ...)
    definition, parameters, others = split

    def apply(parameters, others, *examples):
        merged = nnx.merge(definition, parameters, others)
        if callable(method):
            return method(merged, *examples, **keywords)
        return getattr(merged, method or "__call__")(*examples, **keywords)

    leaves = jax.tree.leaves((parameters, others))  # as they are now, whatever becomes of the module

    def held():
        if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
            raise ValueError("module must hold its arrays in order to run; got one made under nnx.eval_shape")
        return leaves

    closed = _computing_settings(lambda: jax.make_jaxpr(apply)(parameters, others, *examples))
    return nnx.to_pure_dict(parameters), closed, held


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
