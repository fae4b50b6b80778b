"""The live games outside of the notebook: one page of all three, a film, and how fast they play.

Usage: python tests/measure/alive.py [--page FILE.html] [--write] [--film FILE.gif] [--speed]

`--write` writes the page, with the generator of runs/reference. `--film` lets its digits be born
once more, and `--speed` times them in Chromium: seconds from *play* to some steps, and pictures a
second with the processor throttled fourfold. Both need playwright and Chromium; the times need a
machine with nothing else to do.
"""

import argparse
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from io import BytesIO
from pathlib import Path

import shared
from PIL import Image
from shared import nb
from torch import Tensor, nn

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HEAD = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>GANs, alive</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
  body { max-width: 860px; margin: 24px auto; padding: 0 12px; }
</style>
<h1>GANs, alive</h1>
<p>Three pages to play with. Each is plain JavaScript in this one file: nothing is installed, and
nothing comes from elsewhere.</p>
"""
DIGITS = """<h2>A GAN that learns to write digits</h2>
<p>Press <em>play</em>. The generator starts from nothing; the discriminator has a thousand real
digits to compare with. After some seconds you see strokes, and then digits.</p>
"""
RING = """<h2>The same game in the plane</h2>
<p>The real points are eight clouds on a ring. The map is blue where the discriminator says real
and red where it says fake; each dot is a fake, and its line shows where its loss sends it.</p>
"""
PLAYGROUND = """<h2>A generator that has learned</h2>
<p>This one has learned from all of MNIST. Press a face, then drag across the large picture.</p>
"""
FOOT = """<hr>
<p>All of this is explained, and built in PyTorch, in GAN_for_MNIST.ipynb.</p>
</html>
"""


def html_of(function, *arguments) -> str:
    """Return the last output of a function of the page as HTML."""
    shown, display = [], nb.display
    nb.display = lambda output, **_: shown.append(output)
    try:
        function(*arguments)
    finally:
        nb.display = display
    return shown[-1]["text/html"]


def write_alive(path: Path, images: Tensor, generator: nn.Module) -> None:
    """Write digits, ring and playground in one file, for a double-click, and the last apart."""
    digits, ring = html_of(nb.live_digits, images), html_of(nb.ring)
    playground = html_of(nb.playground, generator)
    parts = HEAD, DIGITS, digits, RING, ring, PLAYGROUND, playground, FOOT
    path.write_text("\n".join(parts), encoding="utf-8")
    path.with_name("playground.html").write_text(playground, encoding="utf-8")


@contextmanager
def open_digits(page: Path) -> Iterator:
    """Open the live digits of a page that `write_alive` wrote, alone and off the network."""
    from playwright.sync_api import sync_playwright  # here, since only some need it

    html = unescape(re.search('srcdoc="([^"]*)"', page.read_text(encoding="utf-8"))[1])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        size = {"width": 700, "height": 396}
        opened = browser.new_page(offline=True, viewport=size, device_scale_factor=0.8)
        opened.set_content(html)
        yield opened
        browser.close()


def film(page: Path, path: Path, seed: int = 1, steps: int = 1500) -> None:
    """Film the live digits of a page, most closely while most happens; it plays three times."""
    pictures, count = [], 0
    with open_digits(page) as digits:
        digits.evaluate(f"() => {{ seed = {seed}; again(); }}")
        while count <= steps:
            digits.evaluate(f"news.textContent = 'step {count}'")
            picture = Image.open(BytesIO(digits.screenshot())).convert("RGB")
            pictures.append(picture.quantize(24, dither=Image.Dither.NONE))
            more = 5 if count < 100 else 20 if count < 400 else 50
            digits.evaluate(f"times({more}, () => [turnOfD(), turnOfG()]) && draw()")
            count += more
    times = [150] * (len(pictures) - 1) + [4000]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=times, loop=2)


def speed(page: Path) -> None:
    """Print how soon the live digits reach some steps, and how many pictures a second they show."""
    with open_digits(page) as digits:
        digits.evaluate("""() => {
            match.began = performance.now();
            match.reached = {};
            const turn = turnOfG;
            turnOfG = () => {
                turn();
                match.reached[match.steps] = (performance.now() - match.began) / 1000;
            };
            play();
        }""")
        while digits.evaluate("match.steps") < 1000:
            digits.wait_for_timeout(500)
        reached = digits.evaluate("match.reached")
    print("seconds to step", *(f"{count}: {reached[str(count)]:.1f}" for count in (100, 400, 1000)))
    with open_digits(page) as digits:
        digits.context.new_cdp_session(digits).send("Emulation.setCPUThrottlingRate", {"rate": 4})
        digits.evaluate("""() => {
            match.drawn = 0;
            const show = draw;
            draw = () => {
                show();
                match.drawn += 1;
            };
            play();
        }""")
        digits.wait_for_timeout(10_000)
        drawn = digits.evaluate("match.drawn")
    print(f"pictures a second, throttled fourfold: {drawn / 10:.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=shared.REFERENCE / "alive.html")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--film", type=Path)
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    if options.write:
        write_alive(options.page, shared.images, nb.load_generator(shared.REFERENCE))
    if options.film:
        film(options.page, options.film)
    if options.speed:
        print(shared.machine())
        speed(options.page)
