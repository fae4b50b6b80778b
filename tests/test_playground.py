"""The playground: its output, and how it plays in a real browser, with and without trust.

The tests in a browser need Playwright's Python package and Debian's Chromium.
"""

import base64
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress

import nbformat
import pytest
import torch
from torch import nn

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    sync_playwright = None

in_browser = pytest.mark.skipif(
    not os.environ.get("CI") and not (CHROMIUM and sync_playwright),
    reason="needs Chromium and the playwright package",
)
CANVAS = """() => {
    const {data} = pad.getContext("2d").getImageData(0, 0, width, height);
    return [...data].filter((_, i) => i % 4 < channels);
}"""


def make(nb, **options):
    """Return a small generator whose batch normalisation has seen something."""
    torch.manual_seed(0)
    generator = nb.DieGenerator(widths=(64, 96), **options)
    generator.load_state_dict({k: v * 2 for k, v in generator.state_dict().items()})
    for _ in range(20):
        generator(generator.latent(100))
    return generator


def output(nb, generator) -> dict[str, str]:
    """Return what the playground of a generator shows."""
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nb, "display", lambda bundle, raw: shown.append(bundle))
        nb.playground(generator)
    (bundle,) = shown
    return bundle


@pytest.fixture(scope="module")
def die(nb):
    return make(nb)


@pytest.fixture(scope="module")
def notebook(nb, die, tmp_path_factory):
    """A file with two playgrounds that have been run: of a die, and of labels."""
    cells = []
    for generator in (die, make(nb, faces=10, conditional=True)):
        data = output(nb, generator)
        shown = nbformat.v4.new_output("display_data", data=data)
        cell = nbformat.v4.new_code_cell("playground(run)", outputs=[shown], execution_count=1)
        cells.append(cell)
    path = tmp_path_factory.mktemp("playground") / "two.ipynb"
    kernel = {"name": "python3", "display_name": "Python 3"}  # or JupyterLab would ask for one
    metadata = {"kernelspec": kernel}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def export(notebook) -> str:
    """Return nbconvert's HTML of a notebook."""
    from nbconvert import HTMLExporter  # here, since loading it is slow

    return HTMLExporter().from_filename(str(notebook))[0]


# ---- the output


def test_one_output_holds_a_page_a_picture_and_a_text(nb, die):
    assert set(output(nb, die)) == {"text/html", "image/png", "text/plain"}


def test_the_still_picture_is_in_the_html_too(nb, die):
    bundle = output(nb, die)
    assert f"base64,{bundle['image/png']}" in bundle["text/html"].split("</iframe>")[1]
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")


def test_a_sentence_says_what_stands_there_where_scripts_run(nb, die):
    bundle = output(nb, die)
    assert f"<p>{bundle['text/plain']}</p>" in bundle["text/html"]
    assert "Where scripts run" in bundle["text/plain"]


def test_the_output_is_smaller_than_1200_kilobytes(nb):
    assert sum(map(len, output(nb, nb.DieGenerator()).values())) < 1_200_000


def test_showing_it_leaves_the_generator_as_it_was(nb, die):
    before = {name: value.clone() for name, value in die.state_dict().items()}
    output(nb, die)
    assert die.training
    assert all(torch.equal(value, before[name]) for name, value in die.state_dict().items())


def test_a_generator_of_convolutions_is_refused_with_a_sentence(nb):
    generator = nn.Sequential(nn.ConvTranspose2d(100, 1, 28), nn.Tanh())
    with pytest.raises(TypeError, match="linear layers"):
        nb.playground(generator)


@pytest.mark.parametrize(("place", "layer"), [(2, nn.GELU()), (-2, nn.Sigmoid())], ids=str)
def test_other_activations_are_refused_rather_than_drawn_wrong(nb, place, layer):
    generator = nb.Generator()
    generator.layers[place] = layer
    with pytest.raises(TypeError, match="linear layers"):
        nb.playground(generator)


# ---- in the browser


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser, notebook):
    """nbconvert's HTML of the notebook, opened from the disk with the network cut."""
    html = notebook.with_suffix(".html")
    html.write_text(export(notebook))
    page = browser.new_page(offline=True)
    page.asked, page.wrong = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.goto(html.as_uri(), wait_until="domcontentloaded")
    playgrounds(page)
    yield page
    page.close()


def playgrounds(page) -> list:
    """Return the frames of the page's playgrounds, as soon as they have drawn."""
    for place in page.locator("iframe[title=Playground]").all():
        expect(place.content_frame.locator("#pad")).to_have_attribute("width", "28")
    places = page.locator("iframe[title=Playground]").element_handles()
    return [place.content_frame() for place in places]


@pytest.fixture
def frame(page):
    """The frame of the die's playground, at the middle of its square."""
    frame = playgrounds(page)[0]
    frame.evaluate("show(0, 0, 0)")
    return frame


def differences(nb, generator, frame) -> torch.Tensor:
    """Return how far the canvas is from `draw`, for each pixel, of 255."""
    drawn = nb.draw(generator, torch.tensor([frame.evaluate("latent")]))[0] * 255
    return (drawn.permute(1, 2, 0).flatten() - torch.tensor(frame.evaluate(CANVAS))).abs()


@in_browser
@pytest.mark.parametrize("place", ["0, 0, 0", "1, -1, 7", "-0.3, 0.9, 19"])
def test_the_canvas_is_what_draw_draws(nb, die, frame, place):
    frame.evaluate(f"show({place})")
    found = differences(nb, die, frame)
    assert found.mean() <= 3
    assert found.max() <= 12


@in_browser
@pytest.mark.parametrize(
    "options",
    [
        {"faces": 0, "latent_dim": 30},
        {"faces": 0, "batch_norm": False},
        {"faces": 10, "conditional": True},
        {"shape": (3, 9, 7)},
    ],
    ids=str,
)
def test_any_generator_of_linear_layers_can_be_played_with(nb, browser, options):
    generator = make(nb, **options)
    page = browser.new_page()
    page.set_content(output(nb, generator)["text/html"])
    frame = page.frames[1]
    frame.wait_for_function("latent")
    found = differences(nb, generator, frame)
    page.close()
    assert found.max() <= 12


@in_browser
def test_the_picture_is_at_least_280_pixels_wide(frame):
    assert frame.locator("#pad").bounding_box()["width"] >= 280


@in_browser
def test_the_picture_follows_the_pointer(page, frame):
    before = frame.evaluate(CANVAS)
    box = frame.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + 150, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 225, box["y"] + 75)
    page.mouse.up()
    assert frame.evaluate("[x, y]") == pytest.approx([0.5, 0.5], abs=0.02)
    assert frame.evaluate(CANVAS) != before


@in_browser
@pytest.mark.parametrize(
    ("key", "place"),
    [("Left", [-0.1, 0]), ("Right", [0.1, 0]), ("Up", [0, 0.1]), ("Down", [0, -0.1])],
)
def test_an_arrow_key_moves_by_a_tenth(frame, key, place):
    before = frame.evaluate(CANVAS)
    frame.locator("#pad").press(f"Arrow{key}")
    assert frame.evaluate("[x, y]") == place
    assert frame.evaluate(CANVAS) != before


@in_browser
def test_the_tab_key_leaves_the_picture(frame):
    frame.locator("#pad").press("Tab")
    assert frame.evaluate("document.activeElement.textContent") == "0"


@in_browser
def test_no_arrow_leads_out_of_the_square(frame):
    frame.evaluate("show(0.95, 0)")
    frame.locator("#pad").press("ArrowRight")
    assert frame.evaluate("x") == 1


@in_browser
def test_a_button_shows_its_face(frame):
    before = frame.evaluate(CANVAS)
    frame.get_by_role("button", name="face 7", exact=True).click()
    assert frame.evaluate("latent.slice(-20).indexOf(3)") == 7
    assert frame.evaluate(CANVAS) != before


@in_browser
def test_one_face_is_pressed_for_a_screen_reader(frame):
    frame.get_by_role("button", name="face 7", exact=True).click()
    assert frame.get_by_role("button", pressed=True).all_inner_texts() == ["7"]


@in_browser
def test_another_style_draws_new_normal_numbers_and_keeps_the_face(frame):
    frame.evaluate("show(0, 0, 5)")
    before = frame.evaluate("latent")
    frame.get_by_role("button", name="another style").click()
    now = frame.evaluate("latent")
    assert now[-20:] == before[-20:]
    assert all(first != second for first, second in zip(now[:-20], before[:-20]))


@in_browser
def test_a_screen_reader_is_told_where_one_is(frame):
    frame.evaluate("show(0.5, -0.25)")
    square = frame.get_by_role("slider", name=re.compile("drag"))
    assert square.evaluate("pad => pad.ariaValueText") == "0.5 to the right, -0.3 up"


@in_browser
def test_a_playground_of_labels_has_one_button_for_each(page):
    names = playgrounds(page)[1].get_by_role("button", name="face").all_inner_texts()
    assert names == [str(label) for label in range(10)]


@in_browser
def test_a_picture_takes_less_than_20_milliseconds(nb, browser):
    page = browser.new_page()
    page.set_content(output(nb, nb.DieGenerator())["text/html"])
    page.frames[1].wait_for_function("latent")
    loop = "(() => { const t = performance.now(); for (let i = 0; i < 20; i++) show(i / 20, 0);"
    took = page.frames[1].evaluate(loop + " return (performance.now() - t) / 20; })()")
    page.close()
    assert took < 20


@in_browser
def test_two_playgrounds_live_on_one_page(page):
    first, second = playgrounds(page)
    before = second.evaluate("latent")
    first.evaluate("deal()")
    assert second.evaluate("latent") == before


@in_browser
def test_the_pages_own_document_gets_no_id(page):
    own = page.locator(".jp-OutputArea-output [id]")
    assert page.locator(".jp-OutputArea-output iframe").count() == 2
    assert own.count() == 0


@in_browser
def test_the_still_picture_is_out_of_sight_where_the_playground_lives(page):
    still = page.locator(".jp-OutputArea-output img").first
    frame = page.locator("iframe[title=Playground]").first.bounding_box()
    wrapper = still.locator("xpath=..").bounding_box()
    assert still.bounding_box()["y"] >= frame["y"] + frame["height"]
    assert wrapper["height"] <= frame["height"] + 1


@in_browser
def test_no_request_leaves_the_page(page, notebook, tmp_path):
    path = tmp_path / "empty.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), path)
    without = export(path)  # nbconvert asks for two scripts, whatever the notebook holds
    local = "file:", "data:", "about:", "blob:"
    asked = [url for url in page.asked if not url.startswith(local)]
    assert [url for url in asked if url not in without] == []


@in_browser
def test_the_page_inside_may_not_reach_the_network(frame):
    tried = "fetch('https://example.org/').then(() => 'reached', error => error.message)"
    with frame.page.expect_event("console", lambda message: "Content Security" in message.text):
        assert frame.evaluate(tried) != "reached"


@in_browser
def test_nothing_goes_wrong_in_the_page_inside(page):
    assert [error for error in page.wrong if "require" not in error.lower()] == []


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_buttons_can_be_read_in_light_and_dark(browser, notebook, page, scheme):
    own = browser.new_page(offline=True, color_scheme=scheme)
    own.goto(notebook.with_suffix(".html").as_uri(), wait_until="domcontentloaded")
    frame = playgrounds(own)[0]
    colours = frame.locator("button").first.evaluate(
        "b => [getComputedStyle(b).color, getComputedStyle(b).backgroundColor]"
    )
    own.close()
    text, ground = (sum(map(float, re.findall(r"[\d.]+", c)[:3])) / 3 for c in colours)
    assert abs(text - ground) > 120
    assert (text > ground) == (scheme == "dark")


# ---- in JupyterLab and Notebook


@pytest.fixture(scope="module")
def jupyter(notebook, tmp_path_factory):
    """Return a context: the address of the notebook in an application, trusted or not."""
    python = [sys.executable, "-m", "jupyter"]

    @contextmanager
    def start(application: str, trusted: bool):
        home = tmp_path_factory.mktemp("jupyter")  # of its own: what is trusted is kept there
        project = home / "project"
        project.mkdir()
        scratch = {"HOME": home, "TMPDIR": home, "JUPYTER_CONFIG_DIR": home / "config"}
        environment = os.environ | {name: str(path) for name, path in scratch.items()}
        environment["JUPYTER_PLATFORM_DIRS"] = "1"
        path = shutil.copy(notebook, project)
        if trusted:
            subprocess.run([*python, "trust", path], env=environment, check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        token = secrets.token_hex(16)
        command = [*python, application, "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--port={port}", f"--IdentityProvider.token={token}"]
        with open(home / "log", "w") as log:
            server = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
            try:
                for _ in range(120):
                    with suppress(OSError):
                        url = f"http://127.0.0.1:{port}/api?token={token}"
                        urllib.request.urlopen(url, timeout=5)
                        break
                    time.sleep(0.25)  # until the server answers
                tree = "lab/tree" if application == "lab" else "notebooks"
                yield f"http://127.0.0.1:{port}/{tree}/{notebook.name}?token={token}"
            finally:
                server.kill()  # it has no kernel, and nothing to save
                server.wait(timeout=60)

    return start


@in_browser
@pytest.mark.parametrize("application", ["lab", "notebook"])
def test_it_lives_in_a_trusted_notebook(nb, die, browser, jupyter, application):
    with jupyter(application, True) as address:
        page = browser.new_page()
        page.goto(address)
        page.locator("iframe[title=Playground]").first.wait_for(timeout=30_000)
        frame = playgrounds(page)[0]
        frame.get_by_role("button", name="face 3", exact=True).click()
        found = differences(nb, die, frame)
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/playground-{application}.png")
        page.close()
    assert found.max() <= 12


@in_browser
def test_an_untrusted_jupyterlab_shows_the_still_picture(browser, jupyter):
    with jupyter("lab", False) as address:
        page = browser.new_page()
        page.goto(address)
        still = page.locator(".jp-OutputArea-output img").first
        still.wait_for(timeout=30_000)
        shown = still.evaluate("image => image.naturalWidth"), still.is_visible()
        sentence = page.locator(".jp-OutputArea-output p").first.inner_text()
        frames = page.locator("iframe[title=Playground]").count()
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/playground-untrusted.png")
        page.close()
    assert shown[0] > 200
    assert shown[1]
    assert "Where scripts run" in sentence
    assert frames == 0
