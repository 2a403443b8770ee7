import gc
import os
from contextlib import contextmanager
from pathlib import Path

# What takes time here is compiling, not running. So all processes of the tests, and what these start, share one cache,
# which is there for the next time too; and leave out what takes most of the time. Before JAX is imported.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / "build" / "cache" / "tests"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import jax
import pytest
from compilation import compilations

#: Files with few tests that take long: begun first, so that no process is left with one of them at the end.
LONG = ("test_notebooks.py", "test_cluster.py", "test_explorer.py", "test_methods.py", "test_runner.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="module", autouse=True)
def fewer_mappings():
    """Every program that JAX compiles is a few mappings of memory, of which Linux allows a process 65,530. At some
    3,000 tests a process had them all, and died of it."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def refused():
    """`with refused(argument, got, allowed):` bad input is refused by a ValueError whose message holds all of these
    texts, and before anything is compiled."""

    @contextmanager
    def refusal(*texts: str):
        with compilations() as compiled, pytest.raises(ValueError) as refusal:  # noqa: PT011 (see below)
            yield
        missing = [text for text in texts if text not in str(refusal.value)]
        assert not missing, f"the message lacks {missing}: {refusal.value}"
        assert not compiled, f"compiled before the refusal: {compiled}"

    return refusal
