"""A thousand short epochs in one process: do memory, open files or event files run away?

Usage: python tests/endurance.py [EPOCHS]        (1000 without an argument; a few minutes)
"""

import contextlib
import io
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from conftest import ROOT, load_definitions


def memory() -> float:
    """Return this process's resident memory in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(epochs: int) -> None:
    nb = load_definitions()
    images, labels = nb.load_mnist(ROOT / "data")
    cpu = torch.device("cpu")
    config = replace(nb.Config(), epochs=epochs, log_every=5, sample_every=10, checkpoint_every=10)
    loader = nb.make_loader(images[:1000], labels[:1000], config, cpu)
    print("epoch   memory (MB)   open files   event file (kB)")
    with tempfile.TemporaryDirectory() as scratch:
        nb.RUNS = Path(scratch)
        seen = []

        def measure(generator: torch.nn.Module) -> dict[str, float]:
            seen.append(generator)
            if len(seen) % (epochs // 10) == 0:
                (events,) = nb.RUNS.glob("*/events*")
                files = len(list(Path("/proc/self/fd").iterdir()))
                size = events.stat().st_size / 1e3
                row = f"{len(seen):5}   {memory():11.0f}   {files:10}   {size:15,.0f}"
                print(row, file=sys.stderr)
            return {}

        with contextlib.redirect_stdout(io.StringIO()):
            nb.train(config, loader, cpu, measure=measure)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
