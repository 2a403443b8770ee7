"""Reference results: when new ones agree, and how a batch becomes the reference."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from mecpart.comparison import DELAYS
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.runner import COLUMNS
from mecpart.methods.register import methods_in
from mecpart.reproduction import reference
from mecpart.reproduction.reference import agreement, compare_with_reference, keep_reference

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
        assert str(found) == "fig8: agrees (12 of 12 means are the same)"

    def test_a_learner_within_its_spread(self):
        """Total and edge delay of Proposed moved by less than they scatter within seeds; local delay is zero."""
        new, moved = frame(), (-1) ** np.arange(SEEDS) * 0.01 + 0.003
        for column in ("total_delay_s", "edge_delay_s"):
            new.loc[new["method"] == "Proposed", column] *= 1 + np.tile(moved, 2)
        found = agreement(new, frame())
        assert (found.same, found.near, found.agrees) == (8, 4, True)
        assert str(found) == (
            "fig8: agrees (8 of 12 means are the same, 4 of methods that learn differ by no more than chance)"
        )

    def test_a_learner_that_moved_in_every_seed(self):
        found = agreement(frame(shift=0.1), frame())
        assert (found.same, found.near, found.agrees) == (8, 0, False)
        assert set(found.apart) == {
            f"{part} of Proposed {where} ({delay})"
            for part, delay in (("total delay", "1100 s, reference 1000 s"), ("edge delay", "880 s, reference 800 s"))
            for where in ("with 2 edge servers", "with 3 edge servers", "on average")
        }
        assert str(found).startswith("fig8: DIFFERS in 4 of 12 means: total delay of Proposed ")
        assert "and 3 more (8 of 12 means are the same)" in str(found)

    def test_a_rule_is_held_to_rounding_in_every_seed(self):
        """One thousandth in one seed of six is less than two ten-thousandths of the mean."""
        moved = frame()
        moved.loc[(moved["method"] == "RPDI") & (moved["x"] == 2) & (moved["seed"] == 3), "total_delay_s"] *= 1.001
        found = agreement(moved, frame())
        assert found.apart == ("total delay of RPDI with 2 edge servers (1000.2 s, reference 1000 s)",)

    def test_what_is_not_a_number_differs(self):
        lost = frame()
        lost.loc[(lost["method"] == "Proposed") & (lost["seed"] == 0), "total_delay_s"] = np.nan
        assert any("total delay of Proposed with 2 edge servers" in point for point in agreement(lost, frame()).apart)
        assert agreement(lost, lost).agrees

    def test_one_seed_tells_nothing_of_a_learner(self):
        assert agreement(frame(seeds=1), frame(seeds=1)).agrees
        found = agreement(frame(seeds=1), frame(seeds=1, shift=0.001))
        assert str(found).startswith("fig8: not compared, one seed does not tell")

    def test_only_the_end_of_a_learning_curve_counts(self):
        old = frame("fig6")
        new = old.assign(total_delay_s=np.where(old.x < 400, 1.0, old.total_delay_s))
        assert agreement(new, old).agrees
        assert agreement(new, old).points == 6

    def test_settings_are_compared_by_name(self):
        old = frame("fig13", methods=("Proposed",))
        new = old.assign(total_delay_s=np.where(old.setting == "dnn=NiN", 1.0, old.total_delay_s))
        told = {point.partition(" (")[0] for point in agreement(new, old).apart}
        curve = {f"total delay of Proposed, NiN at a link capacity of {rate} Mbit/s" for rate in (2, 4)}
        assert told == curve | {"total delay of Proposed on average"}

    @pytest.mark.parametrize(
        ("results", "reference", "reason"),
        [
            (frame(methods=("RPDI",)), frame(), "the results lack method Proposed of the reference"),
            (frame(seeds=4), frame(), "the results lack seeds 4 and 5 of the reference"),
            (frame().query("x == 2"), frame(), "the results lack settings of the reference: Proposed with 3 edge serv"),
            (frame().assign(env_steps=600), frame(), "Proposed was trained for 600 slots, in the reference for 0"),
            (frame("fig9"), frame(), "the reference is of fig8, the results are of fig9"),
            (frame().assign(scenario="loaded"), frame(), "the reference is of as_printed, the results are of loaded"),
        ],
    )
    def test_a_reference_of_another_kind_is_not_compared(self, results, reference, reason):
        found = agreement(results, reference)
        assert not found.agrees
        assert found.reason.startswith(reason)
        assert ": not compared, the re" in str(found) or "was trained" in str(found)

    def test_what_is_no_table_of_results_is_refused(self):
        with pytest.raises(ValueError, match=r"must have the columns .*; missing: env_steps"):
            agreement(frame().drop(columns="env_steps"), frame())
        with pytest.raises(ValueError, match=r"each seed, method and x once; got .*Proposed.* twice"):
            agreement(pd.concat([frame(), frame().iloc[:1]]), frame())

    def test_more_seeds_settings_and_methods_than_the_reference_has(self):
        found = agreement(frame(), frame(methods=("RPDI",)).query("seed < 4 and x == 2"))
        assert (found.points, found.agrees, found.newer) == (3, True, ("Proposed",))
        assert str(found) == "fig8: agrees (3 of 3 means are the same; newer than the reference: Proposed)"


LEARNERS = ("Proposed", "A3C", "Distributed DQN", "Learned prices")
RULES = ("Greedy", "APDI", "RPDI", "Local only", "One ES", "Single cut", "Optimal")


class TestChance:
    """Fig. 8 in two runs: 11 methods, 8 settings, 3 delays, 264 means over 5 seeds.

    What a seed draws moves all methods and settings alike, by a tenth. Learners end a little above the best (training
    noise, skewed), and compute in some runs on the devices alone; edge and local delay are then all or nothing.
    """

    blank = pd.DataFrame(
        [
            {
                "figure": "fig8",
                "scenario": "as_printed",
                "method": method,
                "seed": seed,
                "x_name": "num_servers",
                "x": x,
            }
            for method in (*LEARNERS, *RULES)
            for x in range(2, 10)
            for seed in range(5)
        ]
    ).assign(env_steps=lambda rows: 600.0 * rows["method"].isin(LEARNERS))

    def pair(self, draw, noise=0.01):
        drawn = 6000 * (1 + draw.normal(0, 0.1, 5)) * np.linspace(1, 0.8, 8)[:, None]
        for _ in range(2):
            above = np.where(np.arange(11)[:, None, None] < 4, draw.exponential(noise, (11, 8, 5)), 0.1)
            local = np.where(np.arange(11)[:, None, None] < 4, draw.random((11, 8, 5)) < 0.3, 0.25)
            total = (drawn * (1 + above)).ravel()
            yield self.blank.assign(
                total_delay_s=total, local_delay_s=total * local.ravel(), edge_delay_s=total * (1 - local.ravel())
            )

    def test_nothing_is_named_by_chance_in_more_than_one_of_twenty(self):
        draw = np.random.default_rng(0)
        found = [agreement(*self.pair(draw)) for _ in range(40)]
        assert {one.points for one in found} == {264}
        assert all(one.same >= 168 for one in found)
        # 5 or fewer of 40 have a probability of 98.6 % at a rate of 5 %; single tests at 5 % would name 96 * 5 % each.
        assert sum(not one.agrees for one in found) <= 5

    @pytest.mark.parametrize("method", LEARNERS)
    def test_a_learner_that_moved_by_three_standard_deviations_is_found(self, method):
        draw = np.random.default_rng(1)
        for _ in range(4):
            new, old = self.pair(draw)
            mine = new["method"] == method
            spread = old[mine].groupby("x")["total_delay_s"].transform("std")
            new.loc[mine, "total_delay_s"] += 3 * spread
            apart = agreement(new, old).apart
            assert any(f"total delay of {method} " in point for point in apart)
            assert not any(f"of {other} " in point for point in apart for other in RULES)

    @pytest.mark.parametrize("method", RULES)
    def test_a_rule_that_moved_by_a_thousandth_is_found(self, method):
        new, old = self.pair(np.random.default_rng(2))
        new.loc[new["method"] == method, list(DELAYS)] *= 1.001
        told = {f"{part} delay of {method} " for part in ("total", "edge", "local")}
        apart = agreement(new, old).apart
        assert all(any(point.startswith(part) for point in apart) for part in told)
        assert all(f" of {method} " in point for point in apart)
        assert len(apart) == 24

    def test_p_values_are_students(self):
        differences = np.random.default_rng(3).normal(0.5, 1, (4, 6))
        p, p_mean = reference._p_values(differences, np.array([True, True, True, False]))
        theirs = scipy.stats.ttest_1samp(differences, 0, axis=1).pvalue
        wide = differences.std(axis=1) >= np.median(differences[:3].std(axis=1))
        assert p[:3][wide[:3]] == pytest.approx(theirs[:3][wide[:3]])
        assert (p[:3][~wide[:3]] > theirs[:3][~wide[:3]]).all()
        assert p[3] == 1
        assert p_mean == pytest.approx(scipy.stats.ttest_1samp(differences.mean(axis=0), 0).pvalue)

    def test_all_experiments_of_a_scenario_are_corrected_together(self, tmp_path, monkeypatch):
        """A point that would be named alone (p of 0.2 %) is not among 96 others."""
        monkeypatch.setattr("mecpart.reproduction.reference.data_folder", lambda: tmp_path / "data")
        results, reference = tmp_path / "results", tmp_path / "data/reference/quick/as_printed"
        for folder in (results, reference):
            folder.mkdir(parents=True)
        new, old = self.pair(np.random.default_rng(4))
        alone = frame("fig12", methods=("Proposed",)).query("x == 1")
        moved = alone.assign(total_delay_s=alone["total_delay_s"] * (1 + 0.01 * np.array([2, 3, 1, 4, 2, 3])))
        assert len(agreement(moved, alone).apart) == 1
        for folder, sweep, point in ((results, new, moved), (reference, old, alone)):
            sweep.to_csv(folder / "fig8.csv", index=False)
            point.to_csv(folder / "fig12.csv", index=False)
        assert all(one.agrees for one in compare_with_reference(results, "quick", "as_printed"))


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """The folder of a finished batch; the reference goes into a folder beside it."""
    monkeypatch.setattr("mecpart.reproduction.reference.data_folder", lambda: tmp_path / "data")
    output = tmp_path / "output"
    results, records = (output / part / "quick" / "as_printed" for part in ("data/results", "build/notebooks"))
    results.mkdir(parents=True)
    records.mkdir(parents=True)
    for name, experiment in EXPERIMENTS.items():
        methods = tuple(experiment.methods or methods_in("as_printed"))[:1]
        frame(name, methods=methods).to_csv(results / f"{name}.csv", index=False)
    for name in ("headline", "claims", "facts"):
        pd.DataFrame({"claim": ["one"]}).to_csv(results / f"{name}.csv", index=False)
    delays = {"total_delay_s": [2.0, 4.0, 9.0], "edge_delay_s": [1.0, 1.0, 1.0], "local_delay_s": [1.0, 3.0, 8.0]}
    point = {"figure": "fig8", "scenario": "as_printed", "method": "RPDI", "x_name": "x", "x": 4.0}
    for figure in ("fig8", "fig9", "fig10", "fig12"):
        pd.DataFrame(delays).assign(**point, seed=[0, 1, 2]).to_csv(results / f"{figure}-rules.csv", index=False)
    judged = {"headline", "claims", "facts"}
    figures = {path.stem for path in results.iterdir()} - judged
    # The last makes nothing that is kept, by other parts of the package.
    for name, made, seconds, package in (
        ("fig8", figures, 2.0, "p"), ("headline", judged, 1.5, "p"), ("relatives", {"relatives"}, 3.0, "q")
    ):  # fmt: skip
        device = {"cores": 2, "processor": "fast"}
        record = {"identity": {"package": package, "versions": {"jax": "1"}}, "commit": "c", "device": device}
        record |= {"started": f"2026-01-0{int(seconds)}", "seconds": seconds}
        record["outputs"] = {f"data/results/quick/as_printed/{one}.csv": "hash" for one in made}
        (records / f"{name}.record.json").write_text(json.dumps(record))
    return output


def edit(record, **changes):
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))


class TestKeeping:
    def test_a_batch_agrees_with_the_reference_that_was_made_of_it(self, batch):
        path = keep_reference(batch, "quick", "as_printed")
        found = list(compare_with_reference(batch / "data/results/quick/as_printed", "quick", "as_printed"))
        assert [one.experiment for one in found] == [name for name in EXPERIMENTS if not name.startswith("fig11")]
        assert all(one.agrees for one in found)
        (told,) = json.loads(path.read_text())["batches"]
        assert told["commit"] == ["c"]
        assert (told["started"], told["device"]) == ("2026-01-01", {"cores": 2, "processor": "fast"})
        assert reference.notebook_seconds("quick", "as_printed") == {"fig8": 2.0, "headline": 1.5, "relatives": 3.0}
        assert reference.made_from("quick", "as_printed") == "commit c, fast, jax 1"
        assert {"headline.csv", "claims.csv", "facts.csv"} <= {file.name for file in path.parent.iterdir()}

    def test_of_rules_on_many_networks_means_and_standard_errors_are_kept(self, batch):
        kept = pd.read_csv(keep_reference(batch, "quick", "as_printed").parent / "fig9-rules.csv")
        (row,) = kept.to_dict("records")
        assert (row["method"], row["x"], row["networks"]) == ("RPDI", 4, 3)
        assert (row["total_delay_s"], row["edge_delay_s_standard_error"]) == (5, 0)
        assert row["total_delay_s_standard_error"] == pytest.approx(13**0.5 / 3**0.5, rel=1e-5)  # variance (9+1+16)/2

    def test_learning_curves_are_thinned_and_keep_both_ends(self, batch):
        folder = keep_reference(batch, "quick", "as_printed").parent
        windows = sorted(pd.read_csv(folder / "fig6.csv")["x"].unique())
        assert (len(windows), windows[0], windows[-1]) == (reference.KEPT_WINDOWS, 10, 400)

    def test_it_can_be_made_in_pieces(self, batch):
        """Each batch adds and replaces what it has finished; what was judged by other figures is dropped."""
        records, path = batch / "build/notebooks/quick/as_printed", keep_reference(batch, "quick", "as_printed")
        for name in ("headline", "relatives"):
            (records / f"{name}.record.json").unlink()
        (records / "fig8.record.json").rename(records / "fig9.record.json")
        made = [f"data/results/quick/as_printed/{name}.csv" for name in ("fig9", "fig9-rules")]
        edit(records / "fig9.record.json", outputs=dict.fromkeys(made, "hash"), commit="d", seconds=9.0)
        frame("fig9", shift=0.5).to_csv(batch / made[0], index=False)
        eight = (path.parent / "fig8.csv").read_bytes()
        keep_reference(batch, "quick", "as_printed")
        kept = pd.read_csv(path.parent / "fig9.csv")
        assert kept.query("method == 'Proposed'")["total_delay_s"].mean() == pytest.approx(1500)
        assert (path.parent / "fig8.csv").read_bytes() == eight
        assert not (path.parent / "facts.csv").exists()
        assert [batch["commit"] for batch in json.loads(path.read_text())["batches"]] == [["c"], ["d"]]
        assert reference.made_from("quick", "as_printed") == "commit c, d, fast, jax 1"
        assert reference.notebook_seconds("quick", "as_printed")["fig9"] == 9.0

    def test_what_lacks_its_verdicts_is_judged_by_whole_curves_and_what_is_kept(self, batch, monkeypatch):
        """A first batch leaves all figures but one; a second brings that one and the curves."""
        records, results = batch / "build/notebooks/quick/as_printed", batch / "data/results/quick/as_printed"
        folder = keep_reference(batch, "quick", "as_printed").parent
        (records / "headline.record.json").unlink()
        seen = []
        table = pd.DataFrame({"verdict": ["undecided"]})
        monkeypatch.setattr(reference, "run_rules", lambda figure, *_: pd.DataFrame({"figure": [figure]}))
        monkeypatch.setattr(reference, "headline_table", lambda results: seen.append(results) or table)
        monkeypatch.setattr(reference, "beside_published", lambda headline: headline)
        monkeypatch.setattr(reference, "claims", lambda results, rules: seen.append(rules) or table)
        monkeypatch.setattr(reference, "facts", lambda results, rules: table)
        made = [name for name in EXPERIMENTS if name.startswith(("fig6", "fig7", "fig13"))]
        for change in (["fig13"], made):
            for name in ("headline", "claims", "facts"):
                (folder / f"{name}.csv").unlink(missing_ok=True)
            outputs = {f"data/results/quick/as_printed/{name}.csv": "hash" for name in change}
            edit(records / "fig8.record.json", outputs=outputs)
            frame("fig8", shift=0.5).to_csv(results / "fig8.csv", index=False)  # of another batch: not finished in this
            keep_reference(batch, "quick", "as_printed")
            assert (folder / "facts.csv").exists() == (change == made)
        found, rules = seen
        assert rules["figure"].tolist() == ["fig8", "fig9", "fig10", "fig12"]
        assert found.groupby("figure")["total_delay_s"].mean()["fig8"] == pytest.approx(1000)
        assert found.query("figure == 'fig6'")["x"].nunique() > reference.KEPT_WINDOWS

    def test_a_batch_without_results_is_refused_and_nothing_written(self, batch, tmp_path):
        for path in (batch / "data/results/quick/as_printed").iterdir():
            path.unlink()
        with pytest.raises(ValueError, match="finished an experiment; there is none in"):
            keep_reference(batch, "quick", "as_printed")
        assert not (tmp_path / "data").exists()

    def test_a_batch_of_two_versions_is_refused(self, batch):
        path = batch / "build/notebooks/quick/as_printed/fig8.record.json"
        edit(path, identity={"package": "edited", "versions": {"jax": "1"}})
        with pytest.raises(ValueError, match="one version of the code; got 2"):
            keep_reference(batch, "quick", "as_printed")

    def test_nothing_is_compared_where_there_is_no_reference(self, batch):
        assert not list(compare_with_reference(batch / "data/results/quick/as_printed", "quick", "as_printed"))
