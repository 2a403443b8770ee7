"""The explorer: what it shows at each setting, that nothing is compiled while a slider moves, and in JupyterLab."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from urllib.parse import urlencode

import equations
import jax
import nbformat
import pytest
from chromium import CHROMIUM, OFFLINE, in_browser
from nbformat.v4 import new_code_cell
from playwright.sync_api import expect, sync_playwright

import mecpart
from mecpart.locations import notebooks_folder
from mecpart.tables import format_number


def least(scenario, slot):
    plans = equations.all_plans(scenario.num_blocks, scenario.num_nodes)
    return equations.cost_of(scenario, slot, plans).total_delay.min()


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
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
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


def expected(release_rate):
    """(total delay of Greedy's plan, of the best plan) at a release rate, in the setting that the explorer begins with,
    as the page shows them: by the equations of the tests."""
    network = mecpart.sample_network(jax.random.key(0), 4)
    scenario = mecpart.as_printed(mecpart.workload("vgg16", 6), network, release_rate)
    slot = mecpart.sample_slot(jax.random.key(0), scenario)
    greedy = mecpart.POLICIES["Greedy"](scenario, slot, None)
    total = equations.cost_of(scenario, slot, greedy).total_delay, least(scenario, slot)
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
        T = time.time()
        page.goto(lab)
        expect(page.locator(".jp-Notebook .jp-CodeCell").first).to_be_visible()
        print("page", time.time() - T)
        expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible()
        print("idle", time.time() - T)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        kernel = page.locator(".jp-OutputArea-output", has_text="kernel of")
        expect(kernel).to_have_text(f"kernel of {sys.executable} {mecpart.__file__}")
        print("run", time.time() - T)

        delays = page.locator(".mecpart-numbers td:nth-child(2)")
        picture = page.locator(".widget-image")
        expect(delays).to_have_text(expected(60))
        first = picture.get_attribute("src")
        page.screenshot(path=tmp_path / "before.png")
        release = page.locator(".widget-slider", has_text="release rate")
        release.locator(".noUi-handle").press("ArrowRight")
        expect(release.locator(".widget-readout")).to_have_text("61")
        expect(delays).to_have_text(expected(61))
        second = picture.get_attribute("src")
        assert second != first

        # By the mouse, on the way through many values.
        handle, track = release.locator(".noUi-handle").bounding_box(), release.locator(".noUi-base").bounding_box()
        page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
        page.mouse.down()
        page.mouse.move(track["x"] + 0.8 * track["width"], handle["y"] + handle["height"] / 2, steps=30)
        page.mouse.up()
        reached = int(release.locator(".widget-readout").inner_text())
        assert 140 < reached < 180
        expect(delays).to_have_text(expected(reached))
        assert picture.get_attribute("src") not in (first, second)
        assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 800
        assert page.locator(".jp-OutputArea-output[data-mime-type*=error], [data-mime-type*=stderr]").count() == 0
        page.screenshot(path=tmp_path / "after.png")
        print("end", time.time() - T)
        for name in ("before", "after"):
            shutil.copy(tmp_path / f"{name}.png", "/tmp/h4shots/")
        browser.close()
