"""What the scripts share: the notebook's definitions, MNIST, the judge, and tables."""

import json
import os
import platform
import re
import signal
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tests/
from conftest import ROOT, load_definitions

MEASURE, REFERENCE = ROOT / "tests" / "measure", ROOT / "runs" / "reference"
os.environ.setdefault("DATA_DIR", str(ROOT / "data"))
sys.stdout.reconfigure(line_buffering=True)  # each line as soon as it is there, also in a file
signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # notes of work are taken away then
nb = load_definitions()
nb.display = lambda *_, **__: None  # there is no page to show fakes on
scratch = tempfile.TemporaryDirectory()  # until this process ends
nb.RUNS = Path(scratch.name)
REHEARSAL = nb.SIZE["images"] < 60_000
images, labels = (part[: nb.SIZE["images"]] for part in nb.load_mnist())
test_images, test_labels = (part[: nb.SIZE["test"]] for part in nb.load_mnist(train=False))


def load_judge() -> nn.Module:
    """Return the judge of all records; it is never taught again."""
    path = REFERENCE / "judge.pt"
    if not path.exists():
        raise SystemExit(f"{path} is missing; with another judge the records would not compare.")
    return nb.load_judge(images, labels, path)


def machine() -> str:
    """Return what a record must say of the machine."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name, threads = names[0] if names else platform.processor(), torch.get_num_threads()
    return f"{name}, {threads} threads, device {nb.device}, torch {torch.__version__}"


@cache
def test_features(judge: nn.Module) -> Tensor:
    """Return a judge's features of the test images, which don't change while a script runs."""
    return judge[:-2](test_images)


def distance(drawings: Tensor, judge: nn.Module) -> float:
    """Return the Fréchet distance of drawings, beside the test images."""
    return nb.frechet_distance(test_features(judge), judge[:-2](drawings))


def distance_evenly(artist: nn.Module, judge: nn.Module) -> float:
    """Return the distance of drawings of which each digit comes as often as among the test digits,
    or as often as it comes at all; chosen by the judge.
    """
    pool = nb.sample(artist, 3 * len(test_images), seed=1)
    digits = torch.cat([judge(some).argmax(1) for some in pool.split(10_000)])
    chosen = [pool[digits == digit][:n] for digit, n in enumerate(test_labels.bincount())]
    return distance(torch.cat(chosen), judge)


def read(path: Path) -> list[dict]:
    """Return the rows of a file of JSON lines; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def artists(name: str | None) -> list[dict]:
    """Return the measures of the artists of a game of ablation.jsonl, a dict a seed."""
    return [row["artist"] for row in read(MEASURE / "ablation.jsonl") if row["name"] == name]


def append(path: Path, row: dict) -> None:
    """Add a row to a file of JSON lines."""
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


def text_of(value: float | str) -> str:
    """Return a number in three digits or more, and words as they are."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def mean_of(values: list[float]) -> str:
    """Return the mean of numbers, and their range where there are several."""
    mean, low, high = map(text_of, (sum(values) / len(values), min(values), max(values)))
    return f"{mean} ({low} to {high})" if len(values) > 1 else mean


def markdown(title: str, rows: dict[str, dict]) -> str:
    """Return rows of numbers by name as a table in Markdown."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [f"| {' | '.join([title, *names])} |", "|---|" + "---:|" * len(names)]
    for row_title, row in rows.items():
        lines.append(f"| {' | '.join([row_title, *(text_of(row.get(n, '')) for n in names)])} |")
    return "\n".join(lines)


def fill(tables: dict[str, str]) -> None:
    """Put tables after their marks, `<!-- table: NAME -->`, in the README and in the records."""
    for path in (ROOT / "README.md", MEASURE / "README.md"):
        text = path.read_text(encoding="utf-8")
        for name, table in tables.items():
            mark = f"<!-- table: {name} -->\n"
            text = re.sub(rf"{mark}(\|.*\n)*", lambda _, new=mark + table: new + "\n", text)
        path.write_text(text, encoding="utf-8")
