import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mecpart
import mecpart.figures

# None of these is needed to evaluate a plan; some are optional, and all of them take time to import.
ON_DEMAND = (
    "chex", "dask", "distributed", "flax", "gymnasium", "gymnax", "IPython", "jupyterlab", "loky", "matplotlib",
    "nbclient", "nbformat", "onnx", "optax", "pandas", "papermill", "pytest", "rlax", "scipy", "stable_baselines3",
    "torch", "tqdm",
)  # fmt: skip

PLANNING = """
import jax, mecpart
from mecpart.dnn.layer import Layer

network = mecpart.LayerTable("mine", (Layer("a", 5, 10, 20, 1), Layer("b", 7, 20, 30, 2)))
scenario = mecpart.as_printed(network.workload(), mecpart.make_network([3e9, 6e9]))
slot = mecpart.sample_slot(jax.random.key(0), scenario)
mecpart.evaluate_plan(scenario, slot, mecpart.optimal_plan(scenario, slot).plan)
"""


def test_every_public_name_exists():
    assert [name for name in mecpart.__all__ if not hasattr(mecpart, name)] == []
    assert len(set(mecpart.__all__)) == len(mecpart.__all__)
    assert {name for name in mecpart.__all__ if name.startswith("_")} == set()


def test_the_names_of_the_contract():
    assert {
        "agents", "as_printed", "evaluate_plan", "lower_bound", "optimal_plan", "PartitionEnv", "published",
        "run_experiment", "sample_network", "sample_slot", "workload",
    } <= set(mecpart.__all__)  # fmt: skip
    assert mecpart.__version__.count(".") == 2


def test_every_public_function_and_class_says_what_it_is():
    public = {name: getattr(mecpart, name) for name in mecpart.__all__}
    assert [name for name, value in public.items() if callable(value) and not value.__doc__] == []


@pytest.mark.parametrize("package", [mecpart, mecpart.figures])
def test_type_checkers_are_told_of_the_same_names_as_are_imported_on_demand(package):
    tree = ast.parse(Path(package.__file__).read_text())
    (for_type_checkers,) = (node.body for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.name: line.module if line.module != "mecpart" else f"mecpart.{alias.name}"
        for line in for_type_checkers
        for alias in line.names
    }
    imported = {
        name: f"{package.__name__}.{module}" for module, names in package._MODULES.items() for name in names or [module]
    }
    assert told == imported
    assert set(package.__all__) == set(imported) <= set(dir(package))


def test_to_evaluate_a_plan_loads_only_what_that_needs():
    """Not even `import mecpart` alone loads JAX; a network of the zoo, a Flax module, brings Flax and nothing else."""
    program = f"""
import sys
def loaded(names): return [name for name in names if name in sys.modules]
import mecpart
print(loaded(["jax", "numpy"]))
{PLANNING}
print(loaded({ON_DEMAND}))
mecpart.workload("vgg16", blocks=6)
print(loaded({ON_DEMAND}))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.splitlines() == ["[]", "[]", "['flax']"]


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'mecpart' has no attribute 'nothing'"):
        mecpart.nothing  # noqa: B018
