"""A testbed: a network cut into blocks, a process for each node, and plans that are really run."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from mecpart.dnn.workload import Workload
from mecpart.measurements import engines, machine
from mecpart.measurements.blocks import Part, Tensors
from mecpart.measurements.engines import InputShape, Runnable
from mecpart.measurements.files import as_array
from mecpart.model.devices import BlockTimes, Links
from mecpart.testbed.calibration import Calibration, Probe, calibration, covering_plans, probes
from mecpart.testbed.checks import addresses_of, check_alike, check_possible, checked_plans, names_of, network_of
from mecpart.testbed.crew import Crew
from mecpart.testbed.namespaces import Namespaces
from mecpart.testbed.routes import moves_of, route_of
from mecpart.testbed.wire import new_secret
from mecpart.validation import check_count, check_flag, check_number

if TYPE_CHECKING:
    import pandas as pd


class Testbed:
    """A network cut into blocks and run by several processes that send each other tensors; used in a `with`.

    Node 0 is the device, where the input is and where the result returns to. Each node is a process on one core with
    one thread, and runs its blocks of a plan; tensors go over sockets (ZeroMQ). With `links`, whoever receives a tensor
    waits until sent + latency + bytes / rate; a link brings one at a time, and each direction is a link of its own.
    With `pace`, a node sleeps after each block until the time in the table is over, so that slow machines can be
    emulated on a fast one.

    **Arguments:**

    - `network`: the path of an ONNX file, one of the paper's networks by name or what `mecpart.workload` makes of it,
      or what `mecpart.trace_module` makes of a module of Flax.
    - `blocks`: M, as in `workload_from_onnx` and `workload`.
    - `nodes`: N + 1, all of them on this machine; or the addresses of nodes 1 to N, such as `tcp://192.168.0.2:5577`,
      where `mecpart node --listen` runs. Node 0 is always on this machine.
    - `links`: of the N + 1 nodes, to be held; a rate of 0: there is no link. None: the sockets as they are. To and from
      a node on another machine they are held on top of what the network takes.
    - `engine`: "onnx" (ONNX Runtime) for files, "jax" for modules, either for the paper's networks (by default JAX).
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
        network: Runnable | Workload,
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
        self._network, task = network_of(network, blocks, input_shape)
        self.engine = engines.engine_of(self._network, engine)
        self._input_shape, self._addresses = input_shape, addresses_of(nodes, secret)
        count = len(self._addresses) + 1 if self._addresses else check_count("nodes", nodes, minimum=2)
        self.names = names_of(count, links, pace, task.num_blocks)
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
        self._parts: list[Part] = []
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
        checked = self._checked("plans", plans)
        check_count("rounds", rounds)
        check_count("tasks", tasks)
        return self._measured(checked, tasks, [], rounds)[0]

    def infer(self, plan: Any, tensors: Sequence[Any] | None = None) -> list[np.ndarray]:
        """What leaves the last block under a plan, [M].

        - `tensors`: the arrays that enter the first block; None: what all runs have, at random.

        **Raises:** as `run`.
        """
        (checked,) = self._checked("plan", plan, one=True)
        if tensors is not None and self._input:
            check_alike("tensors", tensors, self._input)
        with self._closing() as crew:
            self._load(crew, [checked])
            return self._once(crew, route_of(checked), 1, tensors, output=True)[-1]

    def calibrate(self, rounds: int = 5) -> Calibration:
        """Measure what blocks and links take, in whole runs and probes of links, round after round in an order drawn
        anew; medians of all rounds but the first.

        Links are fitted to what runs and probes take beyond blocks, by least absolute error, with latency + bytes /
        rate of each; none of them below 0.

        **Arguments:** `rounds`: at least 2.

        **Returns:** times and links, of which `mecpart.measured` makes a scenario. A block that no plan brings to a
        node takes for ever there.

        **Raises:** `ValueError` for fewer rounds, or where no plan is possible.
        """
        check_count("rounds", rounds, minimum=2)
        return self._measured([], 1, self._covering(), rounds)[1]

    def run_and_calibrate(self, plans: Any, rounds: int = 5, tasks: int = 1) -> tuple["pd.DataFrame", Calibration]:
        """Run plans and calibrate in the same rounds: what `run` and `calibrate` return.

        On a machine whose speed changes from minute to minute, what blocks take before or after is not what they take
        in the plans.

        **Arguments:** as in `run`; `rounds`: at least 2.

        **Raises:** as `run` and `calibrate`.
        """
        checked = self._checked("plans", plans)
        check_count("rounds", rounds, minimum=2)
        check_count("tasks", tasks)
        return self._measured(checked, tasks, self._covering(), rounds)

    def _covering(self) -> list[list[int]]:
        """Plans that tell what all blocks take."""
        plans = [plan for moving in (False, True) for plan in covering_plans(self._can, self._linked, moving=moving)]
        if not plans:
            raise ValueError("links and pace must allow a plan; got such that allow none")
        return plans

    def _measured(
        self, plans: list[list[int]], tasks: int, covering: list[list[int]], rounds: int
    ) -> tuple["pd.DataFrame", Any]:
        """The runs of some plans; and beside them in every round what a calibration takes, where plans for it are
        given."""
        import pandas as pd

        probing: list[Probe] = []
        with self._closing() as crew:
            self._load(crew, plans + covering)
            if covering:
                sizes = [*np.asarray(self.workload.input_bytes).tolist(), float(self.workload.output_bytes)]
                probing = [Probe(route_of(plan), moves_of(plan, sizes)) for plan in covering]
                probing += probes(self._linked, sizes)
            asked = [(route_of(plan), tasks) for plan in plans] + [(each.route, 1) for each in probing]
            draw, rows = np.random.default_rng(0), []
            told: list[list[tuple[float, np.ndarray]]] = [[] for _ in asked]
            for number in range(rounds):
                for at in draw.permutation(len(asked)):
                    load = machine.load()
                    seconds, took, _ = self._once(crew, *asked[at])
                    told[at].append((seconds, took))
                    if at < len(plans):
                        rows.append(
                            {
                                "plan": " ".join(map(str, plans[at])),
                                "round": number,
                                "tasks": tasks,
                                "seconds": seconds,
                                "computing": float(took.sum(axis=1).mean()),
                                "load": np.nan if load is None else load,
                            }
                        )
        found = None
        if covering:
            found = calibration(self.workload, self.names, covering, probing, told[len(plans) :])
        return pd.DataFrame(rows), found

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

    def _checked(self, name: str, plans: Any, *, one: bool = False) -> list[list[int]]:
        listed = checked_plans(name, plans, *self._can.shape, one=one)
        for plan in listed:
            check_possible(name, plan, self._can, self._linked, self.workload.block_names, self.names)
        return listed

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
        self._parts, self._input = engines.parts_of(
            self._network, self.workload.num_blocks, self.engine, self._input_shape
        )
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
            parts = [self._parts[m] for m in blocks]
            sizes = [len(part) for part in parts]
            crew.send(node, "load", [*chain(*parts)], engine=self.engine, blocks=blocks, sizes=sizes)
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
