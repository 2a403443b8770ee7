"""What a testbed is asked for: checked before anything is started or run."""

from typing import Any

import numpy as np
from jaxtyping import Bool

from mecpart.dnn.workload import Workload, check_workload
from mecpart.measurements import engines
from mecpart.measurements.blocks import Tensors
from mecpart.measurements.engines import InputShape, Runnable
from mecpart.model.devices import BlockTimes, Links, check_links, check_times
from mecpart.testbed.routes import route_of
from mecpart.testbed.wire import is_loopback, read_secret
from mecpart.validation import check_path, check_shape, shown


def network_of(network: Any, blocks: int | None, input_shape: InputShape) -> tuple[Runnable, Workload]:
    """A network that can run, and its blocks."""
    if not isinstance(network, Workload):
        engines.engine_of(network, None)
        return network, engines.workload_of(network, blocks, input_shape)
    check_workload(network, "network")
    if blocks not in (None, network.num_blocks):
        raise ValueError(f"blocks must be the {network.num_blocks} of network, or None; got {shown(blocks)}")
    engines.engine_of(network.name, None)
    task = engines.workload_of(network.name, network.num_blocks, input_shape)
    if network.block_names != task.block_names:
        raise ValueError(
            f"network must have the blocks of mecpart.workload({network.name!r}, {network.num_blocks}), which are "
            f"{', '.join(task.block_names)}; got {', '.join(network.block_names)}"
        )
    return network.name, task


def check_alike(name: str, tensors: Any, like: Tensors) -> None:
    """Raise `ValueError` unless `tensors` are a list of arrays of the shapes and types of others."""
    listed = tensors if isinstance(tensors, list | tuple) else []
    found, wanted = ([f"{each.dtype}{[*each.shape]}" for each in map(np.asarray, some)] for some in (listed, like))
    if found != wanted:
        got = ", ".join(found) or shown(tensors)
        raise ValueError(f"{name} must be a list of {', '.join(wanted)}; got {got}")


def addresses_of(nodes: Any, secret: Any) -> list[str]:
    """Of the nodes that run already."""
    if secret is not None:
        check_path("secret", secret)
        read_secret(secret)
    if not isinstance(nodes, list | tuple):
        return []
    if not nodes or not all(isinstance(each, str) and each.startswith("tcp://") for each in nodes):
        raise ValueError(f"nodes must be a number, or addresses such as tcp://192.168.0.2:5577; got {shown(nodes)}")
    if secret is None and (open_ones := [each for each in nodes if not is_loopback(each)]):
        raise ValueError(f"secret must be given where nodes are on other machines; got None for {open_ones[0]}")
    return list(nodes)


def names_of(count: int, links: Links | None, pace: BlockTimes | None, blocks: int) -> tuple[str, ...]:
    """Of the nodes: as `pace` or `links` have them."""
    if links is not None:
        check_links(links)
        if links.num_nodes != count:
            raise ValueError(f"links must be of the {count} nodes; got {links.num_nodes}")
    if pace is not None:
        check_times(pace, "pace")
        if (pace.num_blocks, pace.num_nodes) != (blocks, count):
            got = f"{pace.num_blocks} blocks on {pace.num_nodes}"
            raise ValueError(f"pace must be of {blocks} blocks on {count} nodes; got {got}")
        return pace.names
    if links is not None and links.names:
        return links.names
    return ("device", *(f"node {number}" for number in range(1, count)))


def checked_plans(name: str, plans: Any, blocks: int, nodes: int, *, one: bool) -> list[list[int]]:
    """Plans, or `one`, as lists of nodes."""
    check_shape(name, plans)
    array = np.asarray(plans)
    fits = array.shape == (blocks,) or (not one and array.ndim == 2 and array.shape[1] == blocks)
    if not fits or not array.size or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= nodes:
        allowed = f"{blocks} integers from 0 to {nodes - 1}" + ("" if one else ", or some such plans, [K, M]")
        raise ValueError(f"{name} must be {allowed}; got {shown(plans)}")
    return array.reshape(-1, blocks).tolist()


def check_possible(
    name: str,
    plan: list[int],
    can: Bool[np.ndarray, "blocks nodes"],
    linked: Bool[np.ndarray, "nodes nodes"],
    blocks: tuple[str, ...],
    names: tuple[str, ...],
) -> None:
    """Raise `ValueError` where a node cannot run its blocks of a plan, or there is no link to the next."""
    text = " ".join(map(str, plan))
    for m, node in enumerate(plan):
        if not can[m, node]:
            named = f"block {m} ({blocks[m]!r}) on node {node} ({names[node]!r})"
            raise ValueError(f"{name} must be of blocks on nodes where pace is finite; got {text}, with {named}")
    for stage, following in zip(route := route_of(plan), route[1:], strict=False):
        if not linked[stage.node, following.node]:
            between = f"there is none from node {stage.node} to node {following.node}"
            raise ValueError(f"{name} must be over links whose rate is above 0; got {text}, and {between}")
