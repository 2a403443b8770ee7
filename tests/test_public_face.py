"""Every public function with every argument made wrong in every way: refused by its name, before anything is compiled.

A public function or parameter that `CALLS` does not cover is an error too.
"""

import inspect
import re

import jax
import numpy as np
import pandas as pd
import pytest
from compilation import compilations
from flax import linen as nn

import mecpart
from mecpart import agents
from mecpart.adapters import gymnasium, gymnax
from mecpart.dnn.layer import Layer

KEY = jax.random.key(0)
WORKLOAD = mecpart.workload("alexnet", 3)
NETWORK = mecpart.make_network([3e9, 6e9])
SCENARIO = mecpart.loaded(WORKLOAD, NETWORK, num_slots=2)
SLOT = mecpart.sample_slot(KEY, SCENARIO)
SLOTS = mecpart.sample_slots(KEY, SCENARIO, 3)
STATE = mecpart.EnvState(SLOT, SCENARIO.energy_budget, np.int32(0))
PLAN, PLANS = np.array([0, 1, 2]), np.zeros((3, 3), int)
RULES = {"queues": False, "return_charged": True, "local_input_charged": False, "streams": False}
OF_SCENARIO = RULES | {"times": None, "links": None}
TABLE = mecpart.LayerTable("mine", (Layer("a", 5, 10, 20, 1), Layer("b", 7, 20, 30, 2)))
ENV = mecpart.PartitionEnv()
TIMES = mecpart.BlockTimes(
    np.ones((3, 3)), WORKLOAD, ("a", "b", "c"), spread=np.ones((3, 3)), memory_bytes=np.ones(3), watts=np.ones(3)
)
LINKS = mecpart.Links(np.ones((3, 3)), np.ones((3, 3)), np.ones((3, 3)), ("a", "b", "c"))
REPEATED = pd.DataFrame({"plan": "0 1 2", "round": [0, 1], "tasks": 1, "seconds": 1.0})

# What no argument may be, by name; a call tells which of them one of its arguments may be after all.
WRONG = {
    "None": None,
    "an object": object(),
    "a text": "nonsense",
    "empty": "",
    "bytes": b"nonsense",
    "texts": np.array(["1", "2"]),
    "a mapping": {"a": 1},
    "ragged": [[1.0], [1.0, 2.0]],
    "a list of None": [None],
    "complex": 1j,
    "not a number": float("nan"),
    "infinite": float("inf"),
    "too large": 1e39,
    "negative": -1,
    "a fraction": 0.1234,
    "yes": True,
    "a date": np.datetime64("2024-01-01"),
    "four axes": np.ones((2, 2, 2, 2)),
    "a key": KEY,
    "keys": jax.random.split(KEY, 2),
    "a network": NETWORK,
    "a workload": WORKLOAD,
    "a scenario": SCENARIO,
    "a slot": SLOT,
    "a class": dict,
}


def numbers(*names, also=frozenset()):
    """Arguments that are numbers: these may be a fraction."""
    return {name: NUMBER | also for name in names}


OPTIONAL, ANY_TEXT, NUMBER, FUNCTION = {"None"}, {"a text"}, {"a fraction"}, {"None", "a class"}
_SWITCHES = {name: {"yes"} for name in ("asynchronous", "advantage_scaling", "separate_clipping", "annealed")}
_OF_LEARNERS = {"name": ANY_TEXT} | _SWITCHES | numbers(
    "sharing_weight", "critic_learning_rate", "learning_rate", "entropy_weight", "discount", "rmsprop_decay",
    "rmsprop_epsilon", "max_gradient_norm", "queue_price", "initial_scale", "exploration_fraction",
) | {"gae_lambda": NUMBER | OPTIONAL}  # fmt: skip
_OWN = {"name": ANY_TEXT, "on_host": {"yes"}, "scenario": OPTIONAL}
_A_KEY, _A_SCENARIO, _A_SLOT = {"key": {"a key"}}, {"scenario": {"a scenario"}}, {"slot": {"a slot"}}
_MEASURED = {"times": OPTIONAL, "links": OPTIONAL}
_SWITCHED = {rule: {"yes"} for rule in RULES} | _MEASURED
_ON_NETWORK = {"workload": {"a workload"}, "network": {"a network"}}


# Of every public name what is called, and its arguments: good values, and what else of `WRONG` each may be.
CALLS = {
    "as_printed": (
        mecpart.as_printed,
        {"workload": WORKLOAD, "network": NETWORK, "release_rate": 1.0, "deadline": 1.0, "penalty": 1.0,
         "cycles_per_mac": 1.0, "slot_seconds": 1.0, "energy_budget": 1.0, "num_slots": 2}
        | OF_SCENARIO,
        _ON_NETWORK | _SWITCHED | numbers("release_rate", "deadline", "penalty", "cycles_per_mac", "slot_seconds")
        | {"energy_budget": NUMBER | OPTIONAL},
    ),
    "best_constant_plan": (
        mecpart.best_constant_plan, {"scenario": SCENARIO, "slots": SLOTS, "beam": 1}, _A_SCENARIO,
    ),
    "compare": (
        mecpart.compare,
        {"scenario": SCENARIO, "methods": ["Greedy"], "seeds": 1, "slots": None, "profile": "smoke", "episodes": 24,
         "processes": 1},
        _A_SCENARIO | {"methods": OPTIONAL, "slots": OPTIONAL, "episodes": OPTIONAL, "processes": OPTIONAL},
    ),
    "compare_delay": (
        mecpart.compare_delay, {"measured": REPEATED, "scenario": mecpart.measured(TIMES, LINKS)}, {},
    ),
    "episode_bound": (
        mecpart.episode_bound, {"scenario": SCENARIO, "slots": SLOTS, "price": np.zeros(3)},
        _A_SCENARIO | {"price": OPTIONAL},
    ),
    "evaluate_plan": (
        mecpart.evaluate_plan, {"scenario": SCENARIO, "slot": SLOT, "plan": PLAN, "check": False},
        _A_SCENARIO | _A_SLOT | {"check": {"yes"}},
    ),
    "fit_times": (
        mecpart.fit_times, {"times": TIMES, "workload": None, "terms": ("macs",)},
        {"workload": OPTIONAL | {"a workload"}},
    ),
    "from_dnnpipe": (
        mecpart.from_dnnpipe, {"path": "a.json", "network": "a"}, {"path": ANY_TEXT, "network": ANY_TEXT},
    ),
    "from_msr": (
        mecpart.from_msr, {"path": "a.json", "network": None, "cpu": False, "rate": None},
        {"path": ANY_TEXT, "network": ANY_TEXT | OPTIONAL, "cpu": {"yes"}, "rate": NUMBER | OPTIONAL},
    ),
    "from_paretopipe": (
        mecpart.from_paretopipe,
        {"path": "a.csv", "network": None, "metrics": None, "names": ("a", "b"), "rate": 1.0},
        {"path": ANY_TEXT, "network": ANY_TEXT | OPTIONAL, "metrics": ANY_TEXT | OPTIONAL, "rate": NUMBER},
    ),
    "from_pipeedge": (
        mecpart.from_pipeedge,
        {"models": "a.yml", "device_types": "b.yml", "devices": None, "network": None, "batch": None},
        {"models": ANY_TEXT, "device_types": ANY_TEXT, "devices": ANY_TEXT | OPTIONAL, "network": ANY_TEXT | OPTIONAL,
         "batch": OPTIONAL},
    ),
    "from_scission": (
        mecpart.from_scission, {"folder": "a", "network": None, "links": None, "image_bytes": 1.0},
        {"network": ANY_TEXT | OPTIONAL, "links": ANY_TEXT | OPTIONAL, "image_bytes": NUMBER},
    ),
    "keeps_up": (mecpart.keeps_up, {"total_delay": np.ones(8)}, {}),
    "layers_from_csv": (
        mecpart.layers_from_csv, {"path": "a.csv", "name": "a"}, {"path": {"a text"}, "name": {"None", "a text"}},
    ),
    "layers_from_module": (
        mecpart.layers_from_module, {"module": nn.Dense(2), "example": np.ones((1, 3)), "name": "a", "method": None,
         "count_as_zero": ()},
        {"name": {"None", "a text"}, "method": OPTIONAL},
    ),
    "layers_from_onnx": (
        mecpart.layers_from_onnx,
        {"path": "a.onnx", "name": "a", "input_shape": (1, 3), "pooling": False, "count_as_zero": ()},
        {"path": {"a text"}, "name": {"None", "a text"}, "input_shape": OPTIONAL, "pooling": {"yes"}},
    ),
    "load_policy": (mecpart.load_policy, {"path": "a.npz"}, {"path": ANY_TEXT}),
    "loaded": (
        mecpart.loaded,
        {"workload": WORKLOAD, "network": NETWORK, "release_rate": 1.0, "deadline": 1.0, "arrivals": "constant",
         "penalty": 1.0, "cycles_per_mac": 1.0, "slot_seconds": 1.0, "energy_budget": 1.0, "num_slots": 2}
        | OF_SCENARIO,
        _ON_NETWORK | _SWITCHED | numbers("release_rate", "deadline", "penalty", "cycles_per_mac", "slot_seconds")
        | {"energy_budget": NUMBER | OPTIONAL},
    ),
    "links_from_csv": (mecpart.links_from_csv, {"path": "a.csv"}, {"path": ANY_TEXT}),
    "links_to_csv": (
        mecpart.links_to_csv, {"path": "a.csv", "links": LINKS, "source": ""},
        {"path": ANY_TEXT, "source": {"a text", "empty"}},
    ),
    "lower_bound": (mecpart.lower_bound, {"scenario": SCENARIO, "slot": SLOT}, _A_SCENARIO | _A_SLOT),
    "make_network": (
        mecpart.make_network,
        {"server_speed": [3.0], "num_devices": 1, "device_frequency": 1, "device_rate_range": (1, 2), "wired_rate": 1,
         "transmit_power": 1, "energy_coefficient": 1},
        numbers("device_frequency", "wired_rate", "transmit_power", "energy_coefficient"),
    ),
    "measure": (
        mecpart.measure,
        {"network": "alexnet", "blocks": 3, "rounds": 2, "seconds": 0.0, "engine": "jax", "threads": 1, "node": "a",
         "input_shape": None},
        {"blocks": OPTIONAL, "seconds": NUMBER, "engine": OPTIONAL, "node": OPTIONAL | ANY_TEXT,
         "input_shape": OPTIONAL},
    ),
    "measured_data": (
        mecpart.measured_data, {"name": "scission", "network": "vgg19", "links": None}, {"links": OPTIONAL},
    ),
    "measured": (
        mecpart.measured,
        {"times": TIMES, "links": LINKS, "rules": "loaded", "release_rate": 1.0, "deadline": 1.0,
         "memory": np.ones(3) * 1e9, "transmit_power": 1.0, "arrivals": "constant", "penalty": 1.0,
         "slot_seconds": 1.0, "energy_budget": 1.0, "num_slots": 2},
        numbers("release_rate", "deadline", "transmit_power", "penalty", "slot_seconds")
        | {"memory": OPTIONAL, "energy_budget": NUMBER | OPTIONAL},
    ),
    "onnx_operators": (
        mecpart.onnx_operators, {"path": "a.onnx", "input_shape": (1, 3), "count_as_zero": ()},
        {"path": {"a text"}, "input_shape": OPTIONAL},
    ),
    "optimal_pipeline": (
        mecpart.optimal_pipeline, {"times": TIMES, "links": LINKS, "memory": np.ones(3) * 1e9},
        {"links": OPTIONAL, "memory": OPTIONAL},
    ),
    "optimal_plan": (
        mecpart.optimal_plan, {"scenario": SCENARIO, "slot": SLOT, "objective": "delay", "memory": np.ones(3)},
        _A_SCENARIO | _A_SLOT | {"memory": OPTIONAL},
    ),
    "pareto_front": (
        mecpart.pareto_front, {"scenario": SCENARIO, "slot": SLOT, "memory": np.ones(3)},
        _A_SCENARIO | _A_SLOT | {"memory": OPTIONAL},
    ),
    "pipelined": (
        mecpart.pipelined,
        {"workload": WORKLOAD, "network": NETWORK, "release_rate": 1.0, "deadline": 1.0, "arrivals": "constant",
         "penalty": 1.0, "cycles_per_mac": 1.0, "slot_seconds": 1.0, "energy_budget": 1.0, "num_slots": 2}
        | OF_SCENARIO,
        _ON_NETWORK | _SWITCHED | numbers("release_rate", "deadline", "penalty", "cycles_per_mac", "slot_seconds")
        | {"energy_budget": NUMBER | OPTIONAL},
    ),
    "plot_comparison": (mecpart.plot_comparison, {"table": None}, {}),
    "plot_plan": (mecpart.plot_plan, {"scenario": SCENARIO, "slot": SLOT, "plan": PLAN}, _A_SCENARIO | _A_SLOT),
    "priced_plan": (
        mecpart.priced_plan, {"scenario": SCENARIO, "slot": SLOT, "price": np.zeros(3)}, _A_SCENARIO | _A_SLOT,
    ),
    "published": (mecpart.published, {"figure": "fig8"}, {}),
    "register_agent": (
        mecpart.register_agent, {"name": "mine", "agent": len, "on_host": False, "scenario": None},
        _OWN | {"agent": FUNCTION},
    ),
    "register_learner": (
        mecpart.register_learner, {"name": "mine", "make_train": len, "scenario": None},
        _OWN | {"make_train": FUNCTION},
    ),
    "register_policy": (
        mecpart.register_policy, {"name": "mine", "policy": len, "on_host": False, "scenario": None},
        _OWN | {"policy": FUNCTION},
    ),
    "rollout": (
        mecpart.rollout,
        {"scenario": SCENARIO, "start": STATE, "slots": SLOTS, "choose_plans": lambda states, noise: PLANS[:2],
         "noise": np.zeros((2, 1))},
        _A_SCENARIO | {"start": OPTIONAL, "noise": {"keys", "four axes", "a slot"}},
    ),
    "run_experiment": (
        mecpart.run_experiment,
        {"name": "fig8", "profile": "smoke", "scenario": "loaded", "seeds": 1, "episodes": 24, "methods": ["Greedy"],
         "processes": 1, "scheduler": None, "runs_folder": None, "world": None},
        {"seeds": OPTIONAL, "episodes": OPTIONAL, "methods": OPTIONAL, "processes": OPTIONAL, "world": {"None"},
         "scheduler": {"None", "empty"}, "runs_folder": {"None", "a text"}},
    ),
    "run_rules": (
        mecpart.run_rules,
        {"name": "fig12", "methods": ["RPDI"], "profile": "smoke", "scenario": "as_printed", "networks": 2,
         "world": None},
        {"networks": OPTIONAL, "world": {"None"}},
    ),
    "sample_network": (
        mecpart.sample_network, {"key": KEY, "num_servers": 1, "server_speed_range": (3e9, 4e9), "pad_to": 2},
        {"key": {"a key"}, "num_servers": set(), "pad_to": OPTIONAL},
    ),
    "sample_slot": (mecpart.sample_slot, {"key": KEY, "scenario": SCENARIO}, _A_KEY | _A_SCENARIO),
    "sample_slots": (mecpart.sample_slots, {"key": KEY, "scenario": SCENARIO, "count": 2}, _A_KEY | _A_SCENARIO),
    "save_policy": (mecpart.save_policy, {"path": "a.npz", "policy": None}, {"path": ANY_TEXT}),
    "shannon_rate": (
        mecpart.shannon_rate,
        {"bandwidth": 1.0, "transmit_power": 1.0, "channel_gain": 1.0, "noise_density": 1.0},
        numbers("bandwidth", "transmit_power", "channel_gain", "noise_density", also={"four axes"}),
    ),
    "simulate": (
        mecpart.simulate, {"scenario": SCENARIO, "slot": SLOT, "plan": PLAN}, _A_SCENARIO | _A_SLOT,
    ),
    "Testbed": (
        mecpart.Testbed,
        {"network": "alexnet", "blocks": 3, "nodes": 3, "links": LINKS, "engine": "jax", "pace": TIMES,
         "input_shape": None, "timeout": 8.0, "secret": None, "real_links": False},
        {"network": {"a workload"}, "blocks": OPTIONAL, "links": OPTIONAL, "engine": OPTIONAL, "pace": OPTIONAL,
         "input_shape": OPTIONAL, "timeout": NUMBER, "secret": OPTIONAL, "real_links": {"yes"}},
    ),
    "times_from_csv": (
        mecpart.times_from_csv, {"path": "a.csv", "network": None, "input_bytes": None},
        {"path": ANY_TEXT, "network": ANY_TEXT | OPTIONAL, "input_bytes": NUMBER | OPTIONAL},
    ),
    "times_to_csv": (
        mecpart.times_to_csv, {"path": "a.csv", "times": TIMES, "batch": None, "source": ""},
        {"path": ANY_TEXT, "batch": OPTIONAL, "source": {"a text", "empty"}},
    ),
    "trace_from_csv": (
        mecpart.trace_from_csv, {"path": "a.csv", "slot_seconds": None},
        {"path": ANY_TEXT, "slot_seconds": OPTIONAL | NUMBER},
    ),
    "trace_module": (
        mecpart.trace_module,
        {"module": nn.Dense(2), "example": np.ones((1, 3)), "variables": None, "name": "a", "method": None,
         "count_as_zero": ()},
        {"variables": OPTIONAL, "name": {"None", "a text"}, "method": OPTIONAL},
    ),
    "unregister": (mecpart.unregister, {"name": "nobody"}, {}),
    "utilisation": (mecpart.utilisation, {"scenario": SCENARIO, "slots": SLOTS, "plans": PLANS}, _A_SCENARIO),
    "workload": (mecpart.workload, {"name": "alexnet", "blocks": 3}, {"blocks": OPTIONAL}),
    "workload_from_csv": (
        mecpart.workload_from_csv, {"path": "a.csv", "name": "a"},
        {"path": {"a text"}, "name": {"None", "a text"}},
    ),
    "workload_from_module": (
        mecpart.workload_from_module,
        {"module": nn.Dense(2), "example": np.ones((1, 3)), "blocks": 1, "name": "a", "method": None,
         "count_as_zero": ()},
        {"blocks": OPTIONAL, "name": {"None", "a text"}, "method": OPTIONAL},
    ),
    "workload_from_onnx": (
        mecpart.workload_from_onnx,
        {"path": "a.onnx", "blocks": 1, "name": "a", "input_shape": (1, 3), "pooling": False, "count_as_zero": ()},
        {"path": {"a text"}, "blocks": OPTIONAL, "name": {"None", "a text"}, "input_shape": OPTIONAL,
         "pooling": {"yes"}},
    ),
    "write_onnx": (mecpart.write_onnx, {"network": "alexnet", "path": "a.onnx"}, {"path": ANY_TEXT}),
    "write_pieces": (
        mecpart.write_pieces,
        {"path": "a.onnx", "plan": [0, 1], "folder": "a", "starts": (0, 1), "input_shape": (1, 3), "pooling": False,
         "count_as_zero": ()},
        {"path": ANY_TEXT, "folder": ANY_TEXT, "starts": OPTIONAL, "input_shape": OPTIONAL, "pooling": {"yes"}},
    ),
    # Types: their fields are checked where they are made or, of those that JAX makes too, where they are used.
    "BlockTimes": (
        lambda **given: mecpart.BlockTimes(**given).select([0, 1]), vars(TIMES),
        {"workload": {"a workload"}, "spread": OPTIONAL, "memory_bytes": OPTIONAL, "watts": OPTIONAL},
    ),
    "Change": (
        mecpart.Change, {"workload": {}, "network": {}, "scenario": {}, "method": {}, "words": "a"},
        {"words": ANY_TEXT | {"empty"}, "network": {"a network"}},
    ),
    "EnvState": (
        lambda **given: ENV.step(KEY, mecpart.EnvState(**given), PLAN, SCENARIO),
        {"slot": SLOT, "remaining_energy": np.float32(1), "time": np.int32(0)},
        {"slot": {"a slot"}, "remaining_energy": NUMBER | {"negative", "infinite", "not a number", "too large"}},
    ),
    "Experiment": (
        mecpart.Experiment,
        {"name": "a", "title": "a", "x_name": "deadline", "x_label": "a", "xs": (1.0,), "fixed": mecpart.Setting(),
         "methods": None, "series": {}, "brief": ()},
        {"name": ANY_TEXT, "title": ANY_TEXT | {"empty"}, "x_label": ANY_TEXT | {"empty"}, "methods": OPTIONAL},
    ),
    "LayerTable": (mecpart.LayerTable, {"name": "a", "layers": TABLE.layers}, {"name": ANY_TEXT}),
    "Links": (
        lambda **given: mecpart.Links(**given).select([0, 1]), vars(LINKS), {"spread": OPTIONAL},
    ),
    "Network": (
        lambda **given: mecpart.as_printed(WORKLOAD, mecpart.Network(**given)), vars(NETWORK),
        numbers("device_frequency", "wired_rate", "transmit_power", "energy_coefficient"),
    ),
    "Rules": (mecpart.Rules, {"name": "mine"} | RULES, _SWITCHED | {"name": ANY_TEXT}),
    "Scenario": (
        lambda **given: mecpart.sample_slot(KEY, mecpart.Scenario(**given)), vars(SCENARIO),
        _ON_NETWORK | _MEASURED
        | numbers("release_rate", "deadline", "penalty", "cycles_per_mac", "slot_seconds", "energy_budget"),
    ),
    "Setting": (
        lambda **given: mecpart.Setting(**given).build("loaded", 0), vars(mecpart.Setting()),
        {"release_rate": NUMBER, "deadline": NUMBER, "link_capacity": NUMBER | OPTIONAL,
         "edge_network": OPTIONAL | {"a network"}},
    ),
    "Slot": (
        lambda **given: mecpart.evaluate_plan(SCENARIO, mecpart.Slot(**given), PLAN),
        vars(SLOT) | {"tasks": np.float32(1)},
        {"device_rate": NUMBER, "backlog": OPTIONAL, "tasks": NUMBER | OPTIONAL},
    ),
    "Workload": (
        lambda **given: mecpart.as_printed(mecpart.Workload(**given), NETWORK), vars(WORKLOAD),
        {"output_bytes": NUMBER, "name": {"a text", "empty"}},
    ),
    "PartitionEnv.reset": (ENV.reset, {"key": KEY, "scenario": SCENARIO}, _A_KEY | _A_SCENARIO),
    "PartitionEnv.step": (
        ENV.step, {"key": KEY, "state": STATE, "plan": PLAN, "scenario": SCENARIO}, _A_KEY | _A_SCENARIO,
    ),
    "PartitionEnv.step_env": (
        ENV.step_env, {"key": KEY, "state": STATE, "plan": PLAN, "scenario": SCENARIO}, _A_KEY | _A_SCENARIO,
    ),
    "PartitionEnv.plan_shape": (ENV.plan_shape, {"scenario": SCENARIO}, _A_SCENARIO),
    "PartitionEnv.num_actions": (ENV.num_actions, {"scenario": SCENARIO}, _A_SCENARIO),
    "PartitionEnv.observation_size": (ENV.observation_size, {"scenario": SCENARIO}, _A_SCENARIO),
    "agents.agent_config": (agents.agent_config, {"agent": "A3C"}, {}),
    "agents.make_train": (agents.make_train, {"agent": "A3C"}, {}),
    "agents.stages": (agents.stages, {"agent": "A3C"}, {}),
    **{
        f"agents.{type(config).__name__}": (type(config), vars(config), _OF_LEARNERS)
        for config in agents.AGENTS.values()
    },
    "adapters.gymnasium.make": (gymnasium.make, {"scenario": SCENARIO}, {"scenario": {"a scenario"}}),
    "adapters.gymnasium.make_vec": (
        gymnasium.make_vec, {"scenario": SCENARIO, "num_envs": 2, "autoreset_mode": "NextStep"},
        {"scenario": {"a scenario"}},
    ),
    "adapters.gymnasium.Partition": (gymnasium.Partition, {"scenario": SCENARIO}, {"scenario": {"a scenario"}}),
    "adapters.gymnasium.PartitionVector": (
        gymnasium.PartitionVector, {"scenario": SCENARIO, "num_envs": 2, "autoreset_mode": "NextStep"},
        {"scenario": {"a scenario"}},
    ),
    "adapters.gymnax.make": (
        gymnax.make, {"scenario": SCENARIO, "actions": "plan", "step": "six"}, {"scenario": {"a scenario"}},
    ),
    "adapters.gymnax.place_blocks": (
        gymnax.place_blocks,
        {"act": lambda observation, key: 0, "scenario": SCENARIO,
         "observation": np.zeros(ENV.observation_size(SCENARIO)), "key": KEY},
        _A_KEY | _A_SCENARIO,
    ),
    "adapters.gymnax.Partition": (gymnax.Partition, {"scenario": SCENARIO}, {"scenario": {"a scenario"}}),
}  # fmt: skip

# What the package makes and nobody hands in.
RESULTS = {"MeasuredBlocks", "Measurements", "Operation", "OptimalPlan", "ParetoFront", "Pipeline", "PlanCost",
           "Schedule", "TimesFit", "TracedModule", "agents.EpisodeCost", "agents.Policy", "agents.PricePolicy",
           "agents.Stages", "agents.TrainResult", "adapters.gymnax.EnvParams"}  # fmt: skip


def public_names():
    """Every public callable: functions, types, and the methods of the environment."""
    places = {"": mecpart, "agents.": agents, "adapters.gymnasium.": gymnasium, "adapters.gymnax.": gymnax}
    for prefix, place in places.items():
        for name in place.__all__:
            value = getattr(place, name)
            if value is mecpart.PartitionEnv:
                methods = [
                    method for method, way in vars(value).items() if inspect.isfunction(way) and method[0] != "_"
                ]
                yield from (f"PartitionEnv.{method}" for method in methods)
            elif callable(value) and hasattr(value, "__module__") and value.__module__.startswith("mecpart"):
                yield prefix + name


def test_every_public_name_and_every_argument_is_covered():
    assert set(public_names()) == {*CALLS, *RESULTS}
    for name, (_, good, _) in CALLS.items():
        *path, last = name.split(".")
        place = mecpart
        for part in path:
            place = getattr(place, part)
        given = inspect.signature(getattr(place, last)).parameters.values()
        assert {way.name for way in given if way.kind != way.VAR_KEYWORD and way.name != "self"} == set(good), name


@pytest.mark.parametrize("name", CALLS)
def test_what_is_wrong_is_refused_by_its_name(name):
    call, good, allowed = CALLS[name]
    bad = []
    with compilations() as compiled:
        for argument in good:
            for what in WRONG.keys() - allowed.get(argument, set()):
                try:
                    call(**good | {argument: WRONG[what]})
                except (ValueError, TypeError) as error:
                    if not re.search(rf"\b{argument}\b", str(error)):
                        bad.append(f"{argument}, {what}: {type(error).__name__}: {str(error)[:200]}")
                except Exception as error:
                    bad.append(f"{argument}, {what}: {type(error).__name__}: {str(error)[:200]}")
                else:
                    bad.append(f"{argument}, {what}: accepted")
    assert not bad, "\n".join(sorted(bad))
    assert not compiled
