"""The command line: `mecpart reproduce`, `report`, `measure`, `node` and `list`.

What a command needs is imported when it is asked for: a small machine that is to be a node does not wait for notebooks.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import mecpart
from mecpart.files import STANDARD_OUTPUT, naming

_OUTPUT = "default: the checkout, or else the current folder"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: everything finished. 1: a notebook failed. 2: the command was refused, or a file could not be read or written.
    130: stopped by Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        code = arguments.command(arguments)
        with naming(STANDARD_OUTPUT):
            sys.stdout.flush()
        return code
    except (ValueError, RuntimeError, ImportError, OSError) as error:
        print("mecpart:", *str(error).split("\n"), file=sys.stderr)
        if isinstance(error, OSError) and error.filename == STANDARD_OUTPUT:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries again at its end
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mecpart",
        description="Fine-grained DNN partitioning in mobile edge computing networks.",
    )
    parser.add_argument("--version", action="version", version=f"mecpart {mecpart.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    run = commands.add_parser(
        "reproduce",
        help="run the notebooks and write tables, figures and the report",
        description="Run the notebooks of the paper's figures and claims that are not done yet. A batch that was "
        "stopped goes on where it was.",
    )
    run.set_defaults(command=_reproduce)
    profile = "how much is run, as `mecpart list` shows (default: %(default)s)"
    run.add_argument("--profile", default="quick", metavar="NAME", help=profile)
    run.add_argument("--scenario", metavar="NAME", help="one, or all of them (default: as_printed; with --all: all)")
    run.add_argument("--world", metavar="NAME", help="by which constants (default: the ledger's)")
    which = run.add_mutually_exclusive_group()
    which.add_argument("--only", nargs="+", action="extend", metavar="NAME", help="these notebooks, and what they need")
    which.add_argument("--all", action="store_true", help="also the notebooks that ask what the paper does not")
    run.add_argument("--jobs", type=int, default=1, metavar="K", help="notebooks side by side (default: 1)")
    run.add_argument(
        "--processes", type=int, metavar="K", help="processes, or local workers, that compute (default: one per core)"
    )
    run.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask scheduler whose workers compute the experiments of all notebooks, or 'local' to start one on this "
        "machine (default: none)",
    )
    run.add_argument("--methods", metavar="FILE", help="a Python file that registers methods of your own")
    run.add_argument("--output", metavar="DIR", help=f"where results go ({_OUTPUT})")
    tell = commands.add_parser(
        "report",
        help="write the HTML report of what has been run",
        description="Write one self-contained HTML site of all that has been run in a profile.",
    )
    tell.set_defaults(command=_report)
    tell.add_argument("--profile", default="quick", metavar="NAME", help=profile)
    tell.add_argument("--output", metavar="DIR", help=f"where results were written ({_OUTPUT})")
    time_blocks = commands.add_parser(
        "measure",
        help="measure how long the blocks of a network take on this machine",
        description="Run a network cut into blocks on this machine, block after block as in a task, and tell how long "
        "each block takes.",
    )
    time_blocks.set_defaults(command=_measure)
    time_blocks.add_argument("network", help="an ONNX file, or one of the paper's networks, such as vgg16")
    time_blocks.add_argument("--blocks", type=int, metavar="M", help="into how many to cut it (default: 6)")
    time_blocks.add_argument("--rounds", type=int, default=5, metavar="R", help="the first does not count (default: 5)")
    time_blocks.add_argument("--seconds", type=float, default=1.0, metavar="S", help="that a round lasts (default: 1)")
    time_blocks.add_argument("--engine", help="jax or onnx (default: onnx for a file, else jax)")
    time_blocks.add_argument("--threads", type=int, default=1, metavar="K", help="that compute (default: 1)")
    time_blocks.add_argument("--node", metavar="NAME", help="what to call this machine (default: after its processor)")
    time_blocks.add_argument(
        "--input-shape", nargs="+", type=int, metavar="AXIS", help="of an ONNX file that leaves it open"
    )
    time_blocks.add_argument(
        "--output", metavar="FILE", help="CSV file for the times; what it holds of other nodes and networks stays"
    )
    listen = commands.add_parser(
        "node",
        help="be a node of a testbed that another machine begins",
        description="Run blocks of networks for a testbed (mecpart.Testbed) that is begun elsewhere, until Ctrl-C.",
    )
    listen.set_defaults(command=_node)
    does = listen.add_mutually_exclusive_group(required=True)
    does.add_argument("--listen", metavar="ADDRESS", help="such as tcp://127.0.0.1:5577, or tcp://0.0.0.0:5577")
    does.add_argument("--new-secret", metavar="FILE", help="write a key that all machines of a testbed need, and end")
    listen.add_argument("--secret-file", metavar="FILE", help="with the key; needed where other machines can connect")
    show = commands.add_parser("list", help="show the notebooks, experiments, profiles and scenarios")
    show.set_defaults(command=_list)
    return parser


def _reproduce(arguments: argparse.Namespace) -> int:
    from mecpart.experiments.progress import duration
    from mecpart.experiments.worlds import LEDGERS
    from mecpart.report.site import write_report
    from mecpart.reproduction.batch import reproduce

    began = time.monotonic()
    world = LEDGERS if arguments.world is None else arguments.world
    summary = reproduce(
        profile=arguments.profile,
        scenario=arguments.scenario,
        only=arguments.only,
        everything=arguments.all,
        jobs=arguments.jobs,
        processes=arguments.processes,
        output=arguments.output,
        scheduler=arguments.scheduler,
        methods=arguments.methods,
        world=world,
    )
    if any(outcome.finished for outcome in summary.outcomes):
        print(f"Report:    {write_report(arguments.profile, summary.output)}")
    for scenario in dict.fromkeys(outcome.run.scenario for outcome in summary.outcomes):
        if world == LEDGERS:  # of which the reference is
            _compare(summary.output, arguments.profile, scenario)
    for sentence in summary.answers.values():
        print(sentence)
    print(f"All of this took {duration(time.monotonic() - began)}.")
    return 0 if summary.finished else 1


def _compare(output: Path, profile: str, scenario: str) -> None:
    """Say whether the results agree with the reference, or that there is none."""
    from mecpart.reproduction.reference import compare_with_reference

    results = output / "data" / "results" / profile / scenario
    found = compare_with_reference(results, profile, scenario)
    if not found:
        print(f"Not compared: data/reference/{profile}/{scenario} has none of these results")
        return
    agreeing = sum(one.agrees for one in found)
    print(f"Compared with data/reference/{profile}/{scenario}: {agreeing} of {len(found)} experiments agree with it")
    for one in found:
        print(f"  {one}")


def _report(arguments: argparse.Namespace) -> int:
    from mecpart.report.site import write_report

    print(write_report(arguments.profile, arguments.output))
    return 0


def _measure(arguments: argparse.Namespace) -> int:
    import numpy as np

    measured = mecpart.measure(
        arguments.network,
        arguments.blocks,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        engine=arguments.engine,
        threads=arguments.threads,
        node=arguments.node,
        input_shape=arguments.input_shape,
    )
    times = measured.times
    milliseconds = 1e3 * np.asarray(times.seconds)[:, 0], 1e3 * np.asarray(times.spread)[:, 0]
    rows = zip(times.workload.block_names, *milliseconds, strict=True)
    with naming(STANDARD_OUTPUT):
        _table(f"{times.workload.name} on {times.names[0]}", {name: f"{t:.4g} ms (± {s:.2g})" for name, t, s in rows})
        print(measured.source)
    if arguments.output is not None:
        print(f"Written:   {measured.save(arguments.output)}")
    return 0


def _node(arguments: argparse.Namespace) -> int:
    if arguments.new_secret is not None:
        from mecpart.testbed.wire import new_secret

        print(f"Written:   {new_secret(arguments.new_secret)}")
    else:
        from mecpart.testbed.node import serve

        serve(arguments.listen, arguments.secret_file)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from mecpart.experiments.catalogue import EXPERIMENTS
    from mecpart.experiments.runner import PROFILES
    from mecpart.experiments.worlds import LEDGERS, kept_worlds
    from mecpart.model.scenarios import SCENARIOS
    from mecpart.reproduction.notebooks import find_notebooks

    notebooks = {
        name: notebook.title + (f" (needs {', '.join(notebook.needs)})" if notebook.needs else "")
        for name, notebook in find_notebooks().items()
    }
    with naming(STANDARD_OUTPUT):
        _table("notebooks", notebooks)
        _table("experiments", {name: experiment.title for name, experiment in EXPERIMENTS.items()})
        _table("profiles", {name: f"{p.seeds} seeds, {p.episodes} episodes" for name, p in PROFILES.items()})
        _table("worlds", {LEDGERS: "the constants of the ledger"} | {w: ", ".join(s) for w, s in kept_worlds().items()})
        _table("scenarios", {name: (build.__doc__ or "").partition("\n")[0] for name, build in SCENARIOS.items()})
    return 0


def _table(heading: str, rows: dict[str, str]) -> None:
    print(heading)
    width = max(map(len, rows), default=0)
    for name, text in rows.items():
        print(f"  {name:<{width}}  {text}".rstrip())


if __name__ == "__main__":
    sys.exit(main())
