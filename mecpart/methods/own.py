"""Methods of one's own: what they return is not trusted, and what they raise is told as one kind of error."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from mecpart.agents import Policy, PricePolicy, TrainResult
from mecpart.agents.learning import evaluate_policy
from mecpart.methods.method import (
    NO_FAULT,
    Case,
    Execution,
    Method,
    Planning,
    first_missing_node,
    no_such_node,
    run_plans,
)
from mecpart.model.environment import EnvState, PartitionEnv, observe
from mecpart.model.scenario import Scenario

# What functions on the host raised in this process, by the token of the method.
_failures: dict[str, ValueError] = {}


@dataclass(frozen=True)
class OwnMethod(Method):
    """A registered method.

    - `function`: as it was registered.
    - `token`: tells it from one that was registered by the same name before, in every process.
    """

    function: Callable[..., Any] = field(kw_only=True, compare=False, repr=False)
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    of_package: ClassVar[bool] = False
    #: In errors: what it is, the argument that it was registered by, and what else could be done.
    kind: ClassVar[str]
    argument: ClassVar[str]
    advice: ClassVar[str] = ""

    def take_failure(self):
        return _failures.pop(self.token, None)

    def trace(self, function: Callable, *inputs: Any) -> Any:
        """The shapes of what `function` returns; nothing is compiled.

        **Raises:** `ValueError` where it cannot be traced.
        """
        try:
            return jax.eval_shape(function, *inputs)
        except jax.errors.JAXTypeError as error:
            raise ValueError(f"{self.kind} {self.name!r} must be traceable by JAX{self.advice}: {error}") from error

    @contextmanager
    def errors(self, given: str = "") -> Iterator[None]:
        """One kind of error for all that a function of one's own can raise."""
        try:
            yield
        except jax.errors.JAXTypeError:
            raise  # it cannot be traced, which is told by who traces it
        except Exception as error:
            raise ValueError(f"{self.kind} {self.name!r} fails{given}: {type(error).__name__}: {error}") from error

    def checked(self, scenario: Scenario, plan: Any) -> Any:
        """A plan as int32, with all checks that can be made of it now.

        **Raises:** `ValueError` for a plan of wrong shape or dtype, or with a node that is known not to exist.
        """
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
            raise no_such_node(self.name, scenario.num_nodes, plan[missing][0])
        return plan.astype(np.int32)


@dataclass(frozen=True)
class OwnPolicy(OwnMethod):
    """A function (scenario, slot, key) -> plan.

    - `on_host`: it is not traced but called with NumPy arrays, one slot at a time.
    """

    on_host: bool = field(kw_only=True, compare=False, repr=False)
    kind: ClassVar[str] = "policy"
    argument: ClassVar[str] = "policy"
    advice: ClassVar[str] = "; on_host=True calls it with NumPy arrays instead"

    def plan(self, scenario: Scenario, state: EnvState, key: PRNGKeyArray, **settings: Any) -> Int[Array, " blocks"]:
        """The plan for the slot of `state`, traced; nodes that are not known yet are not checked.

        **Raises:** `ValueError` if the function fails, or as `checked`. What a function on the host raises while the
        program runs, JAX tells as text: see `take_failure`.
        """
        inputs = self._inputs(scenario, state, key)
        if not self.on_host:
            return self.checked(scenario, self._call(inputs))

        def on_host(*inputs):
            try:
                return self.checked(scenario, self._call(inputs))
            except ValueError as error:
                _failures[self.token] = error
                raise

        wanted = jax.ShapeDtypeStruct((scenario.num_blocks,), jnp.int32)
        return jax.pure_callback(on_host, wanted, *inputs, vmap_method="sequential")

    def execution(self, changes, episodes, peers):
        return Planning((self,))

    def check(self, case, changes, episodes):
        self.trace(self.execution({}, episodes, ()).evaluate, case, None)
        return True

    def try_out(self, scenario, state, key):
        if self.on_host:
            plan = self.checked(scenario, self._call(self._inputs(scenario, state, key)))
        else:
            plan = jax.jit(self.plan)(scenario, state, key)
        missing, node = np.asarray(first_missing_node(scenario, jnp.asarray(plan)))
        if missing:
            raise no_such_node(self.name, scenario.num_nodes, node)

    def _inputs(self, scenario: Scenario, state: EnvState, key: PRNGKeyArray) -> tuple:
        return scenario, state.slot, jax.random.key_data(key) if self.on_host else key

    def _call(self, inputs: tuple, given: str = "") -> Any:
        """What the function returns for one slot."""
        if self.on_host:
            inputs = jax.tree.map(np.asarray, inputs)
        with self.errors(given):
            return self.function(*inputs)


@dataclass(frozen=True)
class OwnAgent(OwnPolicy):
    """A function (observation) -> plan: of scenarios with as many blocks and servers as that which it learned in."""

    kind: ClassVar[str] = "agent"
    argument: ClassVar[str] = "agent"
    of_one_size: ClassVar[bool] = True

    def check(self, case, changes, episodes):
        if self.on_host:  # what it takes is seen by calling it: for this the shapes of the scenario are enough
            nothing = np.zeros(PartitionEnv().observation_size(case.scenario), np.float32)
            self.checked(case.scenario, self._call((nothing,)))
        return super().check(case, changes, episodes)

    def _inputs(self, scenario, state, key):
        return (observe(scenario, state),)

    def _call(self, inputs, given=""):
        return super()._call(inputs, f" given an observation [{inputs[0].size}]")


@dataclass(frozen=True)
class OwnLearner(OwnMethod):
    """A function (episodes) -> `train`, with `train` (key, scenario) -> `TrainResult`."""

    kind: ClassVar[str] = "learner"
    argument: ClassVar[str] = "make_train"
    learns: ClassVar[bool] = True

    def execution(self, changes, episodes, peers):
        return OwnTraining(self, episodes)

    def check(self, case, changes, episodes):
        training, *_ = self.trace(self.execution({}, episodes, ()).begin, case)
        return training is not None

    def train(self, key: PRNGKeyArray, scenario: Scenario, episodes: int) -> TrainResult:
        """Train it.

        **Raises:** `ValueError` if it fails, or does not return a `TrainResult`.
        """
        with self.errors():
            result = self.function(episodes)(key, scenario)
        if not isinstance(result, TrainResult):
            raise ValueError(f"train of {self.name!r} must return a TrainResult; got {type(result).__name__}")
        return result

    def follow(self, policy: Callable, scenario: Scenario, state: EnvState) -> Int[Array, " blocks"]:
        """The plan of a policy that `train` returned."""
        with self.errors():
            plan = policy(observe(scenario, state))
        return self.checked(scenario, plan)


@dataclass(frozen=True)
class OwnTraining(Execution):
    """All at once: the policy that a learner of one's own returns may hold values that are known while it is traced."""

    learner: OwnLearner
    width: int
    effort = ("full", "plain", "plain")

    def begin(self, case: Case):
        result = self.learner.train(case.keys[0], case.scenario, self.width)
        if isinstance(result.policy, Policy | PricePolicy):  # of the package, with other settings
            cost = evaluate_policy(case.keys[1], case.fresh, result.policy, slots=case.slots)
            return result.episode_cost, cost, NO_FAULT
        follow = partial(self.learner.follow, result.policy, case.scenario)

        def choose_plans(states, nothing):
            return jax.vmap(follow)(states)

        nothing = jnp.zeros((case.fresh.num_slots, 0))
        return result.episode_cost, *run_plans(case.fresh, case.fresh_slots(), choose_plans, nothing)

    def step(self, case, state, batch):
        return state, state[0], NO_FAULT

    def evaluate(self, case, state):
        return state[1:]
