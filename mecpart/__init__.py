"""mecpart: DNN partitioning in mobile edge computing networks, executable, exact and fast.

An open reproduction of Li et al., "Distributed DNN Inference With Fine-Grained Model Partitioning in Mobile Edge
Computing Networks", IEEE Transactions on Mobile Computing 23(10), 2024, doi 10.1109/TMC.2024.3357874.
"""

from typing import TYPE_CHECKING

from mecpart.on_demand import import_on_demand

if TYPE_CHECKING:
    from mecpart import adapters, agents
    from mecpart.agents.saving import load_policy, save_policy
    from mecpart.comparison import published
    from mecpart.comparison.clock import compare_delay
    from mecpart.dnn.from_flax import TracedModule, layers_from_module, trace_module, workload_from_module
    from mecpart.dnn.from_onnx import layers_from_onnx, onnx_operators, workload_from_onnx
    from mecpart.dnn.pieces import write_pieces
    from mecpart.dnn.to_onnx import write_onnx
    from mecpart.dnn.workload import LayerTable, Workload, layers_from_csv, workload, workload_from_csv
    from mecpart.experiments.catalogue import EXPERIMENTS
    from mecpart.experiments.compare import compare
    from mecpart.experiments.experiment import Change, Experiment
    from mecpart.experiments.many import run_rules
    from mecpart.experiments.runner import COLUMNS, PROFILES, run_experiment
    from mecpart.experiments.setting import Setting
    from mecpart.figures import plot_comparison, plot_plan
    from mecpart.ledger import LEDGER
    from mecpart.measurements.dnnpipe import from_dnnpipe
    from mecpart.measurements.files import Measurements, links_from_csv, links_to_csv, times_from_csv, times_to_csv
    from mecpart.measurements.fitting import TimesFit, fit_times
    from mecpart.measurements.measuring import MeasuredBlocks, measure
    from mecpart.measurements.msr import from_msr
    from mecpart.measurements.paretopipe import from_paretopipe
    from mecpart.measurements.pipeedge import from_pipeedge
    from mecpart.measurements.scission import from_scission
    from mecpart.measurements.shipped import measured_data
    from mecpart.methods.register import METHODS, register_agent, register_learner, register_policy, unregister
    from mecpart.model.delay import PlanCost, evaluate_plan, keeps_up, utilisation
    from mecpart.model.devices import BlockTimes, Links
    from mecpart.model.environment import EnvState, PartitionEnv, rollout
    from mecpart.model.network import Network, make_network, sample_network, shannon_rate
    from mecpart.model.rules import Rules
    from mecpart.model.scenario import Scenario, Slot
    from mecpart.model.scenarios import SCENARIOS, as_printed, loaded, measured, pipelined
    from mecpart.model.simulation import Operation, Schedule, simulate
    from mecpart.model.slots import sample_slot, sample_slots
    from mecpart.model.trace import trace_from_csv
    from mecpart.planning.assembly_line import Pipeline, optimal_pipeline
    from mecpart.planning.bounds import episode_bound, lower_bound
    from mecpart.planning.constant import best_constant_plan
    from mecpart.planning.optimum import OptimalPlan, optimal_plan, priced_plan
    from mecpart.planning.pareto import ParetoFront, pareto_front
    from mecpart.planning.policies import POLICIES
    from mecpart.testbed.bed import Testbed

__version__ = "0.2.0"

__all__ = [
    "COLUMNS",
    "EXPERIMENTS",
    "LEDGER",
    "METHODS",
    "POLICIES",
    "PROFILES",
    "SCENARIOS",
    "BlockTimes",
    "Change",
    "EnvState",
    "Experiment",
    "LayerTable",
    "Links",
    "MeasuredBlocks",
    "Measurements",
    "Network",
    "Operation",
    "OptimalPlan",
    "ParetoFront",
    "PartitionEnv",
    "Pipeline",
    "PlanCost",
    "Rules",
    "Scenario",
    "Schedule",
    "Setting",
    "Slot",
    "Testbed",
    "TimesFit",
    "TracedModule",
    "Workload",
    "adapters",
    "agents",
    "as_printed",
    "best_constant_plan",
    "compare",
    "compare_delay",
    "episode_bound",
    "evaluate_plan",
    "fit_times",
    "from_dnnpipe",
    "from_msr",
    "from_paretopipe",
    "from_pipeedge",
    "from_scission",
    "keeps_up",
    "layers_from_csv",
    "layers_from_module",
    "layers_from_onnx",
    "links_from_csv",
    "links_to_csv",
    "load_policy",
    "loaded",
    "lower_bound",
    "make_network",
    "measure",
    "measured",
    "measured_data",
    "onnx_operators",
    "optimal_pipeline",
    "optimal_plan",
    "pareto_front",
    "pipelined",
    "plot_comparison",
    "plot_plan",
    "priced_plan",
    "published",
    "register_agent",
    "register_learner",
    "register_policy",
    "rollout",
    "run_experiment",
    "run_rules",
    "sample_network",
    "sample_slot",
    "sample_slots",
    "save_policy",
    "shannon_rate",
    "simulate",
    "times_from_csv",
    "times_to_csv",
    "trace_from_csv",
    "trace_module",
    "unregister",
    "utilisation",
    "workload",
    "workload_from_csv",
    "workload_from_module",
    "workload_from_onnx",
    "write_onnx",
    "write_pieces",
]

# Where each name stands, to be imported when it is first asked for.
_MODULES: dict[str, list[str]] = {
    "adapters": [],
    "agents": [],
    "agents.saving": ["load_policy", "save_policy"],
    "comparison": ["published"],
    "comparison.clock": ["compare_delay"],
    "dnn.from_flax": ["TracedModule", "layers_from_module", "trace_module", "workload_from_module"],
    "dnn.from_onnx": ["layers_from_onnx", "onnx_operators", "workload_from_onnx"],
    "dnn.pieces": ["write_pieces"],
    "dnn.to_onnx": ["write_onnx"],
    "dnn.workload": ["LayerTable", "Workload", "layers_from_csv", "workload", "workload_from_csv"],
    "experiments.compare": ["compare"],
    "experiments.catalogue": ["EXPERIMENTS"],
    "experiments.experiment": ["Change", "Experiment"],
    "experiments.many": ["run_rules"],
    "experiments.runner": ["COLUMNS", "PROFILES", "run_experiment"],
    "experiments.setting": ["Setting"],
    "figures": ["plot_comparison", "plot_plan"],
    "ledger": ["LEDGER"],
    "measurements.dnnpipe": ["from_dnnpipe"],
    "measurements.files": ["Measurements", "links_from_csv", "links_to_csv", "times_from_csv", "times_to_csv"],
    "measurements.msr": ["from_msr"],
    "measurements.paretopipe": ["from_paretopipe"],
    "measurements.pipeedge": ["from_pipeedge"],
    "measurements.scission": ["from_scission"],
    "measurements.shipped": ["measured_data"],
    "measurements.fitting": ["TimesFit", "fit_times"],
    "measurements.measuring": ["MeasuredBlocks", "measure"],
    "methods.register": ["METHODS", "register_agent", "register_learner", "register_policy", "unregister"],
    "model.delay": ["PlanCost", "evaluate_plan", "keeps_up", "utilisation"],
    "model.devices": ["BlockTimes", "Links"],
    "model.environment": ["EnvState", "PartitionEnv", "rollout"],
    "model.network": ["Network", "make_network", "sample_network", "shannon_rate"],
    "model.rules": ["Rules"],
    "model.scenario": ["Scenario", "Slot"],
    "model.scenarios": ["SCENARIOS", "as_printed", "loaded", "measured", "pipelined"],
    "model.simulation": ["Operation", "Schedule", "simulate"],
    "model.slots": ["sample_slot", "sample_slots"],
    "model.trace": ["trace_from_csv"],
    "planning.assembly_line": ["Pipeline", "optimal_pipeline"],
    "planning.bounds": ["episode_bound", "lower_bound"],
    "planning.constant": ["best_constant_plan"],
    "planning.optimum": ["OptimalPlan", "optimal_plan", "priced_plan"],
    "planning.pareto": ["ParetoFront", "pareto_front"],
    "planning.policies": ["POLICIES"],
    "testbed.bed": ["Testbed"],
}
__getattr__, __dir__ = import_on_demand(__name__, _MODULES)
