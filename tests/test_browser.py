"""The notebook in a real JupyterLab, in a real browser: Run All Cells, and what a reader sees.

Needs Playwright's Python package and Debian's Chromium. Screenshots for a person to look at go to
the folder that SCREENSHOTS names, if it is set.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import NOTEBOOK, ROOT, read_cells
from tensorboard import manager, version

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
try:
    from playwright.sync_api import Locator, Page, TimeoutError, expect, sync_playwright
except ImportError:
    sync_playwright = None

if not os.environ.get("CI") and not (CHROMIUM and sync_playwright):
    pytest.skip("needs Chromium and the playwright package", allow_module_level=True)

CODE = [cell for cell in read_cells() if cell["cell_type"] == "code"]
ROW = "img[alt^='Sixteen fakes by mlp, step']"
WATCH = f"""number => {{  // write down how many rows of fakes a cell shows, at each change
    window.rows = [];
    const look = () => {{
        const cell = document.querySelectorAll(".jp-CodeCell")[number];
        const now = cell.querySelectorAll("{ROW}").length;
        if (now != rows.at(-1)) rows.push(now);
    }};
    new MutationObserver(look).observe(document.body, {{childList: true, subtree: true}});
}}"""
IS_OVER = """() => {
    const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")];
    return /[0-9]/.test(prompts.at(-1).textContent)
        || document.querySelector("[data-mime-type='application/vnd.jupyter.error']");
}"""
PIXELS = """picture => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
    canvas.getContext("2d").drawImage(picture, 0, 0);
    return canvas.toDataURL();
}"""


def children(pid: int) -> list[int]:
    """Return the ids of all processes that `pid` started, directly or not (Linux)."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *children(child)]
    return found


def leave_note(home: Path, project: Path) -> int:
    """Leave the note of a TensorBoard that was killed, and that showed the same runs; return the
    port on which it listened.
    """
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    key = manager.cache_key(str(project), ["--logdir", str(project / "runs")], {})
    info = {"version": version.VERSION, "start_time": 1, "pid": dead.pid, "port": 9, "db": ""}
    info |= {"path_prefix": "", "logdir": str(project / "runs"), "cache_key": key}
    note = home / ".tensorboard-info" / f"pid-{dead.pid}.info"
    note.parent.mkdir()
    note.write_text(json.dumps(info))
    return info["port"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab over a copy of the project, on a free loopback port; its address, and the
    port of a TensorBoard that is dead.
    """
    home = tmp_path_factory.mktemp("lab")
    project = home / "project"
    # without the curves of the reference runs, so that those that are shown are this page's own
    reference = project / "runs" / "reference"
    shutil.copytree(
        ROOT / "runs" / "reference", reference, ignore=shutil.ignore_patterns("events.*")
    )
    shutil.copy(NOTEBOOK, project)
    # Draw all cells, also those far from the screen, so that all can be looked at.
    settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    dead_port = leave_note(home, project)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += [f"--port={port}", f"--IdentityProvider.token={token}", "--ip=127.0.0.1"]
    scratch = {"HOME": str(home), "TMPDIR": str(home), "JUPYTER_CONFIG_DIR": str(home / "config")}
    environment = os.environ | scratch | {"JUPYTER_PLATFORM_DIRS": "1", "RUNS_DIR": "runs"}
    with open(home / "lab.log", "w") as log:
        server = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
        for _ in range(120):
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=5)
                break
            time.sleep(0.5)
        address = f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK.name}?token={token}"
        yield SimpleNamespace(address=address, dead_port=dead_port)
        boards = [json.loads(path.read_text()) for path in home.glob(".tensorboard-info/*.info")]
        everyone = [server.pid, *children(server.pid), *(board["pid"] for board in boards)]
        for pid in reversed(everyone):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        server.wait(timeout=60)


@pytest.fixture(scope="module")
def page(lab):
    """The notebook's page, after Run All Cells."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(lab.address)
        page.locator(".jp-CodeCell").nth(len(CODE) - 1).wait_for()
        page.evaluate(WATCH, place("training"))
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        expect(page.locator(".jp-CodeCell .jp-InputPrompt").last).to_have_text("[*]:")
        page.wait_for_function(IS_OVER, timeout=600_000)
        yield page
        browser.close()


def place(name: str) -> int:
    """Return which of the code cells has a name in the file."""
    (number,) = (number for number, one in enumerate(CODE) if one["id"] == name)
    return number


def cell(page: "Page", name: str) -> "Locator":
    """Return the code cell that has a name in the file."""
    return page.locator(".jp-CodeCell").nth(place(name))


def keep(page: "Page", name: str, place: "Locator | None" = None) -> None:
    """Save a screenshot for a person, if one asked for it."""
    if folder := os.environ.get("SCREENSHOTS"):
        if place:
            place.scroll_into_view_if_needed()
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def pixels(picture: "Locator") -> str:
    """Return what a picture shows."""
    return picture.evaluate(PIXELS)


def wait_for(picture: "Locator", wish: Callable[[str, str], bool], pause: int = 50) -> None:
    """Look at a picture, and again after each pause, until both looks are as wished."""
    for _ in range(15_000 // pause):
        before = pixels(picture)
        picture.page.wait_for_timeout(pause)
        if wish(before, pixels(picture)):
            return
    raise AssertionError("The picture does not do what was wished.")


def test_no_cell_shows_an_error(page):
    keep(page, "end")
    errors = page.locator("[data-mime-type='application/vnd.jupyter.error']")
    assert errors.all_inner_texts() == []


def test_the_cells_of_bookkeeping_and_the_checks_are_folded(page, cells):
    folded = [c for c in cells if "cellView" in c["metadata"]]
    assert page.locator(".jp-CodeCell .jp-InputPlaceholder:visible").count() == len(folded)


def test_every_picture_has_a_description_and_a_width(page):
    pictures = page.locator(".jp-OutputArea-output img:not(.jupyter-widgets)")
    facts = "all => all.map(p => [p.alt, p.getAttribute('width'), p.naturalWidth])"
    found = pictures.evaluate_all(facts)
    assert len(found) > 20
    assert [fact for fact in found if not all(fact)] == []


def test_rows_of_fakes_appear_one_after_the_other_while_it_trains(page, nb):
    rows = page.evaluate("rows")
    rows = rows[rows.index(0) :]  # before, there were the fakes that came with the file
    keep(page, "training", cell(page, "training"))
    assert rows == sorted(rows)
    assert rows[-1] == nb.SIZE["epochs"]
    assert len(rows) > 2  # so not all at once


@pytest.mark.parametrize(
    ("tag", "kind", "inside"),
    [
        ("images/fake", "image-card", "img"),
        ("images/real", "image-card", "img"),
        ("loss", "scalar-card", "canvas, svg"),
    ],
)
def test_tensorboard_shows_curves_and_both_grids_inside_the_page(page, tag, kind, inside):
    board = cell(page, "open-tensorboard").locator("iframe").content_frame
    picture = board.locator(f"{kind}:visible").locator(inside).first
    for _ in range(20):  # its server reads new files every few seconds
        board.locator(".reload-button").click()
        with suppress(TimeoutError):
            board.get_by_role("combobox", name="Filter tags").fill(tag, timeout=3_000)
            picture.wait_for(timeout=3_000)
            break
    keep(page, f"tensorboard-{tag.replace('/', '-')}", cell(page, "open-tensorboard"))
    assert picture.is_visible()


def test_a_tensorboard_that_was_killed_is_not_shown(page, lab):
    board = cell(page, "open-tensorboard").locator("iframe").first
    assert board.evaluate("frame => new URL(frame.src).port") != str(lab.dead_port)


def test_tensorboard_listens_on_this_machine_only(page):
    board = cell(page, "open-tensorboard").locator("iframe").first
    port = board.evaluate("frame => new URL(frame.src).port")
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    places = {line.split()[1] for line in listening if line.split()[3] == "0A"}
    places = {place for place in places if int(place.split(":")[1], 16) == int(port)}
    assert places == {f"0100007F:{int(port):04X}"}


def test_the_film_is_an_animated_picture(page):
    film = cell(page, "curves").get_by_alt_text("Film: noise")
    keep(page, "film", film)
    assert film.get_attribute("src").startswith("data:image/gif;base64,")
    assert film.evaluate("image => image.naturalWidth") > 200


def test_the_playground_draws_the_face_that_one_asks_for(page):
    section = cell(page, "play-with-it")
    inside = section.frame_locator("iframe[title=Playground]")
    canvas = "pad => pad.toDataURL()"
    pad = inside.locator("#pad")
    section.scroll_into_view_if_needed()
    before = pad.evaluate(canvas)
    inside.get_by_role("button", name="face 7", exact=True).click()
    keep(page, "playground", section)
    assert pad.evaluate(canvas) != before


@pytest.fixture(scope="module")
def ring(page) -> SimpleNamespace:
    """The controls of the ring to play by hand, and the picture that they change."""
    section = cell(page, "ring-hands")
    picture = section.locator("img.widget-image")
    names = "turn of D", "turn of G", "reset"
    picture.click()  # the first click into a cell may scroll it away from under the pointer
    return SimpleNamespace(
        section=section,
        picture=picture,
        buttons={name: section.get_by_role("button", name=name) for name in names},
        play=section.locator(".widget-play button").first,  # it becomes the one for pause
    )


def test_the_ring_and_its_controls_fit_on_one_screen(ring):
    assert ring.section.locator(".widget-vbox").bounding_box()["height"] < 800


@pytest.mark.parametrize("name", ["turn of D", "turn of G"])
def test_a_step_on_the_ring_changes_the_picture(ring, name):
    before = pixels(ring.picture)
    ring.buttons[name].click()
    wait_for(ring.picture, lambda _, now: now != before)


def test_a_rate_of_the_ring_can_be_changed(ring):
    rate = ring.section.locator(".widget-slider").filter(has_text="lr_d")
    rate.get_by_role("slider").press("Home")  # the lowest
    expect(rate.locator(".widget-readout")).to_have_text(re.compile("0.00001|1e-5"))
    before = pixels(ring.picture)
    ring.buttons["turn of D"].click()
    wait_for(ring.picture, lambda _, now: now != before)


def test_the_ring_plays_until_it_is_paused(ring, page):
    ring.play.click()
    for _ in range(3):
        wait_for(ring.picture, lambda before, now: now != before)
    keep(page, "ring", ring.section)
    ring.play.click()
    wait_for(ring.picture, lambda before, now: now == before, pause=1500)


def test_reset_begins_the_ring_anew(ring):
    before = pixels(ring.picture)
    ring.buttons["reset"].click()
    wait_for(ring.picture, lambda _, now: now != before)
