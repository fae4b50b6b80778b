"""Make runs/reference again: finished runs to look at before you have any of your own.

Usage: python tests/make_reference.py [RECIPE ...]     (mlp without an argument: three minutes)

Of the default recipe, `mlp`, it keeps the generator, the film, the logs, and the judge that made
the figures; of the others, which take from three minutes (conditional) to twenty (classic) on
two cores, only the numbers and the last grid.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import torch
from conftest import ROOT, load_definitions
from torch.utils.tensorboard import SummaryWriter

REFERENCE = ROOT / "runs" / "reference"
EVENTS = "events.out.tfevents.reference"  # without this machine's name; TensorBoard reads it, too


def halve(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights in half precision, whole numbers (batch norm's counters) as they are."""
    return {k: w.half() if w.is_floating_point() else w for k, w in weights.items()}


def keep_run(nb, run, judge) -> None:
    """Keep the default recipe's run, in half precision, with the judge that measured it."""
    for path in REFERENCE.glob("*.*"):
        path.unlink()
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "progress.gif"):
        shutil.copy(run.directory / name, REFERENCE)
    (events,) = run.directory.glob("events.out.tfevents.*")
    shutil.copy(events, REFERENCE / EVENTS)
    torch.save(halve(judge.state_dict()), REFERENCE / "judge.pt")
    state = nb.load_file(run.directory / "generator.pt")
    torch.save(state | {"weights": halve(state["weights"])}, REFERENCE / "generator.pt")


def keep_log(nb, run) -> None:
    """Keep a run's numbers and its last grid."""
    directory = REFERENCE / run.config.recipe
    shutil.rmtree(directory, ignore_errors=True)
    with SummaryWriter(directory) as writer:
        nb.write_settings(writer, run.config)
        for row in run.history:
            for name in row.keys() - {"step"}:
                writer.add_scalar(name, row[name], row["step"])
        latent = torch.randn(
            64, run.config.latent_dim, generator=torch.Generator().manual_seed(run.config.seed)
        )
        writer.add_image("images/fake", nb.grid_of(nb.draw(run.generator, latent)), run.step)
    (events,) = directory.glob("events.out.tfevents.*")
    events.rename(directory / EVENTS)
    shutil.copy(run.directory / "config.json", directory)


def main(names: list[str]) -> None:
    nb = load_definitions()
    images, labels = nb.load_mnist(ROOT / "data", train=True)
    test_images, _ = nb.load_mnist(ROOT / "data", train=False)
    device = nb.pick_device()
    for name in names:
        if name == "mlp":
            judge = nb.train_judge(images, labels)
            judge.load_state_dict({k: w.float() for k, w in halve(judge.state_dict()).items()})
        else:
            judge = nb.load_judge(images, labels, REFERENCE / "judge.pt")
        config = nb.RECIPES[name]
        measure = nb.make_measure(judge, test_images[:, None].float() / 255)
        with tempfile.TemporaryDirectory() as scratch:
            nb.RUNS = Path(scratch)
            loader = nb.make_loader(images, labels, config, device)
            run = nb.train(config, loader, device, measure=measure)
            keep_run(nb, run, judge) if name == "mlp" else keep_log(nb, run)
    size = sum(path.stat().st_size for path in REFERENCE.rglob("*.*")) / 1e6
    print(f"{REFERENCE.relative_to(ROOT)}: {size:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:] or ["mlp"])
