import subprocess
import sys

import mecpart

# None of these is needed to compute; some are optional, and all of them take time to import.
ON_DEMAND = (
    "chex", "dask", "distributed", "gymnasium", "gymnax", "IPython", "jupyterlab", "loky", "matplotlib", "nbclient",
    "nbformat", "onnx", "papermill", "pytest", "rlax", "stable_baselines3", "torch",
)  # fmt: skip


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


def test_importing_leaves_alone_what_is_needed_on_demand():
    program = f"import sys, mecpart; print(*(name for name in {ON_DEMAND} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.split() == []
