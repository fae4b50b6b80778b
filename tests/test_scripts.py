"""The scripts that a person runs still fit the notebook: each of them in rehearsal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

MEASURE = ROOT / "tests" / "measure"
SCRIPTS = sorted({path.name for path in MEASURE.glob("*.py")} - {"shared.py"})
LAST = {"config.json", "events.out.tfevents.reference", "figures.json", "last.png"}
FOUND = {"name": "mlp, lr_g 0.001", "sure": 0.123}
COMMANDS = {  # by name; {} is a folder for what they write
    "reference": "make_reference.py --out {}/reference mlp sigmoid",
    "quality": "quality.py sigmoid epochs=1 seed=1 seed=2",
    "soon": "quality.py sigmoid seed=0 --until 1e9",
    "search": "search.py {}/found.jsonl lr_g=1e-3 lr_g=2e-3",
    "records": f"search.py {MEASURE}/search.jsonl --picture {{}}/frontier.png",
    "benchmark": "benchmark.py 1 1",
    "endurance": "endurance.py 10",
}
# In one process, since starting one takes longer than most of them.
ONE_BY_ONE = """
import json, runpy, sys
folder, commands = sys.argv[1:]
sys.path.insert(0, folder)
for name, words in json.loads(commands).items():
    print("#", name)
    sys.argv = words
    runpy.run_path(f"{folder}/{words[0]}", run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the scripts write."""
    return tmp_path_factory.mktemp("measure")


@pytest.fixture(scope="module")
def tables(folder) -> dict[str, list[list[str]]]:
    """Run all commands and return, by name, the rows of the tables that they print."""
    (folder / "found.jsonl").write_text(json.dumps(FOUND) + "\n")
    commands = {name: text.format(folder).split() for name, text in COMMANDS.items()}
    words = [sys.executable, "-c", ONE_BY_ONE, MEASURE, json.dumps(commands)]
    done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE)
    assert done.returncode == 0
    rows: dict[str, list[list[str]]] = {}
    for line in done.stdout.decode().splitlines():
        if line.startswith("# "):
            rows[line[2:]] = table = []
        elif line.startswith("|"):
            table.append(line.strip("| ").split(" | "))
    return rows


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_and_the_records_name_its_command(script):
    command = f"python tests/measure/{script}"
    assert f"\nUsage: {command}" in (MEASURE / script).read_text()
    assert f"`{command}" in (MEASURE / "README.md").read_text()


def test_every_script_is_rehearsed_here():
    assert {text.split()[0] for text in COMMANDS.values()} == {*SCRIPTS}


def test_the_reference_run_is_all_of_the_default_and_the_last_of_others(tables, folder):
    names = {path.name for path in (folder / "reference").iterdir()}
    assert names == LAST | {"generator.pt", "judge.pt", "progress.gif", "sigmoid"}
    assert {path.name for path in (folder / "reference" / "sigmoid").iterdir()} == LAST


def test_the_references_figures_are_of_the_generator_that_it_keeps(
    nb, mnist, digits, tables, folder
):
    judge = nb.load_judge(*mnist, folder / "reference" / "judge.pt")
    generator = nb.load_generator(folder / "reference")
    figures = nb.evaluate(generator, judge, digits[0][: nb.SIZE["samples"]])
    kept = json.loads((folder / "reference" / "figures.json").read_text())
    assert {name: kept[name] for name in figures} == pytest.approx(figures, rel=1e-3, abs=1e-3)


def test_quality_ends_with_the_worst_distance_and_the_worst_precision(tables):
    _, _, *seeds, worst = tables["quality"]
    assert float(worst[1]) == max(float(row[1]) for row in seeds)
    assert float(worst[3]) == min(float(row[3]) for row in seeds)


def test_quality_stops_as_soon_as_the_distance_is_reached(tables):
    _, _, row, _ = tables["soon"]
    assert row[2] == "100"  # steps


def test_search_trains_only_what_it_has_not_found_yet(tables, folder):
    first, second = map(json.loads, (folder / "found.jsonl").read_text().splitlines())
    assert first == FOUND
    assert second["name"] == "mlp, lr_g 0.002"


def test_the_records_of_the_search_are_in_their_table(tables):
    text = (MEASURE / "README.md").read_text()
    assert [row for row in tables["records"][2:] if f"| {' | '.join(row)} |" not in text] == []


def test_search_draws_the_records(tables, folder):
    assert (folder / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_the_benchmark_goes_from_the_textbooks_loop_to_the_default(tables):
    _, _, *rows = tables["benchmark"]
    assert rows[0][0] == "the textbook's loop"
    assert rows[-1][0].endswith("the default recipe")


def test_endurance_looks_ten_times(tables):
    _, _, *rows = tables["endurance"]
    assert [row[0] for row in rows] == [str(epoch) for epoch in range(1, 11)]
