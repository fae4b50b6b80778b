"""The page alone in an empty folder, as in Colab, on another data set, with its exercises done."""

import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from conftest import NOTEBOOK, ROOT


@pytest.fixture(scope="module")
def solutions(cells) -> dict[int, str]:
    """The solutions as they are printed, by the numbers of their exercises."""
    (text,) = (c["source"] for c in cells if "solution" in c["metadata"].get("tags", []))
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    nothing, *parts = re.split(r"^# (\d+)\b.*\n", block, flags=re.M)
    assert nothing == ""
    return dict(zip(map(int, parts[::2]), parts[1::2]))


def paint_pictures(folder) -> None:
    """Write colour pictures of different sizes, in a subfolder for each of two kinds."""
    from PIL import Image

    for kind, colour in {"leaves": (40, 160, 60), "bricks": (180, 60, 40)}.items():
        (folder / kind).mkdir(parents=True)
        for number in range(8):
            size = 40 + 9 * number, 90 - 5 * number
            Image.new("RGB", size, colour).save(folder / kind / f"{number}.png")


@pytest.fixture(scope="module")
def alone(cells, solutions, tmp_path_factory) -> SimpleNamespace:
    """The page's outputs by cell, after it ran in an empty folder without the reference run.

    Its one line is changed to Fashion-MNIST, as an exercise says. MNIST's files, of the same form,
    stand in that set's place. Each solution follows in a cell of its own.
    """
    scratch = tmp_path_factory.mktemp("alone")
    raw = scratch / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in (ROOT / "data" / "MNIST" / "raw").glob("*.gz"):
        shutil.copy(packed, raw)
    paint_pictures(scratch / "pictures")

    (text,) = (cell["source"] for cell in cells if "### 12 " in cell["source"])
    old, new = re.search(r"`(\w+ as DATASET)` to `(\w+ as DATASET)`", text).groups()
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    setup = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    source = "".join(setup["source"])
    assert source.count(old) == 1
    setup["source"] = source.replace(old, new) + "\nDATASET.resources = DATASET.__base__.resources"
    sources = {"folder": f"folder = {str(scratch / 'pictures')!r}"}
    sources |= {f"solution-{number}": code for number, code in solutions.items()}
    for name, code in sources.items():
        cell = {"id": name, "cell_type": "code", "metadata": {}, "source": code}
        notebook["cells"].append(cell | {"execution_count": None, "outputs": []})

    (scratch / "empty").mkdir()
    copy = scratch / "empty" / "page.ipynb"
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    environment = {"DATA_DIR": str(scratch / "data"), "RUNS_DIR": str(scratch / "runs")}
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", "--allow-errors", str(copy)]
    subprocess.run(command, check=True, timeout=900, env=os.environ | environment)
    done = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    return SimpleNamespace(
        outputs={cell["id"]: cell["outputs"] for cell in done if cell["cell_type"] == "code"},
        runs=[*(scratch / "runs").iterdir()],
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


def test_the_page_runs_whole_in_an_empty_folder_and_on_another_data_set(alone):
    outputs = {k: v for k, v in alone.outputs.items() if not k.startswith("solution")}
    assert complaints(outputs) == {}


def test_the_page_writes_to_the_folder_for_runs_only(alone):
    assert alone.left == []
    assert all((directory / "generator.pt").exists() for directory in alone.runs)


def test_the_page_keeps_one_run_and_its_exercises_none(alone):
    assert len(alone.runs) == 1


def test_every_solution_runs_as_printed_and_shows_something(solutions, alone):
    outputs = {k: v for k, v in alone.outputs.items() if k.startswith("solution")}
    assert len(outputs) == len(solutions)
    assert complaints(outputs) == {}
    assert [name for name, some in outputs.items() if not some] == []


def test_own_pictures_are_counted(alone):
    text = "".join("".join(output.get("text", "")) for output in alone.outputs["solution-8"])
    assert "16 pictures" in text


@pytest.mark.parametrize("kind", ["uint16", "int32", "float32"])
def test_own_pictures_of_more_than_eight_bits_are_refused(solutions, tmp_path, kind):
    (read,) = re.findall(r"^def read.*?(?=^\S)", solutions[8], re.M | re.S)
    PIL.Image.fromarray(np.ones((4, 4), kind)).save(tmp_path / "deep.tif")
    page = {"PIL": PIL}
    exec(read, page)
    with pytest.raises(ValueError, match="more than eight bits"):
        page["read"](tmp_path / "deep.tif")


def test_every_live_game_is_there_without_the_repository(alone):
    frames = [name for name, some in alone.outputs.items() if "<iframe" in json.dumps(some)]
    assert len(frames) >= 3  # the digits, the ring and the playground
