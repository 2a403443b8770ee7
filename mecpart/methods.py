"""Methods of one's own: registered under a name, they appear in every experiment, table and figure.

    @mecpart.register_policy("Fastest server")
    def fastest(scenario, slot, key):
        return jnp.full(scenario.num_blocks, jnp.argmax(scenario.network.speed))

A registered method is sent along with the runs that need it, so it may be defined anywhere, in a notebook too. For
`mecpart reproduce`, whose notebooks run in processes of their own, `--methods FILE` names a Python file that registers.
"""

import runpy
import secrets
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from mecpart import context
from mecpart.agents import AGENTS, TrainResult
from mecpart.model.environment import EnvState, PartitionEnv, observe
from mecpart.model.scenario import SCENARIOS, Scenario
from mecpart.planning.policies import BOUND, BY_HAND, POLICIES
from mecpart.validation import check_choice, check_flag, check_names


@dataclass(frozen=True)
class OwnMethod:
    """A registered method. Two are equal only if they come from one registration.

    - `kind`: a "policy" is a function (scenario, slot, key) -> plan; an "agent" (observation) -> plan; a "learner" is a
      function (episodes) -> `train`, with `train` (key, scenario) -> `TrainResult`.
    - `on_host`: the function is not traced but called with NumPy arrays, one slot at a time.
    - `scenarios`: the scenarios that it is for.
    """

    name: str
    kind: Literal["policy", "agent", "learner"] = field(compare=False)
    function: Callable = field(compare=False)
    on_host: bool = field(compare=False)
    scenarios: tuple[str, ...] = field(compare=False)
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def plan(self, scenario: Scenario, state: EnvState, key: PRNGKeyArray) -> Int[Array, " blocks"]:
        """The plan for the slot of `state`, traced; nodes that are not known yet are not checked.

        **Raises:** `ValueError` if the function fails, or for a plan of wrong shape or dtype or with a node that does
        not exist. What a function on the host raises while the program runs, JAX tells as text: see `take_failure`.
        """
        inputs = self._inputs(scenario, state, key)
        if not self.on_host:
            return self._plan(scenario, self._call(inputs))

        def on_host(*inputs):
            try:
                return self._plan(scenario, self._call(inputs))
            except ValueError as error:
                _failures[self.token] = error
                raise

        wanted = jax.ShapeDtypeStruct((scenario.num_blocks,), jnp.int32)
        return jax.pure_callback(on_host, wanted, *inputs, vmap_method="sequential")

    def try_out(self, scenario: Scenario, state: EnvState, key: PRNGKeyArray) -> None:
        """Make one plan, now.

        **Raises:** `ValueError` as `plan`, for all nodes that do not exist.
        """
        if self.on_host:
            plan = self._plan(scenario, self._call(self._inputs(scenario, state, key)))
        else:
            plan = jax.jit(self.plan)(scenario, state, key)
        missing, node = np.asarray(first_missing_node(scenario, jnp.asarray(plan)[None]))
        if missing:
            raise self.no_such_node(scenario.num_nodes, node)

    def try_shape(self, scenario: Scenario) -> None:
        """Give an agent on the host an observation of zeros, for which only the shapes of `scenario` are needed.

        **Raises:** `ValueError` as `plan`.
        """
        self._plan(scenario, self._call((np.zeros(PartitionEnv().observation_size(scenario), np.float32),)))

    def take_failure(self) -> ValueError | None:
        """What the function on the host raised in this process since this was last asked."""
        return _failures.pop(self.token, None)

    def no_such_node(self, num_nodes: int, node: int) -> ValueError:
        """The error for a plan with a node that does not exist."""
        return ValueError(f"plan of {self.name!r} must hold nodes that exist, 0 to {num_nodes - 1}; got {node}")

    def train(self, key: PRNGKeyArray, scenario: Scenario, episodes: int) -> TrainResult:
        """Train a learner.

        **Raises:** `ValueError` if it fails, or does not return a `TrainResult`.
        """
        with self._errors():
            result = self.function(episodes)(key, scenario)
        if not isinstance(result, TrainResult):
            raise ValueError(f"train of {self.name!r} must return a TrainResult; got {type(result).__name__}")
        return result

    def follow(self, policy: Callable, scenario: Scenario, state: EnvState) -> Int[Array, " blocks"]:
        """The plan of a policy that `train` returned."""
        with self._errors():
            plan = policy(observe(scenario, state))
        return self._plan(scenario, plan)

    def _inputs(self, scenario: Scenario, state: EnvState, key: PRNGKeyArray) -> tuple:
        if self.kind == "policy":
            return scenario, state.slot, jax.random.key_data(key) if self.on_host else key
        return (observe(scenario, state),)

    def _call(self, inputs: tuple):
        """What the function returns for one slot."""
        if self.on_host:
            inputs = jax.tree.map(np.asarray, inputs)
        given = f" given an observation [{inputs[0].size}]" if self.kind == "agent" else ""
        with self._errors(given):
            return self.function(*inputs)

    @contextmanager
    def _errors(self, given: str = "") -> Iterator[None]:
        """One kind of error for all that a function of one's own can raise."""
        try:
            yield
        except jax.errors.JAXTypeError:
            raise  # it cannot be traced, which is told by who traces it
        except Exception as error:
            raise ValueError(f"{self.kind} {self.name!r} fails{given}: {type(error).__name__}: {error}") from error

    def _plan(self, scenario: Scenario, plan) -> Any:
        """A plan as int32, with all checks that can be made of it now."""
        try:
            plan = plan if isinstance(plan, jax.core.Tracer) else np.asarray(plan)
        except (TypeError, ValueError):  # such as rows of different lengths
            plan = np.empty((), object)
        if plan.shape != (scenario.num_blocks,) or not jnp.issubdtype(plan.dtype, jnp.integer):
            raise ValueError(
                f"plan of {self.name!r} must be {scenario.num_blocks} integers; "
                f"got shape {plan.shape}, dtype {plan.dtype}"
            )
        if isinstance(plan, jax.core.Tracer):
            if np.can_cast(plan.dtype, np.int32):
                return plan.astype(jnp.int32)
            # What does not fit would wrap around, to a node that may exist.
            exists = (plan >= 0) & (plan < scenario.num_nodes)
            return jnp.where(exists, plan, scenario.num_nodes).astype(jnp.int32)
        missing = (plan < 0) | (plan >= scenario.num_nodes)
        if missing.any():
            raise self.no_such_node(scenario.num_nodes, plan[missing][0])
        return plan.astype(np.int32)


def first_missing_node(scenario: Scenario, plans: Int[Array, "slots blocks"]) -> Int[Array, " 2"]:
    """(1 if a plan names a node that does not exist, else 0; that node)."""
    exists = (plans >= 0) & (plans < scenario.num_nodes)
    exists &= scenario.network.available[jnp.clip(plans, 0, scenario.num_nodes - 1)]
    missing = ~exists.ravel()
    return jnp.stack([jnp.any(missing).astype(jnp.int32), plans.ravel()[jnp.argmax(missing)]])


_registered: dict[str, OwnMethod] = {}

# What functions on the host raised in this process, by the token of the method.
_failures: dict[str, ValueError] = {}


def register_policy(name: str, policy: Callable | None = None, *, on_host: bool = False, scenario: str | None = None):
    """Let a policy without learning, or one learned elsewhere, take part under `name`.

    **Arguments:**

    - `policy`: a function (scenario, slot, key) -> plan, [M] integers 0..N, that JAX can trace. Without it a decorator
      is returned.
    - `on_host`: call it with NumPy arrays instead, one slot at a time, for what JAX cannot trace; `key` is then a few
      integers to seed `numpy.random.default_rng` with.
    - `scenario`: the only scenario that it is for; by default it is for all.

    **Raises:** `ValueError` if the name is like that of a method of the package or of the bound, or none that a table
    can hold: files must give it back, so it is not empty, no number, and not "NA" or "None". One of your own is
    replaced.
    """
    return _register(name, "policy", policy, on_host, scenario)


def register_agent(name: str, agent: Callable | None = None, *, on_host: bool = False, scenario: str | None = None):
    """Let a trained agent take part under `name`: a function (observation of `PartitionEnv`) -> plan.

    It fits only scenarios with as many blocks and servers as that which it was trained for. Experiments that sweep them
    leave it out, and say so: for these use `register_learner`. Arguments and errors as in `register_policy`.
    """
    return _register(name, "agent", agent, on_host, scenario)


def register_learner(name: str, make_train: Callable | None = None, *, scenario: str | None = None):
    """Let a learner take part under `name`: it is trained anew in every setting, as the package's own are.

    **Arguments:** `make_train`: a function (episodes) -> `train`, with `train` (key, scenario) -> `TrainResult` that
    JAX can trace. The `policy` in it is called with one observation. Where its `episode_cost` is None it is left out of
    the figures that show training. Without `make_train` a decorator is returned.

    **Raises:** `ValueError` as `register_policy`.
    """
    return _register(name, "learner", make_train, False, scenario)


def unregister(name: str) -> None:
    """Forget a method of one's own.

    **Raises:** `ValueError` if there is none of that name.
    """
    check_choice("name", name, _registered)
    del _registered[name]


def own_methods() -> dict[str, OwnMethod]:
    """The registered methods by name, in the order of registration."""
    file = context.current().methods_file
    if file:
        _registered_by(file, Path(file).read_bytes())
    return dict(_registered)


def check_methods_file(path: str | Path) -> Path:
    """The absolute path of a file that registers methods, run once to see that it does.

    **Raises:** `ValueError` if there is no such file, it fails, or it registers nothing.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise ValueError(f"methods must be a Python file that registers methods; there is no file {path}")
    names = _registered_by(str(path), path.read_bytes())
    if not names:
        raise ValueError(f"methods must be a Python file that registers methods; {path} registers none")
    return path


@cache
def _registered_by(path: str, content: bytes) -> tuple[str, ...]:
    """The names that a file registers, when it is run for the first time with this content."""
    before = dict(_registered)
    # Not imported: so its functions are sent to other processes as they are, not as names to be looked up there.
    try:
        runpy.run_path(path, run_name="mecpart_methods_file")
    except BaseException as error:  # `sys.exit` too: it would end whoever asks for the methods, as if all were well
        raise ValueError(f"methods must be a Python file; {path} fails: {type(error).__name__}: {error}") from error
    return tuple(name for name, method in _registered.items() if before.get(name) != method)


def _register(name, kind, function, on_host, scenario):
    check_names("name", name)
    for known in (*AGENTS, *POLICIES, BOUND, BY_HAND):
        if _plain(name) == _plain(known):
            raise ValueError(
                f"name must not be that of a method of the package, {known!r}, however spelled; got {name!r}"
            )
    check_flag("on_host", on_host)
    if scenario is not None:
        check_choice("scenario", scenario, SCENARIOS)
    if function is None:
        return lambda function: _register(name, kind, function, on_host, scenario)
    if not callable(function):
        raise ValueError(f"{'make_train' if kind == 'learner' else kind} must be a function; got {function!r}")
    scenarios = tuple(SCENARIOS) if scenario is None else (scenario,)
    _registered[name] = OwnMethod(name, kind, function, on_host, scenarios)
    return function


def _plain(name: str) -> str:
    """A name without what readers overlook: case, blanks, signs, and other characters for the same letters."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold()))
