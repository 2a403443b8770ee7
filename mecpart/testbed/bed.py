"""A testbed: a network cut into blocks, a process for each node, and plans that are really run."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mecpart.dnn.workload import Workload, check_workload
from mecpart.measurements import engines, machine
from mecpart.measurements.blocks import Tensors, jax_image, onnx_input, onnx_session
from mecpart.measurements.engines import InputShape
from mecpart.measurements.files import as_array
from mecpart.model.devices import BlockTimes, Links, check_links, check_times
from mecpart.testbed.calibration import Probe, covering_plans, fitted_links, moves_of, probes, route_of
from mecpart.testbed.crew import Crew
from mecpart.testbed.namespaces import Namespaces
from mecpart.testbed.wire import is_loopback, new_secret, read_secret
from mecpart.validation import check_count, check_flag, check_number, check_path, check_shape, shown

if TYPE_CHECKING:
    import pandas as pd


class Calibration(NamedTuple):
    """What a testbed was measured to take: `times` of its blocks on its nodes, `links` between them."""

    times: BlockTimes
    links: Links


class Testbed:
    """A network cut into blocks and run by several processes that send each other tensors; used in a `with`.

    Node 0 is the device, where the input is and where the result returns to. Each node is a process on one core with
    one thread, and runs its blocks of a plan; tensors go over sockets (ZeroMQ). With `links`, whoever receives a tensor
    waits until sent + latency + bytes / rate; a link brings one at a time, and each direction is a link of its own.
    With `pace`, a node sleeps after each block until the time in the table is over, so that slow machines can be
    emulated on a fast one.

    **Arguments:**

    - `network`: the path of an ONNX file, one of the paper's networks by name, or what `mecpart.workload` makes of one.
    - `blocks`: M, as in `workload_from_onnx` and `workload`.
    - `nodes`: N + 1, all of them on this machine; or the addresses of nodes 1 to N, such as `tcp://192.168.0.2:5577`,
      where `mecpart node --listen` runs. Node 0 is always on this machine.
    - `links`: of the N + 1 nodes, to be held; a rate of 0: there is no link. None: the sockets as they are. To and from
      a node on another machine they are held on top of what the network takes.
    - `engine`: "onnx" (ONNX Runtime), or "jax" for the paper's networks alone, and by default for them.
    - `pace`: times of the M blocks on the N + 1 nodes, none of them shorter than this machine takes; infinite where a
      block is not to run. None: as fast as they run.
    - `input_shape`: as in `workload_from_onnx`.
    - `timeout`: s after which a node that does not answer is taken for gone.
    - `real_links`: have the rates of `links` from the system, where it can (Linux, root, `ip` and `tc`): each node in a
      network namespace, joined by cables that are slowed down. Latencies are held, on top of what the cables take.
    - `secret`: file that all nodes have (`mecpart node --new-secret`), needed where they are on other machines.

    **Raises:** `ValueError` for a bad argument, before anything is started; `ImportError` without the engine;
    `RuntimeError`, when it runs, that names the node which died, did not answer or failed. All is then ended.
    """

    __test__ = False  # or pytest would take it for tests

    def __init__(
        self,
        network: str | os.PathLike | Workload,
        blocks: int | None = None,
        *,
        nodes: int | Sequence[str] = 3,
        links: Links | None = None,
        engine: str | None = None,
        pace: BlockTimes | None = None,
        input_shape: InputShape = None,
        timeout: float = 8.0,
        secret: str | os.PathLike | None = None,
        real_links: bool = False,
    ):
        self._network, task = _network(network, blocks, input_shape)
        self.engine = engines.engine_of(self._network, engine)
        self._input_shape, self._addresses = input_shape, _addresses(nodes, secret)
        count = len(self._addresses) + 1 if self._addresses else check_count("nodes", nodes, minimum=2)
        self.names = _names(count, links, pace, task.num_blocks)
        self._links, self._pace = links, None if pace is None else np.asarray(pace.seconds, np.float64)
        check_flag("real_links", real_links)
        if real_links and (links is None or self._addresses):
            given = "no links" if links is None else "addresses of nodes"
            raise ValueError(
                f"real_links must be False unless links between nodes of this machine are given; got {given}"
            )
        self._real = links if real_links else None
        self._spaces: Namespaces | None = None
        check_number("timeout", timeout, exclusive=True, shapes=((),))
        self._timeout, self._secret = float(timeout), None if secret is None else Path(secret)
        self._linked = ~np.eye(count, dtype=bool) & (True if links is None else np.asarray(links.rate) > 0)
        self._can = np.ones((task.num_blocks, count), bool) if self._pace is None else np.isfinite(self._pace)
        self._crew: Crew | None = None
        self._folder: TemporaryDirectory | None = None
        self._loaded: set[tuple[int, int]] = set()
        self._pieces: list[Path] = []
        self._input: Tensors = []
        self.workload = task

    @property
    def num_nodes(self) -> int:
        """N + 1."""
        return len(self.names)

    # Running -----------------------------------------------------------------------------------------------------

    def run(self, plans: Any, rounds: int = 5, tasks: int = 1) -> "pd.DataFrame":
        """Run plans, round after round; in each all of them, in an order drawn anew.

        **Arguments:**

        - `plans`: [K, M] the node of each block, or one plan, [M].
        - `rounds`: at least 1. The first is only there for all to be warm; it is kept as round 0.
        - `tasks`: that begin at once at the device and follow each other through the blocks.

        **Returns:** a row for each run, in the order in which they ran: `plan`, as "0 1 1 2"; `round`, from 0; `tasks`;
        `seconds` from the start of the first task until the last result is back, by the device's clock; `computing`, s
        of one task in its blocks, by the clocks of their nodes; `load` of this machine over the minute before.

        **Raises:** `ValueError` before anything runs for what is no plan, one over a link that there is not, or with a
        block on a node that does not run it.
        """
        import pandas as pd

        checked = self._checked(plans)
        check_count("rounds", rounds)
        check_count("tasks", tasks)
        draw, rows = np.random.default_rng(0), []
        with self._closing() as crew:
            self._load(crew, checked)
            for number in range(rounds):
                for at in draw.permutation(len(checked)):
                    load = machine.load()
                    seconds, took, _ = self._once(crew, route_of(checked[at]), tasks)
                    rows.append(
                        {
                            "plan": " ".join(map(str, checked[at])),
                            "round": number,
                            "tasks": tasks,
                            "seconds": seconds,
                            "computing": float(took.sum(axis=1).mean()),
                            "load": np.nan if load is None else load,
                        }
                    )
        return pd.DataFrame(rows)

    def infer(self, plan: Any, tensors: Sequence[Any] | None = None) -> list[np.ndarray]:
        """What leaves the last block under a plan, [M].

        - `tensors`: the arrays that enter the first block; None: what all runs have, at random.

        **Raises:** as `run`.
        """
        (checked,) = self._checked(plan, one=True)
        if tensors is not None and self._input:
            _check_alike("tensors", tensors, self._input)
        with self._closing() as crew:
            self._load(crew, [checked])
            return self._once(crew, route_of(checked), 1, tensors, output=True)[-1]

    def calibrate(self, rounds: int = 5) -> Calibration:
        """Measure what blocks and links take, in whole runs and probes of links, round after round in an order drawn
        anew; medians of all rounds but the first.

        Links are fitted to what the runs take beyond their blocks, by least absolute error, with latency + bytes / rate
        of each; none of them below 0.

        **Arguments:** `rounds`: at least 2.

        **Returns:** times and links, of which `mecpart.measured` makes a scenario. A block that no plan brings to a
        node takes for ever there.

        **Raises:** `ValueError` for fewer rounds, or where no plan is possible.
        """
        check_count("rounds", rounds, minimum=2)
        sizes = [*np.asarray(self.workload.input_bytes, np.float64).tolist(), float(self.workload.output_bytes)]
        plans = covering_plans(self._can, self._linked)
        if not plans:
            raise ValueError("links and pace must allow a plan; got such that allow none")
        with self._closing() as crew:
            self._load(crew, plans)
            sizes[0] = float(sum(each.nbytes for each in self._input))
            runs = [Probe(route_of(plan), moves_of(plan, sizes)) for plan in plans] + probes(self._linked, sizes)
            draw = np.random.default_rng(0)
            moving = np.zeros((rounds, len(runs)))
            blocks: list[list[np.ndarray]] = [[] for _ in plans]
            for number in range(rounds):
                for at in draw.permutation(len(runs)):
                    seconds, took, _ = self._once(crew, runs[at].route, 1)
                    moving[number, at] = seconds - took.sum()
                    if at < len(plans):
                        blocks[at].append(took[0])
        return Calibration(self._times(plans, blocks), self._measured_links(runs, moving))

    def _times(self, plans: list[list[int]], blocks: list[list[np.ndarray]]) -> BlockTimes:
        """From the seconds of each block in each round of each plan."""
        took: dict[tuple[int, int], list[float]] = {}
        for plan, rounds in zip(plans, blocks, strict=True):
            for m, node in enumerate(plan):
                took.setdefault((m, node), []).extend(float(each[m]) for each in rounds[1:])
        seconds, spread = np.full(self._can.shape, np.inf, np.float32), np.zeros(self._can.shape, np.float32)
        for place, values in took.items():
            seconds[place], spread[place] = np.median(values), np.std(values, ddof=min(1, len(values) - 1))
        return BlockTimes(as_array(seconds), self.workload, self.names, spread=as_array(spread))

    def _measured_links(self, runs: Sequence[Probe], moving: np.ndarray) -> Links:
        latency, rate = fitted_links([run.moves for run in runs], np.median(moving[1:], axis=0), self.num_nodes)
        return Links(as_array(latency), as_array(rate), names=self.names)

    def _once(
        self,
        crew: Crew,
        route: Sequence[tuple],
        tasks: int,
        tensors: Sequence[Any] | None = None,
        *,
        output: bool = False,
    ) -> tuple[float, np.ndarray, list[np.ndarray]]:
        """Seconds of all tasks, [tasks, M] those of their blocks, and what leaves the last."""
        entering = self._input if tensors is None else [np.asarray(each) for each in tensors]
        crew.send(0, "run", entering, route=route, tasks=tasks, output=output)
        told = crew.answers("done", [0])[0]
        return told.get("seconds", float), told.tensors[0], [np.array(each) for each in told.tensors[1:]]

    # Checking ----------------------------------------------------------------------------------------------------

    def _checked(self, plans: Any, one: bool = False) -> list[list[int]]:
        """Plans as lists of nodes, all of them possible."""
        name, blocks, last = "plan" if one else "plans", self.workload.num_blocks, self.num_nodes - 1
        check_shape(name, plans)
        array = np.asarray(plans)
        fits = array.shape == (blocks,) or (not one and array.ndim == 2 and array.shape[1] == blocks)
        if not fits or not array.size or array.dtype.kind not in "iu" or array.min() < 0 or array.max() > last:
            allowed = f"{blocks} integers from 0 to {last}" + ("" if one else ", or some such plans, [K, M]")
            raise ValueError(f"{name} must be {allowed}; got {shown(plans)}")
        listed = array.reshape(-1, blocks).tolist()
        for plan in listed:
            self._check_possible(name, plan)
        return listed

    def _check_possible(self, name: str, plan: list[int]) -> None:
        text = " ".join(map(str, plan))
        for m, node in enumerate(plan):
            if not self._can[m, node]:
                named = f"block {m} ({self.workload.block_names[m]!r}) on node {node} ({self.names[node]!r})"
                raise ValueError(f"{name} must be of blocks on nodes where pace is finite; got {text}, with {named}")
        for stage, following in zip(route := route_of(plan), route[1:], strict=False):
            if not self._linked[stage.node, following.node]:
                between = f"there is none from node {stage.node} to node {following.node}"
                raise ValueError(f"{name} must be over links whose rate is above 0; got {text}, and {between}")

    # Beginning and ending ----------------------------------------------------------------------------------------

    def __enter__(self) -> "Testbed":
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """End all processes that were begun, at once."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.end()
        spaces, self._spaces = self._spaces, None
        if spaces is not None:
            spaces.close()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def _begin(self) -> None:
        self._folder, secret = TemporaryDirectory(), self._secret
        if self._real is not None:
            self._spaces = Namespaces(self._real).__enter__()
            secret = secret or new_secret(Path(self._folder.name) / "secret")
        if self.engine == "onnx":
            folder, blocks = Path(self._folder.name), self.workload.num_blocks
            self._pieces = engines.onnx_pieces(self._network, blocks, folder, self._input_shape)
            self._input = onnx_input(onnx_session(self._pieces[0], 1))
        else:
            self._input = jax_image()
        bytes_in = np.array(self.workload.input_bytes, np.float32)
        bytes_in[0] = sum(each.nbytes for each in self._input)
        self.workload = replace(self.workload, input_bytes=as_array(bytes_in))
        addresses = dict(enumerate(self._addresses, start=1))
        self._loaded = set()
        self._crew = Crew(self.names, addresses, self._timeout, secret, self._spaces)
        self._crew.begin([self._about(number, addresses) for number in range(self.num_nodes)])

    def _about(self, number: int, elsewhere: dict[int, str]) -> dict[str, Any]:
        """What a node is told of itself."""
        links = {}
        if self._links is not None:
            latency, rate = (np.asarray(each, np.float64) for each in (self._links.latency, self._links.rate))
            for source in np.flatnonzero(self._linked[:, number]).tolist():
                one_clock = self._real is None and not {source, number} & elsewhere.keys()
                held = 1 / rate[source, number] if self._real is None else 0.0
                links[source] = [latency[source, number], held, one_clock]
        pace = None
        if self._pace is not None:
            pace = [float(each) if np.isfinite(each) else None for each in self._pace[:, number]]
        return {"links": links, "pace": pace}

    def _load(self, crew: Crew, plans: list[list[int]]) -> None:
        """Have each node hold the blocks that it is to run."""
        needed = {(node, m) for plan in plans for m, node in enumerate(plan)} - self._loaded
        asked = sorted({node for node, _ in needed})
        for node in asked:
            blocks = sorted(m for each, m in needed if each == node)
            models = [np.frombuffer(self._pieces[m].read_bytes(), np.uint8) for m in blocks if self._pieces]
            about = {"network": os.fspath(self._network), "count": self.workload.num_blocks}
            crew.send(node, "load", models, engine=self.engine, blocks=blocks, **about)
        crew.answers("loaded", asked)
        self._loaded |= needed

    @contextmanager
    def _closing(self) -> Iterator[Crew]:
        """The nodes; whatever goes wrong, none is left."""
        if self._crew is None:
            raise RuntimeError("a Testbed runs inside of a `with`, and ends with it or with the first error")
        try:
            yield self._crew
        except BaseException:
            self.close()
            raise


def _network(network: Any, blocks: int | None, input_shape: InputShape) -> tuple[str | os.PathLike, Workload]:
    """A network by name or file, and its blocks."""
    if not isinstance(network, Workload):
        check_path("network", network)
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


def _check_alike(name: str, tensors: Any, like: Tensors) -> None:
    """Raise `ValueError` unless `tensors` are a list of arrays of the shapes and types of others."""
    listed = tensors if isinstance(tensors, list | tuple) else []
    found, wanted = ([f"{each.dtype}{[*each.shape]}" for each in map(np.asarray, some)] for some in (listed, like))
    if found != wanted:
        got = ", ".join(found) or shown(tensors)
        raise ValueError(f"{name} must be a list of {', '.join(wanted)}; got {got}")


def _addresses(nodes: Any, secret: Any) -> list[str]:
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


def _names(count: int, links: Links | None, pace: BlockTimes | None, blocks: int) -> tuple[str, ...]:
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
