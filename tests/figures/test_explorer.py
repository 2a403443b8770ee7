"""The explorer: what it shows at each setting, that nothing is compiled while a slider moves, and in JupyterLab."""

import base64
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from urllib.parse import urlencode

import equations
import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import pytest
from chromium import CHROMIUM, OFFLINE, in_browser
from compilation import compilations
from measured_devices import PLANS, by_hand, drawn
from nbformat.v4 import new_code_cell
from playwright.sync_api import expect, sync_playwright

import mecpart
from mecpart.figures.explorer import Explorer
from mecpart.locations import notebooks_folder
from mecpart.tables import format_number


def least(scenario, slot):
    plans = equations.all_plans(scenario.num_blocks, 1 + int((np.asarray(scenario.network.speed[1:]) > 0).sum()))
    return equations.cost_of(scenario, slot, plans).total_delay.min()


def numbers(explorer):
    """The rows of the table by the name of the method."""
    rows = re.findall(r"<tr><th>([^<]+)</th>((?:<td>[^<]*</td>)+)</tr>", explorer.numbers.value)
    return {name: re.findall(r"<td>([^<]*)</td>", cells) for name, cells in rows}


@pytest.fixture
def explorer():
    """Three blocks on two servers with queues: few enough plans to try them all."""
    return small(Explorer("loaded"))


def small(explorer):
    explorer.controls["network"].value, explorer.controls["blocks"].value = "nin", 3
    explorer.controls["servers"].value = 2
    explorer.queues[2].value = 1.5
    return explorer


@contextmanager
def nothing_compiled():
    with compilations() as compiled:
        yield
    assert compiled == []


def moves(explorer):
    """Every slider, the number of servers and the draw, each to several values."""
    controls, speeds, queues = explorer.controls, explorer.speeds, explorer.queues
    values = {
        controls["uplink"]: (0.05, 0.4, 20.0),
        controls["release_rate"]: (0.0, 1.0, 150.0),
        controls["deadline"]: (0.0, 0.3, 9.0),
        controls["servers"]: (1, 9, 3, 2),
        controls["draw"]: (1, 77),
        speeds[0]: (0.5, 11.0),
        speeds[2]: (0.0, 1.0, 12.0),
        queues[0]: (2.0, 30.0, 0.0),
        queues[1]: (0.7, 5.0),
    }
    for control, several in values.items():
        for value in several:
            control.value = value
            yield control


def test_every_move_shows_the_plans_of_its_setting(explorer):
    for _ in moves(explorer):
        controls, scenario, slot = explorer.controls, explorer.scenario, explorer.slot
        servers = controls["servers"].value
        assert scenario.num_blocks == 3
        assert scenario.release_rate == controls["release_rate"].value
        np.testing.assert_allclose(scenario.deadline, controls["deadline"].value, rtol=1e-6)
        np.testing.assert_allclose(
            np.mean(scenario.network.device_rate_range), controls["uplink"].value * 1e6, rtol=1e-5
        )
        assert (np.asarray(slot.device_rate) >= scenario.network.device_rate_range[0] * (1 - 1e-6)).all()
        assert (np.asarray(slot.device_rate) <= scenario.network.device_rate_range[1] * (1 + 1e-6)).all()
        speed = np.array([slider.value for slider in explorer.speeds]) * 1e9 * (np.arange(10) <= servers)
        np.testing.assert_allclose(scenario.network.speed, speed, rtol=1e-6)
        queue = np.array([slider.value for slider in explorer.queues])
        np.testing.assert_array_equal(slot.backlog, queue.astype(np.float32))

        greedy = mecpart.POLICIES["Greedy"](scenario, slot, None)
        np.testing.assert_array_equal(explorer.plans["Greedy"], greedy)
        total = equations.cost_of(scenario, slot, greedy).total_delay
        if servers < 9:  # or there are too many plans to try
            assert float(numbers(explorer)["Myopic"][0]) == pytest.approx(least(scenario, slot), rel=1e-3)
        assert float(numbers(explorer)["Greedy"][0]) == pytest.approx(float(total), rel=1e-3)


def test_nothing_is_compiled_while_sliders_move(explorer):
    pictures = set()
    with nothing_compiled():
        for _ in moves(explorer):
            pictures.add(explorer.picture.value)
    assert len(pictures) > 15


def test_a_picture_does_not_depend_on_the_way_to_it(explorer):
    for _ in moves(explorer):
        pass
    again = Explorer("loaded")
    for one, other in zip(
        (*again.controls.values(), *again.speeds, *again.queues),
        (*explorer.controls.values(), *explorer.speeds, *explorer.queues),
        strict=True,
    ):
        one.value = other.value
    assert again.picture.value == explorer.picture.value
    assert again.numbers.value == explorer.numbers.value


def test_a_plan_by_hand(explorer):
    """One click in each block, to every node, in a slot where servers are busy."""
    explorer.controls["method"].value = "One ES"
    plan = list(explorer.plans["One ES"])
    assert [button.value for button in explorer.nodes[:3]] == plan
    seen, pictures = [], [explorer.picture.value]
    with nothing_compiled():
        for block, node in [(0, 0), (1, 2), (2, 1), (0, 1), (1, 0), (2, 2)]:
            if plan[block] == node:
                continue
            explorer.nodes[block].value = plan[block] = node
            assert explorer.controls["method"].value == "by hand"
            assert list(explorer.plans) == ["by hand", "Myopic"]
            assert list(explorer.plans["by hand"]) == plan
            seen.append((np.array(plan), numbers(explorer)))
            pictures.append(explorer.picture.value)
    slot, best = explorer.slot, least(explorer.scenario, explorer.slot)
    assert len(seen) > 3
    assert all(first != second for first, second in pairwise(pictures))
    for chosen, shown in seen:
        total = equations.cost_of(explorer.scenario, slot, chosen).total_delay
        assert shown["by hand"][0] == format_number(float(total))
        assert float(shown["by hand"][1]) == pytest.approx(100 * (total / best - 1), rel=1e-3, abs=1e-3)
        assert shown["Myopic"][:2] == [format_number(float(best)), "0"]

    explorer.controls["release_rate"].value = 90  # the plan stays, its delay does not
    assert list(explorer.plans["by hand"]) == plan
    explorer.controls["method"].value = "One ES"
    assert [button.value for button in explorer.nodes[:3]] == list(explorer.plans["One ES"])


def test_a_plan_by_hand_keeps_to_the_blocks_and_nodes_that_there_are(explorer):
    explorer.controls["method"].value = "by hand"
    for block, node in enumerate([0, 1, 2]):
        explorer.nodes[block].value = node
    explorer.controls["servers"].value = 1
    assert list(explorer.plans["by hand"]) == [0, 1, 0]
    assert {len(button.options) for button in explorer.nodes[:3]} == {2}
    explorer.nodes[2].value = 1
    explorer.controls["blocks"].value = 5
    assert list(explorer.plans["by hand"]) == [0, 1, 1, 1, 1]
    explorer.controls["blocks"].value = 2
    assert list(explorer.plans["by hand"]) == [0, 1]
    explorer.controls["scenario"].value = "as_printed"
    assert list(explorer.plans) == ["by hand", "Optimal"]


def test_the_menus_offer_what_there_is(explorer):
    controls = explorer.controls
    assert controls["blocks"].options == tuple(range(1, 13))
    assert {"Look-ahead", "Myopic"} < set(controls["method"].options)
    controls["method"].value = "Look-ahead"
    controls["scenario"].value = "as_printed"
    assert "Optimal" in controls["method"].options
    assert not {"Look-ahead", "Myopic"} & set(controls["method"].options)
    assert list(explorer.plans) == [controls["method"].value, "Optimal"] == ["Greedy", "Optimal"]
    assert not np.any(explorer.slot.backlog)
    controls["network"].value = "vgg16"
    assert controls["blocks"].options == tuple(range(1, 22))
    assert controls["blocks"].value == 3
    controls["method"].value = "Optimal"
    assert list(explorer.plans) == ["Optimal"]


def test_a_page_that_shows_a_slider_at_a_step_changes_nothing():
    explorer = Explorer()
    before = explorer.numbers.value
    explorer.speeds[1].value = round(explorer.speeds[1].value, 1)
    explorer.controls["uplink"].value = 10**0.14
    assert explorer.numbers.value == before
    explorer.speeds[2].value += 0.1
    assert explorer.numbers.value != before


def test_a_scenario_of_ones_own():
    network = mecpart.make_network([2e9, 6e9], device_rate_range=(1e5, 3e5), num_devices=4)
    workload = mecpart.workload("alexnet", 2)
    scenario = mecpart.loaded(workload, network, 20.0, [0.3, 0.5], slot_seconds=2.0, arrivals="poisson")
    explorer = Explorer(scenario, "Single cut")
    assert explorer.controls["network"].options[0] == "alexnet (given)"
    assert explorer.controls["blocks"].options == (2,)
    assert explorer.controls["servers"].options == (1, 2)
    shown = explorer.scenario
    assert shown.workload.block_names == workload.block_names
    np.testing.assert_array_equal(shown.workload.macs, workload.macs)
    assert (float(shown.release_rate), float(shown.deadline), float(shown.slot_seconds)) == (20, pytest.approx(0.4), 2)
    np.testing.assert_allclose(shown.network.speed, network.speed)
    np.testing.assert_allclose(shown.network.device_frequency, network.device_frequency)
    np.testing.assert_allclose(shown.network.device_rate_range, network.device_rate_range)
    np.testing.assert_allclose(float(numbers(explorer)["Myopic"][0]), least(shown, explorer.slot), rtol=1e-3)
    explorer.controls["network"].value = "nin"
    assert explorer.scenario.workload.name == "nin"


@pytest.mark.parametrize("rules", mecpart.SCENARIOS)
def test_measured_devices_with_blocks_that_cannot_run_and_links_that_do_not_exist(rules):
    scenario = drawn(1, rules=rules)
    explorer = Explorer(scenario)
    assert float(scenario.links.rate[0, 1]) == 0
    best = min(by_hand(scenario, np.zeros(3), plan)[0] for plan in PLANS)
    name = "Myopic" if rules == "loaded" else "Optimal"
    np.testing.assert_allclose(float(numbers(explorer)[name][0]), best, rtol=1e-3)
    explorer.nodes[0].value = 1
    assert numbers(explorer)["by hand"][0] == format_number(np.inf)
    explorer.controls["uplink"].value *= 2
    explorer.speeds[2].value = 0
    explorer.speeds[2].value = 1
    assert set(numbers(explorer)) == {"by hand", name}


def test_a_node_that_runs_nothing_may_stand_before_others():
    """Its speed is 0, as if it did not exist."""
    scenario = drawn(4)
    seconds = np.array(scenario.times.seconds)
    seconds[:, 1] = np.inf
    explorer = Explorer(mecpart.measured(replace(scenario.times, seconds=seconds), scenario.links))
    assert explorer.controls["servers"].value == 2
    np.testing.assert_array_equal(explorer.scenario.times.seconds, np.float32(seconds))
    explorer.speeds[1].value = 2
    np.testing.assert_array_equal(explorer.scenario.times.seconds, np.float32(seconds))


@pytest.fixture
def own():
    """Registers methods, and forgets them."""
    names = []

    def register(name, *given, by=mecpart.register_policy, **options):
        by(name, *given, **options)
        names.append(name)

    yield register
    for name in names:
        mecpart.unregister(name)


def test_methods_of_ones_own(own):
    network = mecpart.make_network([3e9, 6e9])
    scenario = mecpart.as_printed(mecpart.workload("alexnet", 3), network)
    own("last", lambda scenario, slot, key: jnp.array([0, 1, 2]))
    own("plain", lambda scenario, slot, key: [0, 2, int(slot.backlog[0])], on_host=True)
    own("agent", lambda observation: jnp.argmax(observation[:3]) * jnp.ones(3, jnp.int32), by=mecpart.register_agent)
    own("elsewhere", lambda scenario, slot, key: jnp.zeros(3, jnp.int32), scenario="loaded")
    own("lost", lambda scenario, slot, key: jnp.array([0, 1, 7]))
    explorer = Explorer(scenario, "last")
    assert explorer.plans["last"].tolist() == [0, 1, 2]
    assert "elsewhere" not in explorer.controls["method"].options
    explorer.controls["method"].value = "plain"
    assert explorer.plans["plain"].tolist() == [0, 2, 0]
    explorer.controls["method"].value = "agent"
    assert len(explorer.plans["agent"]) == 3
    explorer.controls["method"].value = "lost"
    assert "plan must be 3 integers from 0 to 2; got node 7" in explorer.numbers.value
    assert explorer.picture.value == b""
    explorer.controls["method"].value = "last"
    assert "last" in explorer.numbers.value
    assert explorer.picture.value


def test_without_a_kernel_the_picture_stands_in(explorer):
    shown = explorer._repr_mimebundle_()
    assert base64.b64decode(shown["image/png"]) == explorer.picture.value
    assert bytes(explorer.picture.value).startswith(b"\x89PNG")
    assert "application/vnd.jupyter.widget-view+json" in shown


def test_unknown_names_are_refused(refused):
    with refused("scenario", "'printed'", "'as_printed'", "'loaded'"):
        Explorer("printed")
    with refused("method", "'Look-ahead'", "'Greedy'"):
        Explorer("as_printed", "Look-ahead")
    network = mecpart.make_network([3e9], device_rate_range=(0.0, 1e6))
    scenario = mecpart.as_printed(mecpart.workload("nin", 2), network)
    with refused("device_rate_range", "got 0", "above 0"):
        Explorer(scenario)


# In JupyterLab -------------------------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path):
    """The address of JupyterLab over a copy of the notebook, with settings of its own and a kernel of this Python."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook = nbformat.read(notebooks_folder() / "explorer.ipynb", as_version=4)
    told = "import sys, mecpart\nprint('kernel of', sys.executable, mecpart.__file__)"
    notebook.cells.append(new_code_cell(told, id="told"))
    nbformat.write(notebook, folder / "explorer.ipynb")
    # Jupyter looks "python3" up by name, which may well stand for another interpreter.
    kernel = tmp_path / "share" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    launch = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": launch, "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    own = {name: str(tmp_path / name.lower()) for name in (
        "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR",
    )}  # fmt: skip
    settings = tmp_path / "jupyterlab_settings_dir" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    environment = {
        **os.environ,
        **own,
        "JUPYTER_PATH": str(tmp_path / "share"),
        "PJRT_NPROC": "1",
    }
    token = secrets.token_hex(16)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0",
        "--ServerApp.allow_root=True", f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}",
    ]  # fmt: skip
    log = tmp_path / "lab.log"
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        runtime = tmp_path / "jupyter_runtime_dir"
        while not (found := list(runtime.glob("jpserver-*.json"))):
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
        address = json.loads(found[0].read_text())["url"]
        yield f"{address}lab/tree/explorer.ipynb?{urlencode({'token': token})}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def expected(release_rate, changed=()):
    """(total delay of Greedy's plan, of the best plan) at a release rate, in the setting that the explorer begins with,
    as the page shows them: by the equations of the tests. `changed` are nodes by block that are not
    Greedy's."""
    network = mecpart.sample_network(jax.random.key(0), 4)
    scenario = mecpart.as_printed(mecpart.workload("vgg16", 6), network, release_rate)
    slot = mecpart.sample_slot(jax.random.key(0), scenario)
    plan = np.array(mecpart.POLICIES["Greedy"](scenario, slot, None))
    for block, node in dict(changed).items():
        plan[block] = node
    total = equations.cost_of(scenario, slot, plan).total_delay, least(scenario, slot)
    return [format_number(float(delay)) for delay in total]


@in_browser
def test_a_slider_moves_in_jupyterlab(lab, tmp_path):
    with sync_playwright() as playwright:
        # High, for JupyterLab renders only what is in view.
        view = {"width": 1360, "height": 2400}
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "chromium", executable_path=CHROMIUM, args=OFFLINE, viewport=view
        )
        page = browser.new_page()
        page.set_default_timeout(120_000)
        expect.set_options(120_000)
        page.goto(lab)
        expect(page.locator(".jp-Notebook .jp-CodeCell").first).to_be_visible()
        expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        kernel = page.locator(".jp-OutputArea-output", has_text="kernel of")
        expect(kernel).to_have_text(f"kernel of {sys.executable} {mecpart.__file__}")

        delays = page.locator(".mecpart-numbers td:nth-child(2)")
        picture = page.locator(".widget-image")
        expect(delays).to_have_text(expected(60))
        first = picture.get_attribute("src")
        page.screenshot(path=tmp_path / "before.png")
        release = page.locator(".widget-slider", has_text="release rate")
        release.locator(".noUi-handle").press("ArrowRight")
        expect(release.locator(".widget-readout")).to_have_text("61")
        expect(delays).to_have_text(expected(61))
        expect(picture).not_to_have_attribute("src", first)
        second = picture.get_attribute("src")

        # By the mouse, on the way through many values.
        handle, track = release.locator(".noUi-handle").bounding_box(), release.locator(".noUi-base").bounding_box()
        page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
        page.mouse.down()
        page.mouse.move(track["x"] + 0.8 * track["width"], handle["y"] + handle["height"] / 2, steps=30)
        page.mouse.up()
        reached = int(release.locator(".widget-readout").inner_text())
        assert 140 < reached < 180
        expect(delays).to_have_text(expected(reached))
        expect(picture).not_to_have_attribute("src", second)

        # By hand: the second block on the last server.
        assert page.locator(".widget-toggle-buttons").count() == 6
        page.locator(".widget-toggle-buttons").nth(1).get_by_role("button", name="ES 4").click()
        expect(page.locator(".mecpart-numbers th").filter(has_text="by hand")).to_be_visible()
        expect(delays).to_have_text(expected(reached, {1: 4}))
        assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 800
        assert page.locator(".jp-OutputArea-output[data-mime-type*=error], [data-mime-type*=stderr]").count() == 0
        page.screenshot(path=tmp_path / "after.png")
        browser.close()
