"""The notebook in a real JupyterLab, in a real browser: Run All Cells, and what a reader sees.

Needs Playwright's Python package and Debian's Chromium. Screenshots for a person to look at go to
the folder that SCREENSHOTS names, if it is set.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
try:
    from playwright.sync_api import Page, sync_playwright
except ImportError:
    sync_playwright = None

if not os.environ.get("CI") and not (CHROMIUM and sync_playwright):
    pytest.skip("needs Chromium and the playwright package", allow_module_level=True)


def children(pid: int) -> list[int]:
    """Return the ids of all processes that `pid` started, directly or not (Linux)."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *children(child)]
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab over a copy of the project, on a free loopback port; yields its address."""
    home = tmp_path_factory.mktemp("lab")
    project = home / "project"
    project.mkdir()
    shutil.copy(ROOT / "GAN_for_MNIST.ipynb", project)
    shutil.copytree(ROOT / "runs" / "reference", project / "runs" / "reference")
    # Draw all cells, also those far from the screen, so that all can be looked at.
    settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += [f"--port={port}", f"--IdentityProvider.token={token}", "--ip=127.0.0.1"]
    scratch = {"HOME": str(home), "TMPDIR": str(home), "JUPYTER_CONFIG_DIR": str(home / "config")}
    environment = os.environ | scratch | {"JUPYTER_PLATFORM_DIRS": "1", "RUNS_DIR": "runs"}
    log = open(home / "lab.log", "w")
    server = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api?token={token}", timeout=5)
            break
        except OSError:
            time.sleep(0.5)
    yield f"{address}/lab/tree/GAN_for_MNIST.ipynb?token={token}"
    everyone = [server.pid, *children(server.pid)]
    everyone += [info["pid"] for info in boards(home)]
    server.send_signal(signal.SIGTERM)
    for pid in reversed(everyone):
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
    server.wait(timeout=20)
    log.close()


def boards(home: Path) -> list[dict]:
    """Return what TensorBoard's servers, started below `home`, say of themselves."""
    return [json.loads(path.read_text()) for path in home.glob(".tensorboard-info/*.info")]


@pytest.fixture(scope="module")
def page(lab):
    """The notebook's page, after Run All Cells."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(lab)
        page.locator(".jp-Notebook").wait_for(timeout=60_000)
        page.locator(".jp-CodeCell").nth(20).wait_for(timeout=60_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        wait_until_idle(page)
        yield page
        browser.close()


def wait_until_idle(page: "Page", seconds: int = 170) -> None:
    """Wait until the kernel, once busy, has nothing left to do."""
    deadline = time.monotonic() + seconds
    status = page.locator(".jp-Notebook-ExecutionIndicator").first
    page.wait_for_timeout(3000)
    while time.monotonic() < deadline:
        if status.get_attribute("data-status") == "idle":
            return
        page.wait_for_timeout(500)
    raise AssertionError("The notebook did not come to its end in time.")


def cell(page: "Page", text: str):
    """Return the code cell whose source has `text`, scrolled into view."""
    found = page.locator(".jp-CodeCell").filter(has_text=text).first
    found.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    return found


def keep(page: "Page", name: str) -> None:
    """Save a screenshot for a person, if one asked for it."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_no_cell_shows_an_error(page):
    keep(page, "end")
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
    assert prompts
    assert not [prompt for prompt in prompts if "*" in prompt]


def test_the_progress_bar_reached_its_end(page):
    training = cell(page, "run = train(config, loader")
    keep(page, "training")
    bar = training.locator(".widget-hprogress, .jupyter-widgets-progress, progress").first
    assert bar.count() == 1
    assert "100%" in training.inner_text()


def test_tensorboard_shows_curves_and_both_grids_inside_the_page(page):
    board = cell(page, "%tensorboard")
    frame = board.locator("iframe").content_frame
    filter_tags = frame.get_by_role(
        "combobox", name="Filter tags"
    )  # a page holds twelve cards of a kind
    filter_tags.wait_for(timeout=60_000)
    for tag, kind in (
        ("images/fake", "image-card"),
        ("images/real", "image-card"),
        ("loss/discriminator", "scalar-card"),
    ):
        filter_tags.fill(tag)
        card = frame.locator(kind).filter(has_text=tag.removeprefix(tag.split("/")[0])).first
        picture = card.locator("img") if kind == "image-card" else card
        picture.first.wait_for(timeout=60_000)
        keep(page, f"tensorboard-{tag.replace('/', '-')}")
    filter_tags.fill("")


def test_tensorboard_listens_on_this_machine_only(page, lab):
    board = cell(page, "%tensorboard").locator("iframe").first
    port = board.evaluate("frame => new URL(frame.src).port")
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    places = {line.split()[1] for line in listening if line.split()[3] == "0A"}
    places = {place for place in places if int(place.split(":")[1], 16) == int(port)}
    assert places == {f"0100007F:{int(port):04X}"}


def test_the_film_is_an_animated_picture_with_a_size(page):
    film = cell(page, "Film: grey noise").locator("img").first
    assert film.get_attribute("src").startswith("data:image/gif;base64,")
    assert film.evaluate("image => image.naturalWidth") > 200
    keep(page, "film")


def test_the_slider_changes_the_digit(page):
    section = cell(page, "explore(writer, loop)")
    picture = section.locator(".jupyter-widgets img").first
    before = picture.get_attribute("src")
    (handle,) = section.get_by_role("slider").all()
    handle.focus()
    for _ in range(20):
        handle.press("ArrowRight")
    page.wait_for_timeout(1500)
    keep(page, "slider")
    assert picture.get_attribute("src") != before
