"""What the scripts share: the notebook's definitions, MNIST, the judge, and tables."""

import json
import os
import platform
import sys
import tempfile
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tests/
from conftest import ROOT, load_definitions

MEASURE, REFERENCE = ROOT / "tests" / "measure", ROOT / "runs" / "reference"
os.environ.setdefault("DATA_DIR", str(ROOT / "data"))
sys.stdout.reconfigure(line_buffering=True)  # each line as soon as it is there, also in a file
nb = load_definitions()
nb.display = lambda *_, **__: None  # there is no page to show fakes on
scratch = tempfile.TemporaryDirectory()  # until this process ends
nb.RUNS = Path(scratch.name)
REHEARSAL = nb.SIZE is nb.SMALL
images, labels = (part[: nb.SIZE["images"]] for part in nb.load_mnist())
test_images, test_labels = (part[: nb.SIZE["test"]] for part in nb.load_mnist(train=False))
test_images = test_images[:, None] / 255
MEAN = round(images.float().mean().item() / 127.5 - 1, 4)


def halve(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights in half precision, whole numbers (batch norm's counters) as they are."""
    return {k: w.half() if w.is_floating_point() else w for k, w in weights.items()}


def load_judge(path: Path = REFERENCE / "judge.pt") -> torch.nn.Module:
    """Return the judge at `path`; teach one, and keep it there, if there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        nb.save(path, halve(nb.load_judge(images, labels, path).state_dict()))
    return nb.load_judge(images, labels, path)


def machine() -> str:
    """Return what a record must say of the machine."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name, threads = names[0] if names else platform.processor(), torch.get_num_threads()
    return f"{name}, {threads} threads, device {nb.device}, torch {torch.__version__}"


def recall(real: torch.Tensor, fake: torch.Tensor) -> float:
    """Return the share of real features inside any ball that reaches from a fake to its
    third-nearest fake: Kynkäänniemi et al. (2019).
    """
    inside = torch.zeros(len(real), dtype=torch.bool)
    for some in fake.split(1000):
        radius = torch.cdist(some, fake).topk(4, largest=False).values[:, -1:]
        inside |= (torch.cdist(some, real) <= radius).any(0)
    return inside.float().mean().item()


def assess(judge: torch.nn.Module, fake: torch.Tensor) -> dict[str, float]:
    """Return the page's measures of images in [0, 1], recall, and how evenly the digits come."""
    measures = nb.assess(judge, fake, test_images)
    features = (F.normalize(judge[:-3](some)) for some in (test_images, fake))
    digits = judge(fake).argmax(1).bincount(minlength=10) / len(fake)
    shares = {"rarest": digits.min().item(), "commonest": digits.max().item()}
    return measures | {"recall": recall(*features)} | shares


def distance_evenly(generator: torch.nn.Module, judge: torch.nn.Module) -> float:
    """Return the Fréchet distance of a generator's fakes, so chosen by the judge that each digit
    comes as often as among the test digits (or as often as it comes at all, in four times as many).
    """
    pool = nb.sample(generator, 4 * len(test_images), seed=1)
    digits = judge(pool).argmax(1)
    chosen = [pool[digits == digit][:n] for digit, n in enumerate(test_labels.bincount())]
    return nb.frechet_distance(judge[:-2](test_images), judge[:-2](torch.cat(chosen)))


def read(path: Path) -> list[dict]:
    """Return the rows of a file of JSON lines; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(path: Path, row: dict) -> None:
    """Add a row to a file of JSON lines."""
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


def text_of(value: float | str) -> str:
    """Return a number in three digits or more, and words as they are."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def print_rows(rows: dict[str, dict]) -> None:
    """Print rows of numbers by name as a table in Markdown."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    print(f"\n| {' | '.join(['', *(name.replace('_', ' ') for name in names)])} |")
    print("|---|" + "---:|" * len(names))
    for title, row in rows.items():
        print(f"| {' | '.join([title, *(text_of(row.get(name, '')) for name in names)])} |")
