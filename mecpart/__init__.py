"""mecpart: DNN partitioning in mobile edge computing networks, executable, exact and fast.

An open reproduction of Li et al., "Distributed DNN Inference With Fine-Grained Model Partitioning in Mobile Edge
Computing Networks", IEEE Transactions on Mobile Computing 23(10), 2024, doi 10.1109/TMC.2024.3357874.
"""

import importlib
from typing import TYPE_CHECKING

from mecpart import adapters, agents
from mecpart.comparison import published
from mecpart.dnn.from_flax import layers_from_module, workload_from_module
from mecpart.dnn.from_onnx import layers_from_onnx, onnx_operators, workload_from_onnx
from mecpart.dnn.workload import LayerTable, Workload, layers_from_csv, workload, workload_from_csv
from mecpart.experiments.compare import compare
from mecpart.experiments.runner import COLUMNS, EXPERIMENTS, PROFILES, Experiment, run_experiment
from mecpart.experiments.runs import METHODS, Setting
from mecpart.ledger import LEDGER
from mecpart.methods import register_agent, register_learner, register_policy, unregister
from mecpart.model.delay import PlanCost, evaluate_plan, utilisation
from mecpart.model.environment import EnvState, PartitionEnv, rollout
from mecpart.model.network import Network, make_network, sample_network, shannon_rate
from mecpart.model.rules import Rules
from mecpart.model.scenario import SCENARIOS, Scenario, Slot, as_printed, loaded, sample_slot, sample_slots
from mecpart.model.trace import trace_from_csv
from mecpart.planning.bounds import episode_bound, lower_bound
from mecpart.planning.optimum import OptimalPlan, optimal_plan, priced_plan
from mecpart.planning.pareto import ParetoFront, pareto_front
from mecpart.planning.policies import POLICIES

if TYPE_CHECKING:
    from mecpart.figures import plot_comparison, plot_plan

__version__ = "0.1.0"

__all__ = [
    "COLUMNS",
    "EXPERIMENTS",
    "LEDGER",
    "METHODS",
    "POLICIES",
    "PROFILES",
    "SCENARIOS",
    "EnvState",
    "Experiment",
    "LayerTable",
    "Network",
    "OptimalPlan",
    "ParetoFront",
    "PartitionEnv",
    "PlanCost",
    "Rules",
    "Scenario",
    "Setting",
    "Slot",
    "Workload",
    "adapters",
    "agents",
    "as_printed",
    "compare",
    "episode_bound",
    "evaluate_plan",
    "layers_from_csv",
    "layers_from_module",
    "layers_from_onnx",
    "loaded",
    "lower_bound",
    "make_network",
    "onnx_operators",
    "optimal_plan",
    "pareto_front",
    "plot_comparison",
    "plot_plan",
    "priced_plan",
    "published",
    "register_agent",
    "register_learner",
    "register_policy",
    "rollout",
    "run_experiment",
    "sample_network",
    "sample_slot",
    "sample_slots",
    "shannon_rate",
    "trace_from_csv",
    "unregister",
    "utilisation",
    "workload",
    "workload_from_csv",
    "workload_from_module",
    "workload_from_onnx",
]


# Only when they are asked for, for matplotlib takes long to import.
_ON_DEMAND = {"plot_comparison": "mecpart.figures", "plot_plan": "mecpart.figures"}


def __getattr__(name: str):
    if name in _ON_DEMAND:
        return getattr(importlib.import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
