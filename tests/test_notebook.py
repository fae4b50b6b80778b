"""The notebook as a page: its shape, what it shows and links to, and its exercises as printed."""

import ast
import base64
import gzip
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from conftest import NOTEBOOK, ROOT, load_definitions

REFERENCE = ROOT / "runs" / "reference"
# The aim is 720 lines of code, and 200 before the first training: whoever shortens the page lowers
# these two.
LIMITS = {
    "code cells": 72,
    "code lines": 872,
    "words": 6500,
    "code cells before the first training": 24,
    "code lines before the first training": 231,
    "words before the first training": 1500,
    "code lines up to the first real digits": 32,
    "code lines of a cell": 30,
    "code lines without an output": 60,
    "words for teachers": 500,
}
LONG_CELLS = {"playground-page", "playground"}  # they may have more lines than another cell
SILENT = {"open-tensorboard", "ring-hands"}  # they show something only to a reader who looks on
TAGS = {
    *("define", "parameters", "bookkeeping", "first-real", "first-training", "task", "check"),
    *("answer", "solution", "teacher", "broken", "uses-broken"),
}
CONTRACT = """load_mnist make_loader Generator Discriminator discriminator_loss generator_loss Match
turn_of_d turn_of_g play_step play Config RECIPES make_match train load_judge load_generator
latest_run draw sample walk frechet_distance evaluate playground"""


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def code_lines(cell: dict) -> int:
    """Return how many lines of a code cell are neither blank nor only a comment."""
    lines = cell["source"].splitlines() if cell["cell_type"] == "code" else []
    return sum(bool(line.strip()) and line.strip()[0] != "#" for line in lines)


def words(cell: dict) -> int:
    """Return how many words of prose a cell has, without its code and the bars of tables."""
    text = cell["source"] if cell["cell_type"] == "markdown" else ""
    text = re.sub(r"```.*?```", "", text, flags=re.S).replace("|", " ")
    return len([word for word in text.split() if re.search(r"\w", word)])


def until(cells: list[dict], tag: str) -> int:
    """Return the number of the one cell that has a tag."""
    (number,) = (number for number, cell in enumerate(cells) if tag in tags(cell))
    return number


def shows_something(output: dict) -> bool:
    """Tell whether a reader sees an output."""
    data = output.get("data", {})
    html = "".join(data.get("text/html", "")).strip()
    return bool("".join(output.get("text", "")).strip() or html or data.keys() - {"text/html"})


def longest_stretch(cells: list[dict]) -> int:
    """Return the most lines of code that pass without an output."""
    stretch = longest = 0
    for cell in cells:
        stretch += code_lines(cell)
        longest = max(longest, stretch)
        stretch = 0 if any(map(shows_something, cell.get("outputs", []))) else stretch
    return longest


def size(cells: list[dict]) -> dict[str, int]:
    """Return how much there is to read, by the names of LIMITS."""
    before, real = until(cells, "first-training"), until(cells, "first-real")
    sizes = {}
    for place, some in (("", cells), (" before the first training", cells[:before])):
        sizes[f"code cells{place}"] = sum(cell["cell_type"] == "code" for cell in some)
        sizes[f"code lines{place}"] = sum(map(code_lines, some))
        sizes[f"words{place}"] = sum(map(words, some))
    sizes["code lines up to the first real digits"] = sum(map(code_lines, cells[: real + 1]))
    sizes["code lines of a cell"] = max(code_lines(c) for c in cells if c["id"] not in LONG_CELLS)
    sizes["code lines without an output"] = longest_stretch(cells)
    sizes["words for teachers"] = sum(words(cell) for cell in cells if "teacher" in tags(cell))
    return sizes


def text_of(output: dict | list) -> str:
    """Return an output as text, without the pictures in it."""
    return re.sub(r"[A-Za-z0-9+/=]{80,}", "", json.dumps(output, ensure_ascii=False))


class Page(HTMLParser):
    """A page of HTML, taken apart: its tags, each with its attributes, and its running text."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.text, self.inside = [], "", []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag in ("a", "code", "pre", "script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        self.text += "" if self.inside else data

    def find(self, tag: str) -> list[dict]:
        """Return the attributes of all tags of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def code(cells) -> list[dict]:
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def outputs(code) -> list[dict]:
    return [output for cell in code for output in cell["outputs"]]


@pytest.fixture(scope="module")
def pictures(outputs) -> list[dict[str, str]]:
    """The outputs that are pictures: their text by its kind."""
    data = [{k: "".join(v) for k, v in o.get("data", {}).items()} for o in outputs]
    return [d for d in data if "image/png" in d or "<img" in d.get("text/html", "")]


@pytest.fixture(scope="module")
def printed(outputs) -> list[str]:
    """The lines that the page prints, the tables among them."""
    text = "".join("".join(output.get("text", "")) for output in outputs)
    return [line for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def page() -> Page:
    """The committed notebook as nbconvert shows it in a browser."""
    from nbconvert import HTMLExporter

    return Page(HTMLExporter().from_filename(str(NOTEBOOK))[0])


# The shape of the page


@pytest.mark.parametrize("what", LIMITS)
def test_the_page_keeps_to_its_budget(cells, what):
    assert size(cells)[what] <= LIMITS[what]


def test_a_line_fits_on_a_screen(code):
    for cell in code:
        assert max(map(len, cell["source"].splitlines())) <= 100, cell["id"]


def test_cells_have_only_tags_that_are_agreed_upon(cells):
    assert {tag for cell in cells for tag in tags(cell)} <= TAGS


def test_bookkeeping_is_folded_in_jupyter_and_in_colab_and_says_that_it_may_be_skipped(cells):
    bookkeeping = [cell for cell in cells if "bookkeeping" in tags(cell)]
    assert bookkeeping
    for cell in bookkeeping:
        assert cell["metadata"]["jupyter"] == {"source_hidden": True}, cell["id"]
        assert cell["metadata"]["cellView"] == "form", cell["id"]
        assert re.match(r"# @title .*\bskip", cell["source"].splitlines()[0]), cell["id"]


def test_no_other_cell_but_checks_is_folded(cells):
    for cell in cells:
        if not {"bookkeeping", "check"} & {*tags(cell)}:
            assert not {"jupyter", "cellView"} & cell["metadata"].keys(), cell["id"]


def test_a_task_is_followed_by_its_check(code):
    kinds = [[tag for tag in ("task", "check") if tag in tags(cell)] for cell in code]
    assert ["task"] in kinds
    for kind, following in pairwise(kinds):
        assert (kind == ["task"]) == (following == ["check"])


def test_every_cell_has_a_name_of_its_own(cells):
    names = [cell["id"] for cell in cells]
    assert len({*names}) == len(names)


def test_every_public_definition_has_a_docstring(cells):
    for cell in cells:
        for node in ast.parse(cell["source"]).body if "define" in tags(cell) else []:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
                assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("command", [("check",), ("format", "--check")])
def test_the_notebook_keeps_to_the_projects_style(command):
    subprocess.run([sys.executable, "-m", "ruff", *command, NOTEBOOK], check=True, cwd=ROOT)


# The definitions


def test_the_definitions_alone_make_the_module_that_was_promised(nb):
    assert not [name for name in CONTRACT.split() if not hasattr(nb, name)]


def test_the_definitions_do_nothing_by_themselves(tmp_path, monkeypatch, capfd):
    """In an empty folder: no file, no download, no output, no random number, so no training."""
    import matplotlib.pyplot as plt
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gan_for_mnist", None)  # to be put back afterwards
    for name in ("DATA_DIR", "RUNS_DIR"):
        monkeypatch.delenv(name)
    before = torch.random.get_rng_state()
    load_definitions()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert capfd.readouterr().out == ""
    assert plt.get_fignums() == []
    assert [*tmp_path.iterdir()] == []


# What the page shows


def test_the_outputs_are_of_one_run_from_top_to_bottom(code):
    counts = [cell["execution_count"] for cell in code]
    assert counts == [*range(1, len(code) + 1)]


def test_what_is_not_a_definition_shows_something(code):
    silent = {cell["id"] for cell in code if not cell["outputs"] and "define" not in tags(cell)}
    assert silent <= SILENT


def test_no_output_is_an_error_or_a_warning(outputs):
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]


def test_the_outputs_are_of_a_full_run_not_of_a_rehearsal(nb, cells):
    (training,) = (cell for cell in cells if cell["id"] == "training")
    assert f"by mlp, step {600 * nb.Config().epochs}." in text_of(training["outputs"])


def test_nothing_names_a_folder_of_the_machine_that_made_it(cells):
    for cell in cells:
        text = cell["source"] + text_of(cell.get("outputs", []))
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)\b", text), cell["id"]


def test_the_page_speaks_to_its_reader_not_of_how_it_was_made(cells):
    for cell in cells:
        text = cell["source"] + text_of(cell.get("outputs", []))
        found = re.search(r"\b(issue|session|workplace|pull request)s?\b", text, re.I)
        assert not found, cell["id"]


def test_no_text_waits_to_be_written(cells):
    assert [w for c in cells for w in re.findall(r"@[A-Z][A-Z0-9_]+", c["source"])] == []


def test_the_file_is_small_enough_for_github_to_show():
    assert NOTEBOOK.stat().st_size < 5e6


# Its pictures and tables, in Jupyter and elsewhere


def test_every_picture_is_there_as_html_as_png_and_as_text(pictures):
    assert len(pictures) > 20
    assert [sorted(data) for data in pictures if len(data) != 3] == []
    assert {(*sorted(data),) for data in pictures} == {("image/png", "text/html", "text/plain")}


def test_the_text_of_a_picture_says_what_is_to_be_seen(pictures):
    for data in pictures:
        (picture,) = Page(data["text/html"]).find("img")
        assert picture["alt"] == data["text/plain"]
        assert len(picture["alt"]) > 10
        assert picture["alt"][0] != "<"  # as of a figure of matplotlib


def test_every_picture_has_a_width_that_a_page_has(pictures):
    for data in pictures:
        (picture,) = Page(data["text/html"]).find("img")
        assert 0 < int(picture["width"]) <= 1200, picture["alt"]


def test_every_picture_of_the_page_has_a_description(page):
    for picture in page.find("img"):
        assert len(picture["alt"]) > 10
        assert not picture["alt"].startswith("No description")  # nbconvert's own words


@pytest.fixture(scope="module")
def latex() -> str:
    """The page's code and outputs as LaTeX. (For prose nbconvert needs another program.)"""
    import nbformat
    from nbconvert import LatexExporter

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return LatexExporter().from_notebook_node(notebook)[0]


@pytest.fixture(scope="module")
def markdown() -> str:
    """The page as Markdown."""
    from nbconvert import MarkdownExporter

    return MarkdownExporter().from_filename(str(NOTEBOOK))[0]


def plain(text: str) -> str:
    """Return a text without blanks, and without what LaTeX escapes and how."""
    return re.sub(r"[\s\\{}]|PYZ\w+", "", text)


def test_latex_has_every_picture(latex, pictures):
    assert latex.count(r"\adjustimage") == len(pictures)  # nbconvert's \includegraphics


def test_latex_has_every_printed_line(latex, printed):
    text = plain(latex)
    assert [line for line in printed if plain(line) not in text] == []


def test_markdown_has_every_picture(markdown, pictures):
    alts = [data["text/plain"] for data in pictures]
    assert [alt for alt in alts if f'alt="{alt}"' not in markdown] == []


def test_markdown_has_every_printed_line(markdown, printed):
    assert [line for line in printed if line not in markdown] == []


# Where the page leads


def test_every_section_has_one_title_the_same_in_the_contents_and_at_its_place(cells):
    contents = re.findall(r"\[(\d+ [^]]+)\]\(#(\w+)\)", cells[0]["source"])
    assert [int(title.split()[0]) for title, _ in contents] == [*range(1, 13)]
    text = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    place = r'<a id="(\w+)"></a>\n(?:## .*\n\n)?### (\d+ .*)'
    assert [(title, name) for name, title in re.findall(place, text)] == contents


def test_every_act_has_one_title_the_same_in_the_contents_and_at_its_place(cells):
    contents = re.findall(r"^\| (Act \w+) \| ([^|]*?) \|", cells[0]["source"], re.M)
    titles = [t for c in cells for t in re.findall(r"^## (Act \w+): (.*)$", c["source"], re.M)]
    assert len(titles) == 3
    assert titles == contents


def test_every_link_leads_somewhere(page):
    places = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for link in (attributes["href"] for attributes in page.find("a") if "href" in attributes):
        url = urlsplit(link)
        if url.scheme:
            assert url.scheme in ("http", "https"), link
            assert re.fullmatch(r"([\w-]+\.)+[a-z]{2,}|localhost", url.hostname), link
        elif url.path:
            assert (ROOT / unquote(url.path)).exists(), link
        else:
            assert unquote(url.fragment) in places, link


def test_no_link_is_left_as_markdown(page):
    assert not re.search(r"\]\s?\((#|https?:)", page.text)


# What comes with the page


def test_the_film_that_the_page_begins_with_is_the_reference_runs(cells):
    (cell,) = (cell for cell in cells if cell["id"] == "film")
    (output,) = cell["outputs"]
    film = base64.b64encode((REFERENCE / "progress.gif").read_bytes()).decode()
    assert f'src="data:image/gif;base64,{film}"' in "".join(output["data"]["text/html"])


@pytest.mark.parametrize("name", ["mlp", "dcgan", "conditional"])
def test_the_committed_run_of_a_recipe_is_of_this_recipe_to_its_end(nb, name):
    folder = REFERENCE if name == "mlp" else REFERENCE / name
    facts = json.loads((folder / "config.json").read_text())
    recipe, kept = nb.RECIPES[name], nb.Config(**facts["config"])
    given = {"classes": 10} if recipe.mean is not None else {"mean": -0.7387, "classes": 10}
    assert kept == replace(recipe, **given)
    assert facts["step"] == recipe.epochs * (60_000 // recipe.batch_size)


def test_the_repository_stays_small():
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        names = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        files = [ROOT / name for name in names.split("\0") if (ROOT / name).is_file()]
        assert sum(path.stat().st_size for path in files) < 40e6


# One whole GAN, as it is printed


@pytest.fixture(scope="module")
def whole(cells, nb, tmp_path_factory) -> SimpleNamespace:
    """The file in the fold, run as printed in a folder of 3,000 digits: its text, its losses by
    epoch, and the last picture that it wrote.
    """
    from PIL import Image

    text = fold(cells, "The whole game")
    place = tmp_path_factory.mktemp("whole")
    raw = place / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind, shape in {"images-idx3": (28, 28), "labels-idx1": ()}.items():
            name, each = f"{part}-{kind}-ubyte", math.prod(shape)
            content = gzip.decompress((ROOT / "data/MNIST/raw" / f"{name}.gz").read_bytes())
            few = b"".join(number.to_bytes(4, "big") for number in (3000, *shape))
            head = 8 + 4 * len(shape)
            (raw / name).write_bytes(content[:4] + few + content[head : head + 3000 * each])
    (place / "gan.py").write_text(text)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "gan.py"]
    done = subprocess.run(
        command, cwd=place, env=environment, check=True, capture_output=True, text=True, timeout=100
    )
    (picture,) = place.glob("*.png")
    return SimpleNamespace(
        text=text,
        losses=[float(value) for value in re.findall(r"loss_\w \D*(\d+\.\d+)", done.stdout)],
        nonsense=re.findall(r"\b(?:nan|inf)\b", done.stdout),
        picture=np.asarray(Image.open(picture).convert("L")) / 255,
    )


def fold(cells: list[dict], title: str) -> str:
    """Return the code that stands in a fold of a cell tagged `solution`."""
    (text,) = (c["source"] for c in cells if "solution" in tags(c) and title in c["source"])
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    return block


def test_one_whole_gan_is_about_forty_lines(whole):
    assert sum(bool(line.strip()) for line in whole.text.splitlines()) <= 45


def test_the_losses_of_one_whole_gan_are_sane(whole):
    assert len(whole.losses) >= 4
    assert whole.nonsense == []
    assert all(0.1 < loss < 10 for loss in whole.losses)


def test_the_images_of_one_whole_gan_are_dark_with_strokes_in_their_middle(whole):
    """Rows and columns of tiles with a frame of 2 pixels; MNIST's pixels are 0.13 on average."""
    height, width = whole.picture.shape
    rows, columns = (height - 2) // 30, (width - 2) // 30
    tiles = whole.picture[2:, 2:][: 30 * rows, : 30 * columns]
    tile = tiles.reshape(rows, 30, columns, 30).mean((0, 2))
    assert 0.05 < whole.picture.mean() < 0.4
    assert tile[8:20, 8:20].mean() > 3 * tile[1:3, 1:27].mean()


# The exercises, and the page in an empty folder


@pytest.fixture(scope="module")
def exercises(cells) -> SimpleNamespace:
    """The last section: the numbers of its exercises, its solutions by number, and the one-line
    change.
    """
    (text,) = (cell["source"] for cell in cells if '<a id="exercises">' in cell["source"])
    nothing, *parts = re.split(r"^# (\d+)\b.*\n", fold(cells, "<summary>Solutions"), flags=re.M)
    assert nothing == ""
    return SimpleNamespace(
        numbers=[int(number) for number in re.findall(r"^\| (\d+) \| ", text, re.M)],
        levels=re.findall(r"^\| \d+ \| (\w+) \| (\d+) \| ", text, re.M),
        solutions=dict(zip(map(int, parts[::2]), parts[1::2])),
        change=re.search(r"`([^`]+ as DATASET)` \w+ `([^`]+ as DATASET)`", text).groups(),
    )


@pytest.fixture(scope="module")
def own_pictures(tmp_path_factory) -> Path:
    """A folder of colour pictures of different sizes, in a subfolder for each of two kinds."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    for kind, colour in {"leaves": (40, 160, 60), "bricks": (180, 60, 40)}.items():
        (folder / kind).mkdir()
        for number in range(8):
            Image.new("RGB", (40 + 9 * number, 90 - 5 * number), colour).save(
                folder / kind / f"{number}.png"
            )
    return folder


@pytest.fixture(scope="module")
def played(exercises, own_pictures, tmp_path_factory) -> SimpleNamespace:
    """The page, alone in an empty folder as in Colab, after the exercises were done as printed.

    Its one line is changed to Fashion-MNIST, whose files are of the same format: MNIST's take their
    place here. It runs by the README's command, and then each solution in a cell of its own.
    """
    scratch = tmp_path_factory.mktemp("played")
    raw = scratch / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in (ROOT / "data" / "MNIST" / "raw").glob("*.gz"):
        shutil.copy(packed, raw)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    setup = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    changed = "".join(setup["source"]).replace(*exercises.change)
    assert changed != "".join(setup["source"])
    setup["source"] = changed + "\nDATASET.resources = DATASET.__base__.resources"  # MNIST's
    sources = {"own-pictures": f"folder = {str(own_pictures)!r}"}
    sources |= {f"solution-{number}": text for number, text in exercises.solutions.items()}
    for name, source in sources.items():
        cell = {"id": name, "cell_type": "code", "metadata": {}, "source": source}
        notebook["cells"].append(cell | {"execution_count": None, "outputs": []})
    (scratch / "empty").mkdir()
    copy = scratch / "empty" / NOTEBOOK.name
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    environment = {"DATA_DIR": str(scratch / "data"), "RUNS_DIR": str(scratch / "runs")}
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", "--allow-errors", str(copy)]
    subprocess.run(command, check=True, timeout=900, env=os.environ | environment)
    cells = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    return SimpleNamespace(
        outputs={cell["id"]: cell["outputs"] for cell in cells if cell["cell_type"] == "code"},
        runs=scratch / "runs",
        left=[path for path in copy.parent.iterdir() if path != copy],
    )


def complaints(outputs: dict[str, list[dict]]) -> dict[str, str]:
    """Return what went wrong, or was warned of, in each cell."""
    return {
        name: output.get("evalue") or output["text"]
        for name, some in outputs.items()
        for output in some
        if output["output_type"] == "error" or output.get("name") == "stderr"
    }


def test_the_page_runs_in_an_empty_folder_and_on_fashion_mnist(played):
    outputs = {k: v for k, v in played.outputs.items() if not k.startswith("solution")}
    assert complaints(outputs) == {}


def test_the_page_writes_to_the_folder_for_runs_only(played):
    assert played.left == []
    assert played.runs.is_dir()


def test_every_exercise_that_needs_code_has_a_solution(exercises):
    assert exercises.numbers == [*range(1, len(exercises.numbers) + 1)]
    assert len({*exercises.numbers} - {*exercises.solutions}) == 1  # the change of one line
    assert {*exercises.solutions} < {*exercises.numbers}


def test_every_exercise_has_a_level_and_minutes(exercises):
    assert len(exercises.levels) == len(exercises.numbers)
    assert {level for level, _ in exercises.levels} == {"easy", "medium", "hard"}


def test_every_solution_runs_as_printed_and_shows_something(exercises, played):
    outputs = {k: v for k, v in played.outputs.items() if k.startswith("solution")}
    assert len(outputs) == len(exercises.solutions)
    assert complaints(outputs) == {}
    assert [name for name, some in outputs.items() if not some] == []


def test_every_run_of_the_exercises_is_kept_to_its_end(exercises, played):
    text = "".join(exercises.solutions.values())
    recipes = {*re.findall(r"\brecipe=\"(\w+)\"", text)}
    assert recipes
    for recipe in recipes:
        (folder,) = played.runs.glob(f"{recipe}-2*")
        epochs = json.loads((folder / "config.json").read_text())["config"]["epochs"]
        assert len([*(folder / "samples").glob("*.png")]) == epochs + 1  # the untrained one's, too
        assert (folder / "progress.gif").stat().st_size > 0


def test_a_folder_of_colour_pictures_makes_a_generator_of_colour_pictures(nb, played):
    facts = [json.loads(path.read_text()) for path in played.runs.glob("*/config.json")]
    (own,) = (fact["config"] for fact in facts if fact["config"]["shape"][0] == 3)
    (folder,) = played.runs.glob(f"{own['recipe']}-2*")
    drawn = nb.sample(nb.load_generator(folder), 4, seed=0)
    assert drawn.shape == (4, *own["shape"])
