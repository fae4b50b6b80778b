"""Make runs/reference again: the default recipe, complete, and the judge that measured it.

Usage: python tests/make_reference.py
"""

import shutil
import tempfile
from pathlib import Path

import torch
from conftest import ROOT, load_definitions


def halve(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights in half precision, whole numbers (batch norm's counters) as they are."""
    return {k: w.half() if w.is_floating_point() else w for k, w in weights.items()}


def main() -> None:
    nb = load_definitions()
    reference = ROOT / "runs" / "reference"
    images, labels = nb.load_mnist(ROOT / "data", train=True)
    test_images, _ = nb.load_mnist(ROOT / "data", train=False)
    with tempfile.TemporaryDirectory() as scratch:
        nb.RUNS = Path(scratch)
        judge = nb.train_judge(images, labels)
        judge.load_state_dict({k: w.float() for k, w in halve(judge.state_dict()).items()})
        measure = nb.make_measure(judge, test_images[:, None].float() / 255)
        device, config = nb.pick_device(), nb.RECIPES["mlp"]
        loader = nb.make_loader(images, labels, config, device)
        run = nb.train(config, loader, device, measure=measure)

        shutil.rmtree(reference, ignore_errors=True)
        reference.mkdir(parents=True)
        for name in ("config.json", "progress.gif"):
            shutil.copy(run.directory / name, reference)
        (events,) = run.directory.glob("events.out.tfevents.*")
        # a name without this machine's: TensorBoard reads any that holds "tfevents"
        shutil.copy(events, reference / "events.out.tfevents.reference")
        torch.save(halve(judge.state_dict()), reference / "judge.pt")
        state = nb.load_file(run.directory / "generator.pt")
        torch.save(state | {"weights": halve(state["weights"])}, reference / "generator.pt")
    size = sum(path.stat().st_size for path in reference.iterdir()) / 1e6
    print(f"{reference.relative_to(ROOT)}: {size:.1f} MB")


if __name__ == "__main__":
    main()
