"""Done-records as a stranger may have written them: what is not as the batch writes it is not there."""

import hashlib
import json
import os

import pytest

from mecpart.reproduction.record import holds, is_result, read_record

HASH = "0" * 64
RECORD = {
    "identity": {"parameters": {"profile": "smoke"}, "versions": {"jax": "0.10"}, "package": HASH, "inputs": {}},
    "outputs": {"data/results/smoke/as_printed/a b.csv": HASH, "build/notebooks/smoke/as_printed/fig8.ipynb": HASH},
    "started": "2026-11-25T04:00:00+00:00",
    "seconds": 1.5,
    "commit": None,
    "device": {"processor": "A", "cores": 2, "accelerators": [], "system": "Linux"},
}


def read(output, record):
    path = output / "build" / "notebooks" / "smoke" / "as_printed" / "fig8.record.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return read_record(path)


def test_one_as_the_batch_writes_it_is_read(tmp_path):
    assert read(tmp_path, RECORD) == RECORD
    assert not holds(RECORD, tmp_path)
    outputs = {}
    for path in RECORD["outputs"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
        outputs[path] = hashlib.sha256(path.encode()).hexdigest()
    assert holds(RECORD | {"outputs": outputs}, tmp_path)
    (tmp_path / next(iter(outputs))).unlink()
    os.mkfifo(tmp_path / next(iter(outputs)))  # nothing that would wait for a writer
    assert not holds(RECORD | {"outputs": outputs}, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "1", "\0", "[" * 100_000, '{"outputs": {}}', "NaN"])
def test_what_is_no_record_is_not_there(tmp_path, text):
    assert read(tmp_path, text) is None


def of_other_types(value, place=()):
    """(place, value) of every value in a record, replaced by ones of other types, one at a time."""
    for wrong in (
        None,
        1,
        -1,
        float("nan"),
        float("inf"),
        10**400,
        True,
        "text",
        [],
        [1],
        {},
        {"a": 1},
        {"a": {"b": 1}},
    ):
        if place and not (type(wrong) is type(value) and place[0] != "outputs"):
            yield place, wrong
    for name, part in value.items() if isinstance(value, dict) else ():
        yield from of_other_types(part, (*place, name))


# What is as good as what it stands for.
ALLOWED = [(("identity", "inputs"), "text"), (("identity", "parameters"), "text"), (("identity", "package"), {})]
ALLOWED += [(("identity", "parameters", "profile"), "text"), (("outputs",), {}), (("commit",), "text")]


def test_wrong_types_anywhere_make_it_one_that_is_not_there(tmp_path):
    tried = 0
    for place, wrong in of_other_types(RECORD):
        record = json.loads(json.dumps(RECORD))
        inner = record
        for name in place[:-1]:
            inner = inner[name]
        if (place, wrong) in ALLOWED or wrong is inner[place[-1]]:
            continue
        if place == ("seconds",) and wrong == 1 and wrong is not True:
            continue
        inner[place[-1]] = wrong
        assert read(tmp_path, record) is None, (place, wrong)
        tried += 1
    assert tried > 100


@pytest.mark.parametrize("missing", RECORD)
def test_every_part_is_needed(tmp_path, missing):
    assert read(tmp_path, {name: part for name, part in RECORD.items() if name != missing}) is None


@pytest.mark.parametrize("started", ["", "yesterday", "2026-11-25T04:00:00", "9999-12-31T00:00:00+00:00"])
def test_times_can_be_compared(tmp_path, started):
    assert read(tmp_path, RECORD | {"started": started}) is None


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "../outside", "data/results/../../outside", "data/results/a/../../../../outside",
        "data/../outside", "data/published/curves.csv", "README.md",
        "build/batch.lock", "build/notebooks/smoke/as_printed/fig9.ipynb",
        "build/notebooks/smoke/as_printed/fig8.record.json", "figures", "data/results", "data/results/", "figures/.",
        "./figures/a", "figures//a", "figures/a/", "/figures/a", "Figures/a", "figuresque/a", "", ".", "..",
        "figures/\0", "figures/\ud800/../../a", "data\\results\\a", "~/a", "figures/" + "a/../" * 50 + "../../outside",
    ],
)  # fmt: skip
def test_paths_lead_nowhere_but_to_results(tmp_path, path):
    assert read(tmp_path, RECORD | {"outputs": {path: HASH}}) is None


def test_links_below_the_folders_of_results_are_not_followed(tmp_path):
    outside, output = tmp_path / "outside", tmp_path / "output"
    (outside / "smoke").mkdir(parents=True)
    (outside / "smoke" / "a.csv").write_text("precious")
    (output / "data" / "results").mkdir(parents=True)
    (output / "data" / "results" / "smoke").symlink_to(outside / "smoke")
    (output / "data" / "results" / "a.csv").symlink_to(outside / "smoke" / "a.csv")
    (output / "data" / "results" / "round").symlink_to("round")
    for path in ("smoke/a.csv", "a.csv", "round/a.csv", "smoke"):
        assert not is_result(output, f"data/results/{path}"), path
    assert is_result(output, "data/results/other/a.csv")
    executed = output / "build" / "notebooks" / "smoke" / "as_printed" / "fig8.ipynb"
    executed.parent.mkdir(parents=True)
    executed.symlink_to(outside / "smoke" / "a.csv")
    assert read(output, RECORD) is None


@pytest.mark.parametrize("linked", ["data", "data/results", "figures"])
def test_the_folders_themselves_may_be_links(tmp_path, linked):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / linked).parent.mkdir(exist_ok=True)
    (tmp_path / linked).symlink_to(tmp_path / "elsewhere")
    for path in ("data/results/smoke/a.csv", "figures/smoke/a.svg"):
        assert is_result(tmp_path, path)
