"""Pictures of plans: what is drawn, read back from the figure, against hand arithmetic and equations.py."""

import math
import subprocess
import sys
from dataclasses import replace

import equations
import jax
import numpy as np
import pytest
from instances import instance, random_instances, round_problem
from matplotlib.collections import PathCollection, PolyCollection
from measured_devices import PLANS, by_hand, drawn

import mecpart
from mecpart import figures
from mecpart.figures.plans.panel import _glyphs

COMPUTING = ("on devices", "on servers")
PARTS = ("transmission", "waiting", *COMPUTING)


def bars(axes, *kinds):
    """[start, end, top] of the bars of some kinds, from left to right."""
    found = [
        [path.vertices[:, 0].min(), path.vertices[:, 0].max(), path.vertices[:, 1].min()]
        for collection in axes.collections
        if isinstance(collection, PolyCollection) and collection.get_label() in kinds
        for path in collection.get_paths()
    ]
    return np.array(sorted(found)).reshape(-1, 3)


def times(axes, *kinds):
    return bars(axes, *kinds)[:, :2].tolist()


def titles(axes):
    return [text.get_text() for text in axes.texts]


# By hand: see `round_problem` for the numbers


def test_as_printed_by_hand():
    scenario, slot = round_problem(deadline=1.5)
    (axes,) = mecpart.plot_plan(scenario, slot, [1, 2, 2]).axes
    # 32 bytes by 2 bytes/s, 16 cycles by 16; 16 bytes by wire at 16, 32 cycles by 32; 64 cycles by 32.
    assert times(axes, "transmission") == [[0, 16], [17, 18]]
    assert times(axes, "on servers") == [[16, 17], [18, 19], [19, 21]]
    assert times(axes, "waiting", "on devices", "backlog") == []
    assert times(axes, "odd", "even") == [[0, 17], [17, 19], [19, 21]]
    assert times(axes, "late") == [[1.5, 17], [18.5, 19], [20.5, 21]]
    assert times(axes, "transmission in total", "on servers in total") == [[0, 17], [17, 21]]
    assert titles(axes) == ["Total delay 21 s", "transmission 17 s + computing on servers 4 s"]


def test_a_local_block_after_an_edge_block_pays_nothing_as_printed():
    scenario, slot = round_problem()
    (axes,) = mecpart.plot_plan(scenario, slot, [1, 0, 0]).axes
    assert times(axes, "transmission") == [[0, 16]]
    assert times(axes, "on devices") == [[17, 21], [21, 29]]


def test_loaded_by_hand():
    scenario, slot = round_problem("loaded")
    slot = mecpart.Slot(slot.device_rate, np.float32([0, 8, 20]))
    (axes,) = mecpart.plot_plan(scenario, slot, [0, 1, 1]).axes
    # 16 cycles by 8; 16 bytes by 4 bytes/s; the server is busy for 8 s; the result is 4 bytes by 8 bytes/s.
    assert times(axes, "on devices") == [[0, 2]]
    assert times(axes, "transmission") == [[2, 6], [14, 14.5]]
    assert times(axes, "waiting") == [[6, 8]]
    assert times(axes, "on servers") == [[8, 10], [10, 14]]
    assert times(axes, "backlog") == [[0, 8], [0, 20]]
    assert times(axes, *(f"{part} in total" for part in PARTS)) == [[0, 4.5], [4.5, 6.5], [6.5, 8.5], [8.5, 14.5]]
    # The result comes back to the row of the devices; the block's input goes to that of the server.
    (devices,), (going, coming) = bars(axes, "on devices"), bars(axes, "transmission")
    assert coming[2] < devices[2] < going[2]
    assert axes.get_xlim()[1] < 20  # the axis is as long as the plan, not as the queue of an idle server


def test_a_stream_by_hand():
    """Four tasks on two devices: 1 s on each, 2 s to the server, there 0.5 and 1 s in a row, 0.25 s back."""
    (axes,) = mecpart.plot_plan(*round_problem("pipelined"), [0, 1, 1]).axes
    assert times(axes, "task 1") == [[0, 1], [1, 3], [3, 3.5], [3.5, 4.5], [4.5, 4.75]]
    assert times(axes, "task 2") == [[0, 1], [1, 3], [4.5, 5], [5, 6], [6, 6.25]]
    assert times(axes, "task 3") == [[1, 2], [3, 5], [6, 6.5], [6.5, 7.5], [7.5, 7.75]]
    assert times(axes, "task 4", "even task", "odd task")[-1] == [9, 9.25]
    assert times(axes, *PARTS) == []
    (first, *rest), (second, *_) = bars(axes, "task 1"), bars(axes, "task 2")
    up, computed, _, down = rest
    assert down[2] < first[2] < second[2] < up[2] < computed[2], "each device has a line in the row of all"
    assert times(axes, *(f"{part} in total" for part in PARTS)) == [[0, 2.25], [2.25, 6.75], [6.75, 7.75], [7.75, 9.25]]
    assert times(axes, "odd", "even") == [[0, 1], [1, 5], [5, 9.25]]


# Against the equations of the tests


@pytest.mark.parametrize("name", ["as_printed", "loaded"])
@pytest.mark.parametrize(("blocks", "servers"), [(1, 2), (6, 4), (21, 9)])
def test_the_bars_of_a_plan_are_its_delay(name, blocks, servers):
    batch = random_instances(blocks, 8, blocks=blocks, servers=servers, backlog=True, name=name, tasks=name == "loaded")
    rng = np.random.default_rng(blocks)
    drawn = 0
    for at in range(8):
        scenario, slot = instance(batch, at)
        exists = np.flatnonzero(scenario.network.speed)
        plan = rng.choice(exists, blocks)
        cost = equations.cost_of(scenario, slot, plan)
        if not math.isfinite(cost.total_delay):
            continue
        drawn += 1
        (axes,) = mecpart.plot_plan(scenario, slot, plan).axes
        every = bars(axes, *PARTS)
        # One after the other, without a gap, from the beginning to the end of the slot.
        close = {"rtol": 1e-5, "atol": 1e-5 * cost.total_delay}
        np.testing.assert_allclose(every[0, 0], 0)
        np.testing.assert_allclose(every[1:, 0], every[:-1, 1], **close)
        np.testing.assert_allclose(every[-1, 1], cost.total_delay, **close)
        lengths = {part: np.diff(bars(axes, part)[:, :2]).sum() for part in PARTS}
        np.testing.assert_allclose(lengths["transmission"], cost.transmission_delay.sum(), **close)
        np.testing.assert_allclose(lengths["waiting"], cost.waiting_delay.sum(), **close)
        np.testing.assert_allclose(lengths["on devices"], cost.local_delay, **close)
        # Each block ends when it is computed, in the row of its node: rows from top to bottom as nodes from 0 to N.
        computed = bars(axes, *COMPUTING)
        returned = np.zeros(blocks)
        if name == "loaded" and plan[-1]:
            returned[-1] = every[-1, 1] - every[-1, 0]
        np.testing.assert_allclose(computed[:, 1], cost.finished - returned, **close)
        order, tops = np.argsort(plan, kind="stable"), np.round(computed[:, 2], 6)
        assert (np.diff(tops[order]) >= 0).all()
        assert len(set(tops)) == len(set(plan))
        late = np.maximum(cost.block_delay - scenario.deadline, 0)
        np.testing.assert_allclose(np.diff(bars(axes, "late")[:, :2]).sum(), late.sum(), **close)
    assert drawn >= 3


# What else there is


def test_several_plans_share_a_time_axis():
    scenario, slot = round_problem()
    best = mecpart.optimal_plan(scenario, slot)
    first, second = mecpart.plot_plan(scenario, slot, {"mine": [1, 2, 2], "Optimal": best.plan}).axes
    assert first.get_xlim() == second.get_xlim()
    assert first.get_xlim()[1] > 21
    ratio = 21 / float(best.total_delay)
    assert titles(first)[0] == f"mine: 21 s, {ratio:.4g} times Optimal"
    assert titles(second)[0] == f"Optimal: {float(best.total_delay):g} s"


def test_a_notebook_which_crops_what_it_shows_leaves_the_names_of_rows_whole():
    figure = mecpart.plot_plan(*round_problem(), [1, 2, 2])
    shown = figure.get_tightbbox()
    np.testing.assert_allclose([shown.x0, shown.y0], 0, atol=1e-6)
    assert shown.width >= figure.get_figwidth()
    assert shown.height >= figure.get_figheight()


def test_what_never_ends_runs_to_the_edge():
    scenario, slot = round_problem("loaded")
    slot = mecpart.Slot(slot.device_rate * np.float32([1, 0]), slot.backlog)
    (axes,) = mecpart.plot_plan(scenario, slot, [0, 2, 1]).axes
    assert titles(axes)[0] == "This plan never ends"
    edge = axes.get_xlim()[1]
    assert times(axes, *PARTS) == [[0, 2], [2, edge]]
    assert times(axes, "on servers") == []


@pytest.mark.parametrize("rules", mecpart.SCENARIOS)
def test_measured_plans_that_never_end_say_so(rules):
    scenario = drawn(1, rules=rules)
    slot = mecpart.sample_slot(jax.random.key(0), scenario)
    for plan in PLANS[::9]:
        (axes,) = mecpart.plot_plan(scenario, slot, plan).axes
        ends = np.isfinite(by_hand(scenario, np.zeros(3), plan)[0])
        assert (titles(axes)[0] == "This plan never ends") != ends


def test_servers_that_do_not_exist_have_no_row():
    scenario, slot = round_problem()
    network = mecpart.make_network([4e9, 0, 0])
    scenario = mecpart.as_printed(scenario.workload, network)
    slot = mecpart.sample_slot(jax.random.key(0), scenario)
    heights = [
        mecpart.plot_plan(scenario, slot, plan).get_size_inches()[1] for plan in ([0, 1, 1], [0, 1, 3])
    ]  # the second uses one of them
    assert heights[0] < heights[1]


@pytest.mark.parametrize(("blocks", "servers"), [(1, 1), (6, 4), (21, 9)])
def test_names_fit_on_their_bars_and_titles_on_the_page(blocks, servers):
    scenario = mecpart.loaded(
        mecpart.workload("vgg16", blocks), mecpart.sample_network(jax.random.key(0), servers), deadline=0.5
    )
    slot = mecpart.sample_slot(jax.random.key(1), scenario)
    slot = mecpart.Slot(slot.device_rate, np.float32(2.345678) * scenario.network.speed)
    plan = mecpart.POLICIES["RPDI"](scenario, slot, jax.random.key(5))
    figure = mecpart.plot_plan(
        scenario, slot, {"Drift-plus-penalty": plan, "Look-ahead": mecpart.optimal_plan(scenario, slot).plan}
    )
    figure.canvas.draw()
    for axes in figure.axes:
        for text in axes.texts:
            extent = text.get_window_extent()
            assert extent.x0 >= 0
            assert extent.x1 <= figure.bbox.x1
        coloured = axes.transData.transform(bars(axes, "on servers", "late")[:, [0, 2]])[:, 0]
        ends = axes.transData.transform(bars(axes, "on servers", "late")[:, [1, 2]])[:, 0]
        for start, end in names_in_white(axes):
            assert ((coloured <= start) & (end <= ends)).any()
    assert any(names_in_white(axes) for axes in figure.axes)


def names_in_white(axes):
    """[start, end] in pixels of what is written in white, which is on bars of a dark colour."""
    pixels = axes.get_figure().dpi / 72  # of a point
    return [
        [
            axes.transData.transform(place)[0] + x * pixels
            for x in (path.vertices[:, 0].min(), path.vertices[:, 0].max())
        ]
        for collection in axes.collections
        if isinstance(collection, PathCollection) and (collection.get_facecolor() == 1).all()
        for path, place in zip(collection.get_paths(), collection.get_offsets(), strict=True)
    ]


def test_names_are_shown_as_they_are():
    """Of plans and of blocks: nothing in them is taken for mathematics."""
    names = ("$\\frac", "_conv $a$ $b$", "<b>")
    scenario, slot = round_problem()
    scenario = replace(scenario, workload=replace(scenario.workload, block_names=names))
    figure = mecpart.plot_plan(scenario, slot, {name: [0, 0, 0] for name in names})
    figure.draw_without_rendering()
    titles = [text for axes in figure.axes for text in axes.texts if text.get_weight() == "bold"]
    assert [text.get_text().partition(":")[0] for text in titles] == list(names)
    assert not any(text.get_parse_math() for axes in figure.axes for text in axes.texts)
    dollars, plain = (_glyphs(words, 6.5, "left")[1] for words in ("$a$", "a"))
    assert dollars > 2 * plain


def test_the_same_plan_gives_the_same_bytes(tmp_path):
    scenario, slot = round_problem("loaded")
    for name in ("first", "second"):
        figures.save_figure(mecpart.plot_plan(scenario, slot, [0, 1, 2]), tmp_path / name)
    for kind in ("svg", "pdf", "png"):
        assert (tmp_path / f"first.{kind}").read_bytes() == (tmp_path / f"second.{kind}").read_bytes()


def test_bad_plans_are_refused(refused):
    scenario, slot = round_problem()
    with refused("plan", "node 3", "0 to 2"):
        mecpart.plot_plan(scenario, slot, [0, 3, 0])
    with refused("plan", "node -1", "0 to 2"):
        mecpart.plot_plan(scenario, slot, {"good": [0, 1, 1], "bad": [0, -1, 0]})
    with refused("plan", "(2,)", "(3,)"):
        mecpart.plot_plan(scenario, slot, [0, 1])
    with refused("plan", "float", "integers"):
        mecpart.plot_plan(scenario, slot, [0.0, 1.0, 2.0])
    with refused("plan", "{}", "at least one"):
        mecpart.plot_plan(scenario, slot, {})
    with refused("slot.backlog", "-1", "at least 0"):
        mecpart.plot_plan(scenario, mecpart.Slot(slot.device_rate, np.float32([0, -1, 0])), [0, 1, 1])


def test_matplotlib_is_imported_only_when_it_is_needed():
    program = "import sys, mecpart; print('matplotlib' in sys.modules, mecpart.plot_plan.__name__)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.split() == ["False", "plot_plan"]
    with pytest.raises(AttributeError, match="no attribute 'plot_plans'"):
        mecpart.plot_plans  # noqa: B018


def test_titles_with_long_names_fit_on_the_page():
    names = ("A method whose name was written out in full", "A method whose name was written out too")
    scenario, slot = round_problem()
    figure = mecpart.plot_plan(scenario, slot, dict(zip(names, ([1, 2, 2], [0, 0, 0]), strict=True)))
    figure.draw_without_rendering()
    for text in (text for axes in figure.axes for text in axes.texts if text.get_weight() == "bold"):
        assert text.get_text().startswith("A method whose name was wri\N{HORIZONTAL ELLIPSIS}: ")
        assert text.get_window_extent().x1 <= figure.bbox.x1
