"""The scripts that a person runs still fit the notebook: each of them in rehearsal."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

MEASURE = ROOT / "tests" / "measure"
SCRIPTS = sorted({path.name for path in MEASURE.glob("*.py")} - {"shared.py"})
LAST = {"config.json", "events.out.tfevents.reference", "figures.json", "last.png"}
RECORD = {"machine": "a clock", "seed": 0, "reached": {"30": {"steps": 900, "wall": 9, "cpu": 9}}}
GAMES = "the default", "plain", "relativistic loss, R1 and R2, no norm", "new fakes for G's turn"
COMMANDS = {  # by name; {} is a folder for what they write
    "reference": "make_reference.py --out {}/reference --recipes mlp dcgan".split(),
    "ablation": [*"ablation.py --file {}/ablation.jsonl --seeds 0 --rows".split(), *GAMES],
    "picture": "ablation.py --file {}/ablation.jsonl --picture {}/ablation.png".split(),
    "page": "ablation.py --page".split(),
    "peers": "peers.py --file {}/peers.jsonl".split(),
    "opinion": [*"opinion.py --file {}/opinion.jsonl --rows".split(), "beta1 0.9"],
    "record": "record.py gan.py --file {}/record.jsonl --target 1e9 --seeds 0 --threads 1".split(),
    "benchmark": "benchmark.py 1 1".split(),
    "endurance": "endurance.py 10".split(),
}
# In one process, since starting one takes longer than most of them. At its end, it tells whether
# the ablation's default is the page's, weight by weight.
ONE_BY_ONE = """
import json, runpy, sys
from dataclasses import replace
folder, package, commands = sys.argv[1:]
sys.path.insert(0, folder)
for name, words in json.loads(commands).items():
    print("#", name)
    if name == "opinion":  # the others do without the package
        sys.path.append(package)
    sys.argv = words
    runpy.run_path(f"{folder}/{words[0]}", run_name="__main__")

import ablation, torch
from shared import MEAN, nb
matches = []
for make in (
    lambda: ablation.make_match(ablation.DEFAULT),
    lambda: nb.make_match(replace(nb.Config(), mean=MEAN)),
):
    torch.manual_seed(0)
    match = make()
    for step in range(3):
        nb.play_step(match, torch.zeros(4, *nb.SHAPE))
    matches.append(match)
print("# same")
parts = zip(*(m.average.state_dict().values() for m in matches), strict=True)
rates = [(m.optimizer_g.defaults["lr"], m.optimizer_d.defaults["lr"]) for m in matches]
players = [str(m.discriminator) for m in matches]
eyes = [(m.discriminator.mean, m.discriminator.gain) for m in matches]
for name, same in {
    "weights": all(torch.equal(*pair) for pair in parts),
    "rates": rates[0] == rates[1],
    "discriminators": players[0] == players[1],
    "eyes": eyes[0] == eyes[1],
    "steps": 7800 == nb.Config().epochs * 600,
}.items():
    print("|", name, "|", same, "|")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the scripts write."""
    return tmp_path_factory.mktemp("measure")


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder that stands for the second judge's package: its file, with weights of noise."""
    import torch
    from torch import nn

    place = tmp_path_factory.mktemp("package")
    about = place / "digit_recognizer_py-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: digit-recognizer-py\n")
    layers = {
        f"conv_layers.{3 * i}": nn.Conv2d(*n, 3)
        for i, n in enumerate([(1, 32), (32, 64), (64, 128)])
    }
    layers |= {"fc_layers.0": nn.Linear(128 * 3 * 3, 256), "fc_layers.2": nn.Linear(256, 10)}
    state = {
        f"{k}.{kind}": v for k, layer in layers.items() for kind, v in layer.state_dict().items()
    }
    (place / "digit_recognizer" / "models").mkdir(parents=True)
    torch.save(state, place / "digit_recognizer" / "models" / "handwriting_model.pth")
    return place


@pytest.fixture(scope="module")
def printed(folder, package) -> dict[str, str]:
    """Run all commands and return, by name, what they print."""
    commands = {name: [w.format(folder) for w in words] for name, words in COMMANDS.items()}
    (folder / "record.jsonl").write_text(json.dumps(RECORD | {"name": "gan.py"}) + "\n")
    words = [sys.executable, "-c", ONE_BY_ONE, MEASURE, package, json.dumps(commands)]
    done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE)
    assert done.returncode == 0
    _, *parts = re.split(r"^# (\w+)\n", done.stdout.decode(), flags=re.M)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture(scope="module")
def tables(printed) -> dict[str, list[list[str]]]:
    """The rows of the tables that the commands print, without their heads."""
    rows = {}
    for name, text in printed.items():
        lines = [line for line in text.splitlines() if line.startswith("|")]
        lines = lines[2:] if len(lines) > 1 and lines[1].startswith("|---") else lines
        rows[name] = [[word.strip() for word in line.strip("|").split("|")] for line in lines]
    return rows


def rows_of(path: Path) -> list[dict]:
    """Return the rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_and_the_records_name_its_command(script):
    command = f"python tests/measure/{script}"
    assert f"\nUsage: {command}" in (MEASURE / script).read_text()
    assert f"`{command}" in (MEASURE / "README.md").read_text()


def test_every_script_is_rehearsed_here():
    assert {words[0] for words in COMMANDS.values()} == {*SCRIPTS}


# make_reference.py


def test_the_reference_run_is_all_of_the_default_and_the_last_of_others(printed, folder):
    names = {path.name for path in (folder / "reference").iterdir()}
    assert names == LAST | {"generator.pt", "judge.pt", "progress.gif", "dcgan"}
    assert {path.name for path in (folder / "reference" / "dcgan").iterdir()} == LAST


def test_the_references_figures_are_of_the_generator_that_it_keeps(
    nb, mnist, digits, printed, folder
):
    judge = nb.load_judge(*mnist, folder / "reference" / "judge.pt")
    generator = nb.load_generator(folder / "reference")
    figures = nb.evaluate(generator, judge, digits[0][: nb.SIZE["test"]])
    kept = json.loads((folder / "reference" / "figures.json").read_text())
    assert {name: kept[name] for name in figures} == pytest.approx(figures, rel=1e-3, abs=1e-3)


def test_the_references_generator_is_kept_in_half_precision(nb, printed, folder):
    import torch

    weights = nb.load(folder / "reference" / "generator.pt")["weights"].values()
    assert {weight.dtype for weight in weights} == {torch.float16, torch.int64}


# ablation.py


@pytest.mark.parametrize("what", ["weights", "rates", "discriminators", "eyes", "steps"])
def test_the_ablations_default_is_the_pages(tables, what):
    assert dict(tables["same"])[what] == "True"


def test_the_ablation_writes_a_row_a_game_and_shows_the_average_beside(tables, folder):
    names = [row["name"] for row in rows_of(folder / "ablation.jsonl")]
    assert names == [*GAMES]
    shown = [row[0] for row in tables["ablation"]]
    assert {"without the average", "plain, no average"} | {*names} == {*shown}


def test_the_ablation_looks_at_ds_slopes_and_at_the_distance_on_the_way(printed, folder):
    for row in rows_of(folder / "ablation.jsonl"):
        assert row["slopes"]["10"]["median slope, real"] > 0
        assert row["curve"]["10"] > 0


def test_the_ablation_draws_its_rows(printed, folder):
    assert (folder / "ablation.png").read_bytes().startswith(b"\x89PNG")


def test_the_leave_one_out_table_of_the_page_is_that_of_the_records(printed, cells):
    (cell,) = (cell for cell in cells if cell["id"] == "leave-one-out-text")
    assert printed["page"].strip() in cell["source"].split("\n\n")


@pytest.mark.parametrize(
    ("title", "name"),
    [("with the norm", "the default"), ("without", "without the spectral norm")],
)
def test_the_slopes_of_the_page_are_those_of_the_records(cells, title, name):
    (row,) = (
        row
        for row in rows_of(MEASURE / "ablation.jsonl")
        if (row["name"], row["seed"]) == (name, 0)
    )
    slopes = [f"{row['slopes'][step]['median slope, real']:.1f}" for step in ("100", "600", "2400")]
    distances = [f"{row['curve'][step]:.0f}" for step in ("600", "1200", "2400", "4800")]
    (cell,) = (cell for cell in cells if cell["id"] == "leave-one-out-text")
    assert f"| {' | '.join([title, *slopes, *distances])} |" in cell["source"].splitlines()


def test_every_row_of_the_leave_one_out_table_has_three_seeds_or_more(tables):
    seeds = {}
    for row in rows_of(MEASURE / "ablation.jsonl"):
        seeds.setdefault(row["name"], []).append(row["seed"])
    names = {name for name, *_ in tables["page"]} - {"without the average"}  # the default's games
    assert {"the default", "without the spectral norm", "beta1 0.9"} < names
    assert {name: seeds[name] for name in names if not {0, 1, 2} <= {*seeds[name]}} == {}
    assert len(seeds["the default"]) >= 7


# The others


def test_every_peer_is_measured_after_as_many_seconds_and_in_the_end(printed, folder):
    moments: dict[str, list[str]] = {}
    for row in rows_of(folder / "peers.jsonl"):
        moments.setdefault(row["name"], []).append(row["moment"])
    assert moments.pop("default") == ["in the end"]  # the seconds are its own
    assert len(moments) >= 4
    assert {(*sorted(some),) for some in moments.values()} == {
        ("after as many seconds", "in the end")
    }


def test_the_peers_keep_no_file_of_a_game_that_is_over(printed, folder):
    assert [*folder.glob("peers-*.pt")] == []


def test_the_second_judge_measures_beside_the_first(printed, folder):
    (row,) = rows_of(folder / "opinion.jsonl")
    second = {name for name in row["measures"] if name.endswith("by the second judge")}
    assert {name.removesuffix(" by the second judge") for name in second} < {*row["measures"]}
    assert len(second) == 4


def test_a_record_is_added_and_shown_with_those_of_other_machines_left_alone(tables, folder):
    first, second = rows_of(folder / "record.jsonl")
    assert first["machine"] == RECORD["machine"]
    assert second["reached"]["1e+09"]["steps"] == 20
    assert "gan.py, distance 1e+09" in [row[0] for row in tables["record"]]


def test_the_benchmark_goes_from_the_textbooks_loop_to_the_default(tables):
    rows = tables["benchmark"]
    assert rows[0][0] == "the textbook's loop"
    assert rows[-1][0].endswith("the default recipe")
    assert all(float(row[1]) > 0 for row in rows)


def test_endurance_looks_ten_times(tables):
    assert [row[0] for row in tables["endurance"]] == [f"{n} epochs" for n in range(1, 11)]
