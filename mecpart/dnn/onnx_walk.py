"""One walk over an ONNX model, on which the types and shapes of all its tensors are found out.

Functions, and branches whose condition is known, are walked through in the place of the operator that stands for them.
"""

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import numpy as np

from mecpart.dnn.onnx_counts import CONTROL, COUNTED, REFUSED, ZERO
from mecpart.dnn.onnx_file import check_text, kind_of, refusing, standard
from mecpart.dnn.onnx_tensors import Tensors, constant_of

if TYPE_CHECKING:
    import onnx

# Functions that call functions can stand for more operators than any file holds.
_MOST_NODES = 100_000  # in the file
_MOST_CALLS = 2**12
_MOST_OPERATORS = 2**15  # in functions and branches
_DEEPEST = 64  # of functions and branches


@dataclass(frozen=True)
class Step:
    """An operator, and the type that it has in the file: of the function, if it is part of one."""

    node: "onnx.NodeProto"
    kind: str


@dataclass(frozen=True)
class _Scope:
    """Where operators stand: in the file itself, in a branch, or in a function.

    - `opsets`: versions of the standards.
    - `names`: of the tensors that are known here, and what they are called in the walk; `prefix`: of new ones there.
    - `attributes`: that the call of a function gives; `depth`: of functions and branches inside each other.
    - `kind`, `module`: of the operator in the file that the function stands for.
    """

    opsets: Mapping[str, int]
    names: ChainMap
    prefix: str = ""
    attributes: Mapping[str, "onnx.AttributeProto"] | None = None
    depth: int = 0
    kind: str = ""
    module: str = ""

    def known(self, name: str) -> str:
        """What a tensor is called in the walk."""
        if name and name not in self.names:
            raise ValueError(
                f"every tensor must be an input, stand in the file, or be made by an operator; got {name!r}"
            )
        return self.names[name] if name else ""

    def define(self, name: str) -> str:
        """What a new tensor is called in the walk."""
        if name and name in self.names.maps[0]:
            raise ValueError(f"every tensor must be made once; got {name!r} twice")
        if name:
            self.names[name] = self.prefix + name
        return self.prefix + name if name else ""

    def resolved(self, node: "onnx.NodeProto") -> "onnx.NodeProto":
        """An operator of a function with the attributes of the call."""
        if self.attributes is None:
            return node
        node, attributes = type(node).FromString(node.SerializeToString()), list(node.attribute)
        node.name = self.module
        del node.attribute[:]
        for entry in attributes:
            given = self.attributes.get(entry.ref_attr_name) if entry.ref_attr_name else entry
            if given is not None:
                node.attribute.add().CopyFrom(given)
                node.attribute[-1].name = entry.name
        return node


class Walk:
    """What is found out about a model.

    - `steps`: its operators in an order in which they can run; `kinds`: the type of each in the file.
    - `tensors`: what is known of them.
    - `outputs`: of the model.
    """

    def __init__(
        self,
        model: "onnx.ModelProto",
        inputs: Iterable["onnx.ValueInfoProto"],
        declared: Mapping[str, "onnx.TypeProto"],
        count_as_zero: Sequence[str],
    ):
        """Walk over `model`, the shapes of whose `inputs` are known; types that are `declared` hold where none is
        inferred."""
        from onnx.checker import C

        self.steps: list[Step] = []
        self.kinds: list[str] = []
        self.tensors = Tensors(declared, model.ir_version)
        self._count_as_zero = frozenset(count_as_zero)
        self._functions = {
            (entry.domain, entry.name, getattr(entry, "overload", "")): entry for entry in model.functions
        }
        self._scopes = 0
        self._context = C.CheckerContext()
        with refusing("the file must be an ONNX model, whole and valid"):
            self._context.ir_version = model.ir_version
        for entry in inputs:
            self.tensors.learn(entry.name, entry.type)
        names = ChainMap({name: name for name in self.tensors.types})
        self.outputs = self._graph(model.graph, _Scope(_versions(model), names))

    # --- Where operators stand ----------------------------------------------------------------------------------

    def _graph(self, graph: "onnx.GraphProto", scope: _Scope) -> list[str]:
        """Walk over a graph, and say what its outputs are called."""
        if graph.sparse_initializer:
            names = ", ".join(str(weight.values.name) for weight in graph.sparse_initializer)
            raise ValueError(f"weights must not be sparse; got {names}")
        check_text(entry.name for entry in (*graph.initializer, *graph.output))
        for tensor in graph.initializer:
            self.tensors.keep(scope.define(tensor.name), tensor, initializer=True)
        self._nodes(graph.node, scope)
        return [scope.known(entry.name) for entry in graph.output]

    def _nodes(self, nodes: Sequence["onnx.NodeProto"], scope: _Scope) -> None:
        if len(nodes) > _MOST_NODES:
            raise ValueError(f"a model must have at most {_MOST_NODES} operators; got {len(nodes)}")
        check_text(text for node in nodes for text in (node.name, node.op_type, node.domain, *node.input, *node.output))
        self._refuse(nodes)
        for node in _in_order(nodes):
            self._node(node, scope)

    def _refuse(self, nodes: Sequence["onnx.NodeProto"]) -> None:
        """Refuse operators of which nothing says what they cost."""

        def refuse(found: Iterable["onnx.NodeProto"], allowed: str) -> None:
            kinds = ", ".join(sorted({kind_of(node) for node in found}))
            if kinds:
                raise ValueError(f"{allowed}; got {kinds}")

        def holds_graphs(node: "onnx.NodeProto") -> bool:
            return any(entry.HasField("g") or entry.graphs for entry in node.attribute)

        refuse(
            (node for node in nodes if holds_graphs(node) and kind_of(node) != "If"),
            "operators must not hold graphs of their own (control flow)",
        )
        left = [
            node for node in nodes if kind_of(node) not in self._count_as_zero and _calls(node) not in self._functions
        ]
        refuse(
            (node for node in left if not standard(node)),
            "operators must be of the ONNX standard, or named in count_as_zero",
        )
        refuse(
            (node for node in left if node.op_type in REFUSED),
            "operators must be such that published totals have a rule for them, or named in count_as_zero",
        )

    def _node(self, node: "onnx.NodeProto", scope: _Scope) -> None:
        kind = scope.kind or kind_of(node)
        if not scope.kind:
            self.kinds.append(kind)
        node = scope.resolved(node)
        reads = [scope.known(name) for name in node.input]
        function = self._functions.get(_calls(node))
        plain = function is None and standard(node) and node.op_type not in ("Constant", "If")
        schema = self._schema(node, scope) if plain else None
        if schema is not None and not schema.has_type_and_shape_inference_function:
            function = self._definition(node, schema, reads)
        if function is not None:
            made = self._function(function, node, reads, scope)
        elif kind_of(node) == "If":
            made = self._branch(node, reads, scope)
        else:
            made = [scope.define(name) for name in node.output]
            if kind_of(node) == "Constant":
                self.tensors.keep(made[0], constant_of(node), initializer=False)
            else:
                self.steps.append(Step(_named(node, reads, made), kind))
                self.tensors.infer(self.steps[-1].node, schema, scope.opsets)
        for name, result in zip(node.output, made, strict=False):
            scope.names[name] = result

    def _branch(self, node: "onnx.NodeProto", reads: Sequence[str], scope: _Scope) -> list[str]:
        """Walk over the branch of an If that runs, and say what its results are called."""
        condition = self.tensors.values.get(next(iter(reads), ""))
        if condition is None or np.size(condition) != 1:
            raise ValueError("operators must not hold graphs of their own (control flow); got If")
        name = "then_branch" if np.all(condition) else "else_branch"
        branch = next((entry.g for entry in node.attribute if entry.name == name and entry.HasField("g")), None)
        if branch is None:
            raise ValueError(f"If {node.name!r} must have a graph as its {name}; got none")
        return self._graph(branch, replace(scope, names=scope.names.new_child(), **self._inside(node, scope)))

    def _function(
        self, function: "onnx.FunctionProto", node: "onnx.NodeProto", reads: Sequence[str], scope: _Scope
    ) -> list[str]:
        """Walk over the operators of a function that `node` calls, and say what its results are called."""
        inside = _Scope(
            opsets={**scope.opsets, **_versions(function)},
            names=ChainMap(dict.fromkeys(function.input, "") | dict(zip(function.input, reads, strict=False))),
            attributes={entry.name: entry for entry in (*function.attribute_proto, *node.attribute)},
            kind=scope.kind or kind_of(node),
            module=node.name,
            **self._inside(node, scope),
        )
        self._nodes(function.node, inside)
        return [inside.known(name) for name in function.output]

    def _inside(self, node: "onnx.NodeProto", scope: _Scope) -> dict[str, Any]:
        """Where the operators stand that an operator stands for."""
        self._scopes += 1
        if self._scopes > _MOST_CALLS or len(self.steps) - len(self.kinds) > _MOST_OPERATORS:
            raise ValueError(f"functions and branches must stand for at most {_MOST_OPERATORS} operators")
        if scope.depth == _DEEPEST:
            raise ValueError(f"functions and branches must be at most {_DEEPEST} deep; got {kind_of(node)} in them")
        return {"prefix": f"{node.op_type}#{self._scopes}/", "depth": scope.depth + 1}

    def _schema(
        self, node: "onnx.NodeProto", scope: _Scope
    ) -> Any:  # onnx.defs.OpSchema, whose stub lacks its functions
        """What the standard says of an operator, which must be as it says."""
        from onnx import checker, defs

        with refusing("the file must be an ONNX model, whole and valid"):
            self._context.opset_imports = dict(scope.opsets)
            checker.check_node(node, self._context)
            schema = defs.get_schema(node.op_type, scope.opsets[""], "")
        if all(node.op_type not in known for known in (COUNTED, ZERO, CONTROL, self._count_as_zero)):
            raise ValueError(
                f"operators must be such whose cost is known, or named in count_as_zero; got {node.op_type}"
            )
        return schema

    def _definition(self, node: "onnx.NodeProto", schema: Any, reads: Sequence[str]) -> "onnx.FunctionProto | None":
        """The function that the standard defines an operator by, with its defaults, if there is one."""
        from onnx import FunctionProto, TypeProto

        body = schema.function_body.SerializeToString() if schema.has_function else None
        if schema.has_context_dependent_function:
            types = [self.tensors.types.get(name, TypeProto()).SerializeToString() for name in reads]
            with refusing(f"the types of what {node.op_type} reads must fit together"):
                body = schema.get_context_dependent_function(node.SerializeToString(), types)
        if body is None:
            return None
        function = FunctionProto.FromString(body)
        function.attribute_proto.extend(
            entry.default_value for entry in schema.attributes.values() if entry.default_value.name
        )
        return function


def _versions(model: "onnx.ModelProto | onnx.FunctionProto") -> dict[str, int]:
    """The versions of the standards that a model or a function is written by."""
    return {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import}


def _calls(node: "onnx.NodeProto") -> tuple[str, str, str]:
    """The function that an operator calls, if there is one."""
    return node.domain, node.op_type, getattr(node, "overload", "")


def _in_order(nodes: Sequence["onnx.NodeProto"]) -> Iterable["onnx.NodeProto"]:
    """Operators in an order in which they can run: the one in which they stand, where that is one."""
    maker = {name: at for at, node in enumerate(nodes) for name in node.output if name}
    before = [{maker[name] for name in _read_by(node) if name in maker} for node in nodes]
    if all(max(earlier, default=-1) < at for at, earlier in enumerate(before)):
        return nodes
    try:
        return [nodes[at] for at in TopologicalSorter(dict(enumerate(before))).static_order()]
    except CycleError as error:
        names = ", ".join(repr(nodes[at].output[0]) for at in error.args[1])
        raise ValueError(f"operators must not wait for each other's results; got a cycle of {names}") from error


def _read_by(node: "onnx.NodeProto") -> Iterator[str]:
    """What an operator reads, and what the graphs read that it holds."""
    yield from node.input
    for entry in node.attribute:
        for graph in (entry.g, *entry.graphs) if entry.HasField("g") or entry.graphs else ():
            for inner in graph.node:
                yield from _read_by(inner)


def _named(node: "onnx.NodeProto", reads: Sequence[str], made: Sequence[str]) -> "onnx.NodeProto":
    """An operator by the names that its tensors have in the walk."""
    if [*node.input] == [*reads] and [*node.output] == [*made]:
        return node
    node = type(node).FromString(node.SerializeToString())
    node.input[:], node.output[:] = reads, made
    return node
