"""One notebook in one kernel: papermill with a kernel that runs this interpreter and can be stopped."""

import ast
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import nbformat
import papermill
import zmq.asyncio
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from mecpart.experiments import processes
from mecpart.files import write_atomically

# That a kernel has died is told by the error that comes of it, or is no news where the batch was stopped.
logging.getLogger("papermill").addHandler(logging.NullHandler())

#: Bytes that the path of a socket may have: 107 on Linux, 103 on macOS.
SOCKET_PATH = 103

_KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

# IPython's kernel looks for its parent too, but only once it is up, and then often in vain.
_KERNEL = """
import runpy, sys
runpy.run_path(sys.argv.pop(1))["end_with"](int(sys.argv.pop(1)))
runpy.run_module("ipykernel_launcher", run_name="__main__")
"""


class NotebookError(Exception):
    """A notebook did not run to its end; the message names the cell and what happened there."""


class KernelDied(NotebookError):
    """The kernel of a notebook ended by itself or was killed; the fault need not be the notebook's."""


class Kernels:
    """The running kernels of a batch, which can be killed together from another thread.

    A kernel leads a process group of its own, so what it started goes with it.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._lock = threading.Lock()
        self._processes: dict[int, Any] = {}

    def add(self, process) -> None:
        """Remember the process of a new kernel; kill it at once if the batch was stopped meanwhile."""
        with self._lock:
            self._processes[process.pid] = process
            if self.stopped:
                self._kill(process)

    def remove(self, pid: int) -> None:
        """Forget a kernel; kill one that has not ended, as when it could not be told to."""
        with self._lock:
            process = self._processes.pop(pid, None)
            if process is not None:
                self._kill(process)

    def stop(self) -> None:
        """Kill every running kernel, and from now on every new one."""
        with self._lock:
            self.stopped = True
            for process in self._processes.values():
                self._kill(process)

    @staticmethod
    def _kill(process) -> None:
        if process.poll() is not None:
            return
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _place_for_sockets() -> tuple[str, str]:
    """The folder in which that of a kernel is made, and the transport to the kernel.

    Kernels that start together race for TCP ports; sockets in a folder of their own cannot collide. But the folder for
    temporary files may be so deep (it often is on a cluster) that the path of a socket in it is too long.
    """
    usual = tempfile.gettempdir()
    room = SOCKET_PATH - len("/mecpart-12345678/kernel-ipc-10")
    for folder in (usual, "/tmp") if os.name == "posix" else ():
        if len(os.fsencode(folder)) <= room and os.access(folder, os.W_OK | os.X_OK):
            return folder, "ipc"
    return usual, "tcp"


def _manager_class(
    kernels: Kernels,
    folder: Path,
    environment: Mapping[str, str],
    niceness: int,
    transport: str,
    context: zmq.asyncio.Context,
) -> type[AsyncKernelManager]:
    """The kernel manager of one run: this interpreter, own sockets in `folder` and `context`."""

    class KernelManager(AsyncKernelManager):
        @default("transport")
        def _own_transport(self):
            return transport

        # Jupyter would make several, and leave one with open sockets where a kernel fails to start: the garbage
        # collector then waits for them for ever.
        @default("context")
        def _own_context(self):
            return context

        def client(self, **options):
            return super().client(**{**options, "context": context})

        @default("connection_file")
        def _own_connection_file(self):
            return str(folder / "kernel.json")

        # Jupyter would look "python3" up on disk, where it may well stand for another interpreter.
        @property
        def kernel_spec(self):
            # Without frozen modules, as Jupyter starts it, or the debugger warns at every start.
            launch = [sys.executable, "-Xfrozen_modules=off", "-c", _KERNEL, processes.__file__, str(os.getpid())]
            return KernelSpec(argv=[*launch, "-f", "{connection_file}"], display_name="mecpart", language="python")

        async def start_kernel(self, **options):
            # What the kernel process itself complains of while it shuts down belongs to no cell.
            with open(folder / "kernel.log", "wb") as log:
                await super().start_kernel(**{**options, "env": dict(environment), "stderr": log})
            self._pid = self.provisioner.process.pid
            kernels.add(self.provisioner.process)
            if niceness:
                _stand_back(self._pid, niceness)

        async def cleanup_resources(self, restart=False):
            kernels.remove(getattr(self, "_pid", None))
            await super().cleanup_resources(restart=restart)

    return KernelManager


def _stand_back(pid: int, niceness: int) -> None:
    """Lower the priority of a process that leads a session, where the system has priorities."""
    with suppress(ProcessLookupError, AttributeError):  # that it has died is noticed by who waits for it
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
    with suppress(OSError):  # Linux may share out the cores among sessions first (man 7 sched, autogroup)
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook, as one for the ordinary Python 3 kernel whatever kernel it was saved with.

    Raises:
        ValueError: if the file is not a notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, KeyError) as error:
        raise ValueError(f"notebook {path.name} cannot be read as a Jupyter notebook: {error}") from None
    notebook.metadata.kernelspec = dict(_KERNELSPEC)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def check_parameters(name: str, notebook: nbformat.NotebookNode, parameters: Mapping[str, Any]) -> None:
    """Check parameters against the notebook's parameters cell, which papermill itself would not do.

    Raises:
        ValueError: if the notebook has no such parameter, or if its default there is of another type.
    """
    defaults = {key: entry["default"] for key, entry in papermill.inspect_notebook(notebook).items()}
    for key, value in parameters.items():
        if key not in defaults:
            known = ", ".join(defaults) or "none (it has no cell tagged 'parameters')"
            raise ValueError(f"notebook {name}: unknown parameter {key!r}; its parameters are {known}")
        try:
            wanted = type(ast.literal_eval(defaults[key]))
        except (ValueError, SyntaxError):
            raise ValueError(
                f"notebook {name}: parameter {key!r} must have a plain value as default; got {defaults[key]}"
            ) from None
        if type(value) is not wanted:
            raise ValueError(
                f"notebook {name}: parameter {key!r} must be of type {wanted.__name__}, as its default "
                f"{defaults[key]}; got {value!r} of type {type(value).__name__}"
            )


def execute(
    path: Path,
    parameters: Mapping[str, Any],
    *,
    folder: Path,
    executed: Path,
    environment: Mapping[str, str] | None = None,
    niceness: int = 0,
    kernels: Kernels | None = None,
) -> None:
    """Run one notebook in a new kernel of this interpreter, and write the executed notebook.

    May be called from several threads at once; the calling thread must not be running an event loop.

    Args:
        path: the notebook.
        parameters: values for its parameters cell, plain JSON types.
        folder: the working folder of the kernel.
        executed: where the executed notebook goes, as far as it came; also when the run fails.
        environment: variables for the kernel on top of this process's own.
        niceness: how far the kernel, and what it starts, stands back behind this process, where the system has
            priorities.
        kernels: where to enter the kernel, so that it can be stopped.

    Raises:
        ValueError: if the notebook does not have these parameters, before anything runs.
        NotebookError: if a cell raises, leaves the notebook early, or the executed notebook cannot be written; a
            `KernelDied` if the kernel does not start, or ends.
    """
    notebook = read_notebook(path)
    check_parameters(path.stem, notebook, parameters)
    base, transport = _place_for_sockets()
    # Jupyter opens an event loop for the thread and would leave it open.
    with closing(ensure_event_loop()), tempfile.TemporaryDirectory(prefix="mecpart-", dir=base) as private:
        variables = {
            **os.environ,
            # The user's IPython start-up files are no part of a reproducible run.
            "IPYTHONDIR": private,
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            **(environment or {}),
        }
        context = zmq.asyncio.Context()
        known = kernels or Kernels()
        try:
            papermill.execute_notebook(
                notebook,
                str(executed).replace("{", "{{").replace("}", "}}"),  # papermill fills in braces
                dict(parameters),
                kernel_name="python3",
                progress_bar=False,
                resources={"metadata": {"path": str(folder)}},
                kernel_manager_class=_manager_class(known, Path(private), variables, niceness, transport, context),
            )
            _tidy(executed, path.name)
        except Exception as error:
            # What went wrong says more than that a disk is full.
            with suppress(OSError):
                _tidy(executed, path.name)
            raise _told(error, executed, Path(private)) from None
        finally:
            context.destroy(linger=0)
    _check_complete(executed)


def _told(error: Exception, executed: Path, private: Path) -> Exception:
    """What happened in a run, from what Jupyter says of it."""
    match error:
        case PapermillExecutionError():
            return NotebookError(f"cell {error.cell_index + 1}: {error.ename}: {error.evalue}")
        case DeadKernelError():
            last_words = (private / "kernel.log").read_text(errors="replace").strip().splitlines()[-1:]
            return KernelDied(": ".join([f"{_reached(executed)}: the kernel died", *last_words]))
        case RuntimeError() | zmq.ZMQError():
            return KernelDied(f"the kernel did not start: {error}")
        case OSError():
            return NotebookError(str(error) if error.filename else f"{error}: {str(executed)!r}")
    return error


def _reached(executed: Path) -> str:
    """The cell that a run had reached when it stopped."""
    cells = nbformat.read(executed, as_version=4).cells
    started = [index for index, cell in enumerate(cells) if cell.metadata.papermill.get("start_time")]
    return f"cell {started[-1] + 1}" if started else "before the first cell"


def _check_complete(executed: Path) -> None:
    """Papermill takes `sys.exit()` in a cell for a good end; a notebook with cells that never ran is none."""
    for index, cell in enumerate(nbformat.read(executed, as_version=4).cells):
        if cell.metadata.papermill.get("exception") or cell.metadata.papermill.get("status") != "completed":
            raise NotebookError(f"cell {index + 1}: left the notebook before its end")


def _tidy(executed: Path, name: str) -> None:
    """Give an executed notebook its ordinary kernelspec, and keep the folders of this run out of it.

    Half a notebook, which a full disk leaves, is removed.
    """
    if not executed.exists():
        return
    try:
        notebook = nbformat.read(executed, as_version=4)
    except nbformat.reader.NotJSONError:
        executed.unlink()
        return
    notebook.metadata.kernelspec = dict(_KERNELSPEC)
    notebook.metadata.papermill.update(input_path=name, output_path=name)
    write_atomically(executed, lambda path: nbformat.write(notebook, path))
