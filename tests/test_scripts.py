"""The scripts that a person runs still fit the notebook, and their records fit the texts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

MEASURE, REFERENCE = ROOT / "tests" / "measure", ROOT / "runs" / "reference"
SCRIPTS = sorted({path.name for path in MEASURE.glob("*.py")} - {"shared.py"})
ELSEWHERE = {"choice.py", "alive.py"}  # one stands by itself, the other has a test of its own
GAMES = "the default", "plain", "without centring", "relativistic loss, R1 and R2"
COMMANDS = {  # by name; {} is a folder for what they write
    "ablation": [*"ablation.py --file {}/ablation.jsonl --seeds 0 --rows".split(), *GAMES],
    **{which: ["ablation.py", "--page", which] for which in ("short", "long")},
    "reference": "make_reference.py --out {}/out --work {}/work --recipes mlp conditional".split(),
    "recipes": ["make_reference.py", "--table"],
    "peers": ["peers.py", "--file", "{}/peers.jsonl"],
    "readme": ["peers.py", "--readme"],
    "record": "record.py gan.py --file {}/record.jsonl --target 1e9 --seeds 0 --threads 1".split(),
    "benchmark": "benchmark.py --steps 1 --rounds 1".split(),
    "endurance": ["endurance.py", "10"],
    "opinion": "opinion.py --file {}/opinion.jsonl {}/ablation-the-default-0".split(),
}
ONE_BY_ONE = """
import json, runpy, sys  # in one process: starting one takes longer than most of them
folder, package, commands = sys.argv[1:]
sys.path.insert(0, folder)
for name, words in json.loads(commands).items():
    print("#", name)
    if name == "opinion":  # the others do without the package
        sys.path.append(package)
    sys.argv = words
    runpy.run_path(f"{folder}/{words[0]}", run_name="__main__")
"""


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("measure")


def write_package(place: Path) -> None:
    """Write what stands for the second judge's package: its file, with weights of noise."""
    import torch

    for name in ("digit_recognizer_py-0.1.0.dist-info", "digit_recognizer/models"):
        (place / name).mkdir(parents=True)
    about = place / "digit_recognizer_py-0.1.0.dist-info" / "METADATA"
    about.write_text("Metadata-Version: 2.1\nName: digit-recognizer-py\n")
    shapes = {f"conv_layers.{3 * i}": (32 * 2**i, (1, 32, 64)[i], 3, 3) for i in range(3)}
    shapes |= {"fc_layers.0": (256, 1152), "fc_layers.2": (10, 256)}
    state = {f"{name}.weight": torch.randn(shape) / 30 for name, shape in shapes.items()}
    state |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    torch.save(state, place / "digit_recognizer/models/handwriting_model.pth")


@pytest.fixture(scope="module")
def printed(folder) -> dict[str, str]:
    """Run all commands and return, by name, what they print."""
    commands = {name: [w.format(folder) for w in words] for name, words in COMMANDS.items()}
    write_package(folder)
    before = {*REFERENCE.iterdir(), *MEASURE.glob("*.jsonl"), *MEASURE.glob("*.md")}
    words = [sys.executable, "-c", ONE_BY_ONE, MEASURE, folder, json.dumps(commands)]
    done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert before == {*REFERENCE.iterdir(), *MEASURE.glob("*.jsonl"), *MEASURE.glob("*.md")}
    _, *parts = re.split(r"^# (\w+)\n", done.stdout.decode(), flags=re.M)
    return dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_and_the_records_name_its_command_and_it_is_rehearsed(script):
    command = f"python tests/measure/{script}"
    assert f"\nUsage: {command}" in (MEASURE / script).read_text()
    assert f"`{command}" in (MEASURE / "README.md").read_text()
    assert script in {words[0] for words in COMMANDS.values()} | ELSEWHERE


def test_the_ablation_writes_a_row_a_game_with_all_that_its_table_shows(printed, folder):
    rows = rows_of(folder / "ablation.jsonl")
    assert [row["name"] for row in rows] == [*GAMES]
    assert all(row["epochs"][-1]["slope"] > 0 and len(row["curve"]) == 2 for row in rows)
    titles = {line.split(" | ")[0].strip("| ") for line in printed["ablation"].splitlines()}
    assert {*GAMES, "without the average", "plain, average"} < titles


def test_the_ablations_default_is_the_run_that_train_keeps(printed, folder):
    (row,) = (row for row in rows_of(folder / "ablation.jsonl") if row["name"] == "the default")
    kept = json.loads((folder / "out" / "figures.json").read_text())
    assert row["artist"].items() <= kept.items()


def test_the_reference_run_keeps_a_small_artist_and_the_last_of_other_recipes(nb, printed, folder):
    last = {"config.json", "events.out.tfevents.reference", "figures.json", "last.png"}
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == last | {"generator.pt", "progress.gif", "conditional"}
    assert {path.name for path in (folder / "out" / "conditional").iterdir()} == last
    assert nb.sample(nb.load_generator(folder / "out"), 2).isfinite().all()
    assert (folder / "out" / "generator.pt").stat().st_size < 1.3e6


def test_every_peer_is_measured_after_as_many_seconds_and_in_the_end(printed, folder):
    moments: dict[str, set[str]] = {}
    for row in rows_of(folder / "peers.jsonl"):
        moments.setdefault(row["name"], set()).add(row["moment"])
    assert moments.pop("mlp") == {"in the end"}  # the seconds are its own
    assert len(moments) == 5
    assert all(some == {"after as many seconds", "in the end"} for some in moments.values())


def test_the_second_judge_measures_beside_the_first(printed, folder):
    names = [(row["name"], len(row["measures"])) for row in rows_of(folder / "opinion.jsonl")]
    assert {("the default", 10), ("real digits, slices", 10)} == {*names}


def test_a_record_says_when_a_target_was_reached(printed, folder):
    (row,) = rows_of(folder / "record.jsonl")
    assert row["reached"]["1e+09"]["steps"] == 20


def test_the_benchmark_and_endurance_print_a_row_each_time(printed):
    assert len(re.findall(r"^\| .*\| [\d.]+ \|$", printed["benchmark"], re.M)) == 10
    assert re.findall(r"^\| (\d+) epochs", printed["endurance"], re.M) == [*map(str, range(1, 11))]


@pytest.mark.parametrize("name", ["short", "long", "recipes", "readme"])
def test_the_tables_of_page_and_readme_are_those_of_the_records(printed, cells, name):
    page = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    records, readme = (MEASURE / "README.md").read_text(), (ROOT / "README.md").read_text()
    for text in [readme] if name == "readme" else [page, records]:
        assert printed[name] in text


def test_record_page_and_reference_run_show_the_same_game(cells):
    rows = [row for row in rows_of(MEASURE / "ablation.jsonl") if row["name"] == "the default"]
    assert sorted(row["seed"] for row in rows) == [*range(10)]
    (measures,) = (row["artist"] for row in rows if row["seed"] == 0)
    assert measures.items() <= json.loads((REFERENCE / "figures.json").read_text()).items()
    (cell,) = (cell for cell in cells if cell["id"] == "quality")
    (line,) = re.findall(r"^the kept run +(\S+)", "".join(cell["outputs"][0]["text"]), re.M)
    assert line == f"{measures['frechet_distance']:.3g}"
