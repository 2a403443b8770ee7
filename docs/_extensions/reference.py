"""The pages that are made from the code: the public names in groups; each scenario, each method, each experiment.

They are written to `docs/reference/` (ignored by git) before Sphinx reads anything, those that changed only. What is
public but has no place in the tables below is a warning, and so an error of `make docs`.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import ModuleType, UnionType

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.autodoc.mock import mock
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging

import mecpart
from mecpart.agents import AGENTS, AgentConfig, stages
from mecpart.comparison.words import GLOSSARY
from mecpart.experiments.catalogue import EXPERIMENTS, WORLDS
from mecpart.experiments.experiment import Experiment
from mecpart.ledger import Ledger
from mecpart.methods.register import METHODS, methods_in
from mecpart.model.scenarios import SCENARIOS

#: Modules whose names in `__all__` are public; without `__all__`, the functions and classes that they define.
PUBLIC = (
    "mecpart",
    "mecpart.agents",
    "mecpart.comparison",
    "mecpart.relatives",
    "mecpart.adapters.gymnasium",
    "mecpart.adapters.gymnax",
    "mecpart.adapters.stable_baselines3",
    "mecpart.figures",
    "mecpart.tables",
    "mecpart.figures.explorer",
)

#: Where the public names stand: path of a page, title, introduction, names below `mecpart`.
GROUPS = (
    ("workloads", "Networks to partition", "What the blocks of a network compute and send.", (
        "Workload", "workload", "workload_from_module", "workload_from_onnx", "workload_from_csv", "LayerTable",
        "layers_from_module", "layers_from_onnx", "layers_from_csv", "onnx_operators", "dnn.layer.Layer",
        "trace_module", "TracedModule", "dnn.program.Program", "dnn.graph.ModelGraph",
        "dnn.graph.Operator", "dnn.graph.Tensor", "write_onnx", "write_pieces", "dnn.pieces.Piece",
    )),
    ("networks", "The edge network", "Devices and servers, their speeds and links.", (
        "Network", "make_network", "sample_network", "shannon_rate",
    )),
    ("problems", "Scenarios and slots", "What is to be planned: a workload on a network by some rules, slot by slot.", (
        "Scenario", "SCENARIOS", "as_printed", "loaded", "pipelined", "Rules", "Slot", "sample_slot", "sample_slots",
        "trace_from_csv",
    )),
    ("measurements", "Measured devices", "What blocks take on machines as they are.", (
        "measured", "BlockTimes", "Links", "Measurements", "measured_data", "times_from_csv", "times_to_csv",
        "links_from_csv", "links_to_csv", "from_scission", "from_pipeedge", "from_msr", "from_paretopipe",
        "from_dnnpipe", "measure", "MeasuredBlocks", "fit_times", "TimesFit",
    )),
    ("clock", "The model and the clock", "Predicted delays beside measured ones.", (
        "compare_delay", "comparison.clock.clock_summary", "comparison.clock.disturbance",
    )),
    ("testbed", "A testbed", "A network really cut and really run, and its delay by the clock.", (
        "Testbed", "testbed.calibration.Calibration",
    )),
    ("costs", "What a plan costs", "Delay, energy and reward of a plan.", (
        "evaluate_plan", "PlanCost", "utilisation", "keeps_up", "simulate", "Schedule", "Operation",
    )),
    ("optimum", "The best plan, and bounds", "Exact optima by dynamic programming, and certified bounds.", (
        "optimal_plan", "OptimalPlan", "pareto_front", "ParetoFront", "lower_bound", "priced_plan", "episode_bound",
        "best_constant_plan", "optimal_pipeline", "Pipeline", "planning.assembly_line.Stage",
    )),
    ("environment", "The environment", "The problem as an environment for learners of this and other libraries.", (
        "PartitionEnv", "EnvState", "rollout",
        "adapters", "adapters.gymnasium.make", "adapters.gymnasium.make_vec", "adapters.gymnasium.Partition",
        "adapters.gymnasium.PartitionVector", "adapters.gymnasium.ID",
        "adapters.stable_baselines3.make_vec_env", "adapters.stable_baselines3.PartitionVecEnv",
        "adapters.gymnax.make", "adapters.gymnax.Partition", "adapters.gymnax.EnvParams", "adapters.gymnax.FiveValues",
        "adapters.gymnax.place_blocks", "adapters.gymnax.ACTIONS", "adapters.gymnax.STEPS",
    )),
    ("agents", "Learners", "Training, and what it returns.", (
        "agents", "agents.make_train", "agents.stages", "agents.Stages", "agents.agent_config", "agents.AGENTS",
        "agents.AgentConfig", "agents.ActorCriticConfig", "agents.QLearningConfig", "agents.PriceSearchConfig",
        "agents.TrainResult", "agents.EpisodeCost", "agents.Policy", "agents.PricePolicy",
        "agents.networks.PartitionNetwork", "save_policy", "load_policy",
    )),
    ("own_methods", "Methods of your own", "Registered under a name, a method takes part in everything.", (
        "register_policy", "register_agent", "register_learner", "unregister", "METHODS", "POLICIES",
        "methods.method.Method", "methods.method.Execution", "methods.method.Case",
    )),
    ("running", "Running experiments", "Sweeps as data, and the batch of all notebooks.", (
        "compare", "run_experiment", "run_rules", "Experiment", "Setting", "Change", "EXPERIMENTS", "PROFILES",
        "COLUMNS",
        "experiments.experiment.Point", "experiments.setting.Given",
        "reproduction.batch.reproduce", "reproduction.outcome.Summary", "reproduction.outcome.Outcome",
        "reproduction.notebooks.Run", "reproduction.notebooks.Notebook",
        "report.site.write_report",
    )),
    ("comparison", "Published beside measured", "Statistics, reductions, claims and verdicts.", (
        "published", *(f"comparison.{name}" for name in mecpart.comparison.__all__ if name != "published"),
    )),
    ("plotting", "Plotting", "Each returns a matplotlib figure; a method looks the same in all of them.", (
        "plot_comparison", "plot_plan", "figures.plot_sweep", "figures.plot_convergence", "figures.plot_headline",
        "figures.plot_estimates", "figures.styles", "figures.Style", "figures.STYLES", "figures.REFERENCE_LINES",
        "figures.STYLE", "figures.COLUMN_WIDTH",
    )),
    ("tables", "Tables", "Results as LaTeX and HTML.", (
        "tables.to_latex", "tables.to_html", "tables.format_number", "tables.heading",
    )),
    ("explorer", "The explorer", "A plan under sliders, in a notebook.", ("figures.explorer.Explorer",)),
    ("saving", "Saving and reading results", "A file is whole or not there: it is written aside and then moved.", (
        "figures.save_figure", "tables.write_table", "tables.read_results",
    )),
    ("relatives", "Other publications", "Learned partitioners and offloaders of others, put to the same questions.", (
        "relatives.assess", "relatives.Relative", "relatives.droo", "relatives.neurosurgeon", "relatives.splitrl",
    )),
    ("constants", "Constants", "What the paper states, what a sibling paper does, and what was chosen.", ("LEDGER",)),
)  # fmt: skip

#: What each learner is: several are the same module with other settings, so no docstring says it.
LEARNERS = {
    "Proposed": """\
The paper's method: multi-task A3C. The actor has a branch for each block, a softmax over the devices and the servers
(`heads="branches"`), so that a plan is drawn in one pass. Actor and critic have a trunk of their own each, and the loss
ties the two: `sharing_weight` times the squared distance between them, layer by layer (`sharing="soft"`).""",
    "A3C": """\
The paper's baseline without multi-task learning. One softmax over the nodes is asked once for each block, with the
block and the node of the block before among its inputs (`heads="sequential"`), so a plan takes as many passes as there
are blocks. Actor and critic share nothing (`sharing="none"`). All else is as in `Proposed`.""",
    "Distributed DQN": """\
The paper's baseline that learns values. There is a branch of Q-values for each block, several actors fill one replay
memory, a target network stands still between updates, and random plans become rarer as training goes on.""",
    "Learned prices": """\
A learner of this project, not of the paper, and one that knows the model. The best plan of a slot is known exactly
(`mecpart.optimal_plan`), but it is blind to the queues that it leaves to later slots. So a second at a node is made to
cost more than a second (`mecpart.priced_plan`): by a price of the node, and by another one for each slot's worth of
work that waits there. Good prices are found by trying: whole episodes are run under slightly different ones, and those
under which an episode takes less delay, twice, are kept. With no prices it is the plan of `Optimal` or `Myopic`.""",
}

_log = logging.getLogger(__name__)

# Not among the locked packages, and it brings PyTorch: a stand-in is enough to read what the adapter says.
with mock(["stable_baselines3"]):
    importlib.import_module("mecpart.adapters.stable_baselines3")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    app.connect("env-get-outdated", all_or_none)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(app: Sphinx) -> None:
    """Write the pages that changed, and remove those that nothing stands behind any more."""
    folder = Path(app.srcdir) / "reference"
    pages = {folder / f"{path}.md": text for path, text in _pages()}
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in set(folder.rglob("*.md")) - pages.keys():
        path.unlink()
        Path(app.outdir, path.relative_to(app.srcdir)).with_suffix(".html").unlink(missing_ok=True)
    kinds = {"scenarios": SCENARIOS, "methods": METHODS, "experiments": EXPERIMENTS}
    app.env.named_pages = {name: f"reference/{kind}/{_slug(name)}" for kind, names in kinds.items() for name in names}


def all_or_none(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> set[str]:
    """Every page lists all pages and links to names; when those change, Sphinx would leave the others as they are."""
    return env.found_docs if added or removed or {"index", "reference/names"} & changed else set()


def _pages() -> Iterator[tuple[str, str]]:
    """(path below the folder, Markdown) of every page."""
    yield from _names()
    yield from _kind("scenarios", "Scenarios", "By which rules the delay of a plan is counted.", _scenarios())
    table = mecpart.comparison.methods_table().set_index("method")
    more = {head.replace(" ", "_"): table[head] for head in ("learns", "knows the model")}
    about = f"What chooses plans, by the names in tables and figures. Knows the model: {GLOSSARY['Knows the model']}"
    yield from _kind("methods", "Methods", about, _methods(), **more)
    yield from _kind("experiments", "Experiments", "The paper's figures, and questions beyond them.", _experiments())


# Scenarios, methods, experiments -------------------------------------------------------------------------------


def _kind(
    path: str, title: str, about: str, pages: Iterable[tuple[str, str, str]], **more: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Pages of one kind, given as (name, summary, Markdown), and a list of them, with a column for each of `more`."""
    rows, places = [], []
    for name, summary, text in pages:
        places.append(f"{path}/{_slug(name)}")
        rows.append((f"[{name}]({places[-1]}.md)", *(column[name] for column in more.values()), summary))
        yield places[-1], f"# {name}\n\n{text}"
    heads = ("name", *(head.replace("_", " ") for head in more), "what it is")
    yield path, f"# {title}\n\n{about}\n\n{_table(*heads, *rows)}{_contents(places)}"


def _scenarios() -> Iterator[tuple[str, str, str]]:
    for name, build in SCENARIOS.items():
        only = ", ".join(f"`{method}`" for method in methods_in(name) if METHODS[method].scenarios == (name,)) or "none"
        text = f"Made by `mecpart.{name}()`.\n\n{inspect.getdoc(build)}\n\nMethods that only this scenario has: {only}."
        yield name, _summary(build), f"{text} The defaults are among the [constants](../constants.md)."


def _methods() -> Iterator[tuple[str, str, str]]:
    for name, method in METHODS.items():
        everywhere = len(method.scenarios) == len(SCENARIOS)
        where = "in every scenario" if everywhere else "only in " + ", ".join(f"`{at}`" for at in method.scenarios)
        if not method.learns:
            policy = method.policy
            text = _autodoc("function", f"{policy.__module__}.{policy.__name__}")
            yield name, _summary(policy), f"It does not learn; it is there {where}.\n\n{text}"
        else:
            if name not in LEARNERS:
                _log.warning("LEARNERS in docs/_extensions/reference.py does not say what %s is", name)
            about = LEARNERS.get(name, "")
            yield name, about.replace("\n", " ").partition(". ")[0] + ".", _learner(name, about, where)


def _learner(name: str, about: str, where: str) -> str:
    config = AGENTS[name]
    other = vars(AGENTS["Proposed"])
    rows = []
    for entry in fields(config):
        value = getattr(config, entry.name)
        differs = other.get(entry.name, value) != value
        rows.append((f"`{entry.name}`", f"**`{value!r}`**" if differs else f"`{value!r}`"))
    bold = "" if name == "Proposed" else " In bold: what `Proposed` has too, with another value."
    return f"""\
It learns; it is there {where}.

{about}

## Training

What `mecpart.agents.make_train("{name}")` repeats, the `step` of `mecpart.agents.stages("{name}")`:

{inspect.getdoc(stages(config).step)}

## Settings

`{type(config).__name__}` explains them.{bold}

{_table("setting", "value", *rows[1:])}
"""


def _experiments() -> Iterator[tuple[str, str, str]]:
    for name, experiment in EXPERIMENTS.items():
        title, notebook = f"{experiment.title}.", re.sub(r"(?<=\d)[a-c]$", "", name)
        text = f"""\
{title}

{_table("", "", *_swept(experiment))}

## Running it

With tables and figures, or in Python, as a tidy DataFrame:

    mecpart reproduce --only {notebook}

```python
results = mecpart.run_experiment("{name}")
```
"""
        yield name, title, text


def _swept(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """What an experiment sweeps, fixes and compares."""
    yield "swept", "training episodes" if experiment.convergence else f"`{experiment.x_name}`: {experiment.x_label}"
    if experiment.xs:
        yield "values", ", ".join(f"{x:g}" if isinstance(x, float | int) else f"`{x}`" for x in experiment.xs)
    fixed = {entry.name: getattr(experiment.fixed, entry.name) for entry in fields(experiment.fixed)}
    fixed = {name: value for name, value in fixed.items() if name != experiment.x_name and value not in (None, ())}
    yield "fixed", ", ".join(f"`{name}` = {_value(value)}" for name, value in fixed.items())
    if experiment.series:
        yield "curves", ", ".join(experiment.series)
    if "ledger" in experiment.series:
        yield "varied", ", ".join(f"`{name}`" for name in WORLDS)
    methods = experiment.methods or ("all that the scenario has",)
    yield "methods", ", ".join(f"`{name}`" if name in METHODS else name for name in methods)


def _value(value: object) -> str:
    return " to ".join(f"{part:g}" for part in value) if isinstance(value, tuple) else f"{value}"


# Names ---------------------------------------------------------------------------------------------------------


def _names() -> Iterator[tuple[str, str]]:
    """A page for each group of public names, and a list of all."""
    grouped = {name for *_, names in GROUPS for name in names}
    missing = [name for name in public_names() if name not in grouped]
    if missing:
        _log.warning("GROUPS in docs/_extensions/reference.py has no place for %s", ", ".join(missing))
    groups = (*GROUPS, ("others", "Other names", "Names without a group.", missing)) if missing else GROUPS
    text = "# Public names\n"
    for path, title, about, names in groups:
        yield path, f"# {title}\n\n{about}\n\n" + "\n\n".join(map(_described, names))
        rows = ((f"`mecpart.{name}`", _says(name)) for name in names)
        text += f"\n## [{title}]({path}.md)\n\n{about}\n\n{_table('name', 'what it is', *rows)}\n"
    yield "names", text + _contents(path for path, *_ in groups)


def public_names() -> Iterator[str]:
    """Every public name, below `mecpart`; a function or class that two modules export by the first of them."""
    seen: set[int] = set()
    for module in map(importlib.import_module, PUBLIC):
        for name in getattr(module, "__all__", None) or _defined(module):
            value = getattr(module, name)
            if id(value) not in seen or _is_value(value):
                yield f"{module.__name__}.{name}".removeprefix("mecpart.")
            seen.add(id(value))


def _defined(module: ModuleType) -> list[str]:
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return [name for name, value in own.items() if getattr(value, "__module__", None) == module.__name__]


def _is_value(found: object) -> bool:
    """Whether it is no module, class or function: then autodoc would show what Python says about its type."""
    return hasattr(found, "__args__") or not (inspect.ismodule(found) or callable(found))


def _described(name: str) -> str:
    """What is said about a name: by autodoc; about a value by the comment at its definition, and by what it holds."""
    found, full = _found(name), f"mecpart.{name}"
    if _is_value(found):
        module, _, own = full.rpartition(".")
        said = f".. py:currentmodule:: {module}\n.. py:data:: {own}\n\n   .. markdown::\n\n      {_says(name)}"
        return f"```{{eval-rst}}\n{said}\n```\n\n{_shown(found)}"
    if inspect.ismodule(found):
        return _autodoc("module", full)
    return _autodoc("class", full, ":members:") if inspect.isclass(found) else _autodoc("function", full)


def _autodoc(kind: str, name: str, *options: str) -> str:
    return "\n   ".join([f"```{{eval-rst}}\n.. auto{kind}:: {name}", *options]) + "\n```"


def _says(name: str) -> str:
    """The first paragraph about a name; about a value the comment where it is defined."""
    found, own = _found(name), name.rpartition(".")[2]
    if not _is_value(found):
        return _summary(found)
    for module in sorted(at for at in sys.modules if at.partition(".")[0] == "mecpart"):
        if vars(sys.modules[module]).get(own) is found:
            said = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", own))
            if said:
                return " ".join(said).strip()
    _log.warning("mecpart.%s is not explained: put a comment that begins with #: above its definition", name)
    return ""


def _shown(value: object) -> str:
    if isinstance(value, Ledger):
        frame = value.shown()
        rows = ((f"`{name}` {symbol and f'({symbol})'}", *row) for name, symbol, *row in frame.itertuples(index=False))
        return _table("name (symbol)", *frame.columns[2:], *rows)
    if isinstance(value, Mapping):
        return _table("name", "what it is", *((f"`{key}`", _entry(entry)) for key, entry in value.items()))
    if isinstance(value, UnionType):
        return ", ".join(f"`{kind.__name__}`" for kind in value.__args__)
    return ", ".join(f"`{entry}`" for entry in value) if isinstance(value, tuple | list) else f"`{value!r}`"


def _entry(value: object) -> str:
    """An entry of a mapping in a line: the title of an experiment, the first line of a function, else as written."""
    if isinstance(value, Experiment):
        return f"{value.title}."
    if isinstance(value, AgentConfig):
        return f"`{type(value).__name__}`"
    if isinstance(value, partial):
        return f"`{value.func.__name__}`, {', '.join(f'`{name}={given!r}`' for name, given in value.keywords.items())}"
    return _summary(value) if callable(value) else f"`{value!r}`"


def _found(name: str) -> object:
    value: object = mecpart
    for at, part in enumerate(parts := name.split("."), start=1):
        if not hasattr(value, part):
            importlib.import_module(".".join(["mecpart", *parts[:at]]))
        value = getattr(value, part)
    return value


# Markdown ------------------------------------------------------------------------------------------------------


def _summary(value: object) -> str:
    return (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")


def _table(*cells: str | Iterable[object]) -> str:
    """A table: the heads of its columns, then its rows."""
    heads = [cell for cell in cells if isinstance(cell, str)]
    rows = [[str(part).replace("|", r"\|").replace("\n", " ") for part in row] for row in cells[len(heads) :]]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows])


def _contents(paths: Iterable[str]) -> str:
    return "\n\n```{toctree}\n:hidden:\n\n" + "\n".join(paths) + "\n```\n"


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower())
