"""What the scripts share: the notebook's definitions, MNIST, and how a training is measured."""

import ast
import contextlib
import itertools
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tests/
from conftest import ROOT, load_definitions

REFERENCE = ROOT / "runs" / "reference"
WORST = {"frechet_distance": max, "seconds": max}  # of the other figures the smallest is the worst
os.environ.setdefault("DATA_DIR", str(ROOT / "data"))
sys.stdout.reconfigure(line_buffering=True)  # each line as soon as it is there, also in a file
nb = load_definitions()
nb.display = lambda *_, **__: SimpleNamespace(update=lambda _: None)  # no page to show fakes on
scratch = tempfile.TemporaryDirectory()  # until this process ends
nb.RUNS = Path(scratch.name)
images, labels = (part[: nb.SIZE["images"]] for part in nb.load_mnist())
real = nb.load_mnist(train=False)[0][: nb.SIZE["samples"], None] / 255


def machine() -> str:
    """Return what a record must say of the machine."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name, threads = names[0] if names else platform.processor(), torch.get_num_threads()
    return f"{name}, {threads} threads, device {nb.device}, torch {torch.__version__}"


def halve(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights in half precision, whole numbers (batch norm's counters) as they are."""
    return {k: w.half() if w.is_floating_point() else w for k, w in weights.items()}


def load_judge(path: Path = REFERENCE / "judge.pt") -> torch.nn.Module:
    """Return the judge at `path`; teach one, and keep it there, if there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        nb.save(path, halve(nb.load_judge(images, labels, path).state_dict()))
    return nb.load_judge(images, labels, path)


def train(config, judge: torch.nn.Module | None = None):
    """Return a finished run of `config`, and the seconds it took without measuring and logging."""
    if nb.SMOKE_TEST:
        config = replace(config, epochs=min(config.epochs, 2))

    def quick_look(generator: torch.nn.Module) -> dict[str, float]:
        figures = nb.evaluate(generator, judge, real[::5])
        return {"distance_2000": figures["frechet_distance"], "sure": figures["sure"]}

    loader = nb.make_loader(images, labels, config, nb.device)
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
        run = nb.train(config, loader, nb.device, measure=judge and quick_look)
    if run.epoch < config.epochs:
        raise KeyboardInterrupt  # which `train` ends with in good order, for a reader
    rates = [row[name] for row in run.history if (name := "speed/images_per_second") in row]
    return run, sum(len(loader) * config.batch_size / rate for rate in rates)


def variants(words: list[str]) -> tuple[str, list[dict]]:
    """Return the recipe named first, or `mlp`, and all combinations of the `FIELD=VALUE` after it.

    A field may be named more than once.
    """
    recipe = words[0] if words and "=" not in words[0] else "mlp"
    settings: dict[str, list] = {}
    for field, text in (word.split("=", 1) for word in words if "=" in word):
        is_text = isinstance(getattr(nb.Config, field, None), str)
        settings.setdefault(field, []).append(text if is_text else ast.literal_eval(text))
    return recipe, [dict(zip(settings, values)) for values in itertools.product(*settings.values())]


def name_of(settings: dict) -> str:
    """Return a row's name."""
    return ", ".join(f"{field} {value}" for field, value in settings.items()) or "as it is"


def measure(recipe: str, settings: dict, judge: torch.nn.Module) -> dict[str, float]:
    """Train a recipe with other `settings` (also `Class.attribute`); return its figures."""
    fields = settings.copy()
    for name in [name for name in settings if "." in name]:  # Discriminator.gain, say
        owner, attribute = name.split(".")
        setattr(getattr(nb, owner), attribute, fields.pop(name))
    run, seconds = train(replace(nb.RECIPES[recipe], **fields))
    shutil.rmtree(run.directory)
    return nb.evaluate(run.generator, judge, real) | {"seconds": seconds}


def print_rows(rows: dict[str, dict[str, float]], head: bool = True) -> None:
    """Print rows of figures by name as a table in Markdown; with `head` for a new one."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    if head:
        print(f"\n| {' | '.join(['', *(name.replace('_', ' ') for name in names)])} |")
        print("|---|" + "---:|" * len(names))
    for title, row in rows.items():
        numbers = (row.get(name) for name in names)
        texts = ("" if n is None else f"{n:.3g}" if n < 1000 else f"{n:.0f}" for n in numbers)
        print(f"| {' | '.join([title, *texts])} |")
