"""Reference results: when new ones agree, and how a batch becomes the reference."""

import json

import numpy as np
import pandas as pd
import pytest

from mecpart import comparison
from mecpart.comparison import agreement, compare_with_reference, keep_reference
from mecpart.experiments import COLUMNS, EXPERIMENTS
from mecpart.runs import methods_in

SEEDS = 6


def frame(name="fig8", shift=0.0, spread=0.01, methods=("Proposed", "RPDI"), seeds=SEEDS):
    """Delays of 1000 s at each of two points (a learning curve: 40 windows), spread over seeds; Proposed is shifted."""
    experiment = EXPERIMENTS[name]
    xs = range(10, 401, 10) if experiment.convergence else experiment.xs[:2]
    rows = []
    for setting in experiment.series or [""]:
        for method in methods:
            for x in xs:
                for seed in range(seeds):
                    at = (seed / max(seeds - 1, 1) - 0.5) * spread
                    delay = 1000 * (1 + at + shift * (method == "Proposed"))
                    row = dict.fromkeys(COLUMNS, 0.0) | {"figure": name, "scenario": "as_printed", "method": method}
                    row |= {"seed": seed, "x_name": experiment.x_name, "x": x, "setting": setting}
                    row |= {"total_delay_s": delay, "edge_delay_s": 0.8 * delay, "local_delay_s": 0.0}
                    rows.append(row)
    table = pd.DataFrame(rows)
    return table if experiment.series else table.drop(columns="setting")


class TestAgreement:
    def test_the_same_but_for_rounding(self):
        found = agreement(frame(), frame(shift=5e-5))
        assert (found.points, found.same, found.near, found.apart) == (12, 12, 0, ())
        assert found.agrees
        assert str(found) == "fig8: agrees (12 of 12 means are the same, 0 within intervals)"

    def test_within_the_intervals(self):
        """Total and edge delay of Proposed moved by less than the seeds are spread; local delay is zero throughout."""
        found = agreement(frame(), frame(shift=0.004))
        assert (found.same, found.near, found.agrees) == (8, 4, True)

    def test_apart(self):
        found = agreement(frame(shift=0.1), frame())
        assert (found.same, found.near, len(found.apart), found.agrees) == (8, 0, 4, False)
        assert found.apart[0] == "total_delay_s of Proposed at x = 2 (1100, reference 1000)"
        assert str(found).startswith("fig8: DIFFERS in 4 of 12 means: total_delay_s of Proposed at x = 2")
        assert str(found).endswith("...")

    def test_one_seed_has_no_interval(self):
        assert agreement(frame(seeds=1), frame(seeds=1)).agrees
        assert not agreement(frame(seeds=1), frame(seeds=1, shift=0.001)).agrees

    def test_only_the_end_of_a_learning_curve_counts(self):
        old = frame("fig6")
        new = old.assign(total_delay_s=np.where(old.x < 400, 1.0, old.total_delay_s))
        assert agreement(new, old).agrees
        assert agreement(new, old).points == 6

    def test_settings_are_compared_by_name(self):
        old = frame("fig13", methods=("Proposed",))
        new = old.assign(total_delay_s=np.where(old.setting == "dnn=NiN", 1.0, old.total_delay_s))
        assert all("dnn=NiN" in point for point in agreement(new, old).apart)
        assert len(agreement(new, old).apart) == 2

    def test_other_methods_or_settings_are_not_compared(self):
        found = agreement(frame(methods=("RPDI",)), frame())
        assert not found.agrees
        assert str(found) == "fig8: not compared, the reference has other methods or settings"


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """The folder of a finished batch; the reference goes into a folder beside it."""
    monkeypatch.setattr("mecpart.comparison.reference.data_folder", lambda: tmp_path / "data")
    output = tmp_path / "output"
    results, records = (output / part / "quick" / "as_printed" for part in ("data/results", "build/notebooks"))
    results.mkdir(parents=True)
    records.mkdir(parents=True)
    for name, experiment in EXPERIMENTS.items():
        methods = (experiment.methods or methods_in("as_printed"))[:1]
        frame(name, methods=methods).to_csv(results / f"{name}.csv", index=False)
    for name in ("headline", "claims"):
        pd.DataFrame({"claim": ["one"]}).to_csv(results / f"{name}.csv", index=False)
    for name, seconds in (("fig8", 2.0), ("headline", 1.5)):
        record = {"identity": {"package": "p", "versions": {"jax": "1"}}, "commit": "c", "device": {"cores": 2}}
        record |= {"started": f"2026-01-0{int(seconds)}", "seconds": seconds}
        (records / f"{name}.record.json").write_text(json.dumps(record))
    return output


class TestKeeping:
    def test_a_batch_agrees_with_the_reference_that_was_made_of_it(self, batch):
        path = keep_reference(batch, "quick", "as_printed")
        found = list(compare_with_reference(batch / "data/results/quick/as_printed", "quick", "as_printed"))
        assert [one.experiment for one in found] == [name for name in EXPERIMENTS if not name.startswith("fig11")]
        assert all(one.agrees for one in found)
        told = json.loads(path.read_text())
        assert told["commit"] == ["c"]
        assert (told["seconds"], told["started"], told["device"]) == (3.5, "2026-01-01", {"cores": 2})
        assert {"headline.csv", "claims.csv"} <= {file.name for file in path.parent.iterdir()}

    def test_learning_curves_are_thinned_and_keep_both_ends(self, batch):
        folder = keep_reference(batch, "quick", "as_printed").parent
        windows = sorted(pd.read_csv(folder / "fig6.csv")["x"].unique())
        assert (len(windows), windows[0], windows[-1]) == (comparison.reference.KEPT_WINDOWS, 10, 400)

    def test_an_unfinished_batch_is_refused_and_nothing_written(self, batch, tmp_path):
        (batch / "data/results/quick/as_printed/fig9.csv").unlink()
        with pytest.raises(ValueError, match=r"finished batch; missing in .*: fig9"):
            keep_reference(batch, "quick", "as_printed")
        assert not (tmp_path / "data").exists()

    def test_a_batch_of_two_versions_is_refused(self, batch):
        path = batch / "build/notebooks/quick/as_printed/fig8.record.json"
        record = json.loads(path.read_text())
        record["identity"]["package"] = "edited"
        path.write_text(json.dumps(record))
        with pytest.raises(ValueError, match="one version of the code; got 2"):
            keep_reference(batch, "quick", "as_printed")

    def test_nothing_is_compared_where_there_is_no_reference(self, batch):
        assert not list(compare_with_reference(batch / "data/results/quick/as_printed", "quick", "as_printed"))
