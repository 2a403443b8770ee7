"""mecpart: DNN partitioning in mobile edge computing networks, executable, exact and fast.

An open reproduction of Li et al., "Distributed DNN Inference With Fine-Grained Model Partitioning in Mobile Edge
Computing Networks", IEEE Transactions on Mobile Computing 23(10), 2024, doi 10.1109/TMC.2024.3357874.
"""

from mecpart import adapters, agents
from mecpart.comparison import published
from mecpart.delay import PlanCost, evaluate_plan, utilisation
from mecpart.environment import EnvState, PartitionEnv, rollout
from mecpart.experiments import COLUMNS, EXPERIMENTS, PROFILES, Experiment, run_experiment
from mecpart.ledger import LEDGER
from mecpart.network import Network, make_network, sample_network, shannon_rate
from mecpart.optimum import OptimalPlan, episode_bound, lower_bound, optimal_plan, priced_plan
from mecpart.policies import POLICIES
from mecpart.runs import METHODS, Setting
from mecpart.scenario import SCENARIOS, Scenario, Slot, as_printed, loaded, sample_slot, sample_slots
from mecpart.workload import Workload, workload

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
    "Network",
    "OptimalPlan",
    "PartitionEnv",
    "PlanCost",
    "Scenario",
    "Setting",
    "Slot",
    "Workload",
    "adapters",
    "agents",
    "as_printed",
    "episode_bound",
    "evaluate_plan",
    "loaded",
    "lower_bound",
    "make_network",
    "optimal_plan",
    "priced_plan",
    "published",
    "rollout",
    "run_experiment",
    "sample_network",
    "sample_slot",
    "sample_slots",
    "shannon_rate",
    "utilisation",
    "workload",
]
