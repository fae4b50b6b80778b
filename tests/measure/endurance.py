"""A thousand short epochs in one process: do memory, open files or event files run away?

Usage: python tests/measure/endurance.py [EPOCHS]        (1000 without an argument; minutes; Linux)
"""

import contextlib
import io
import os
import sys
from dataclasses import replace
from pathlib import Path

import shared
from shared import nb

PROCESS = Path("/proc/self")


def main(epochs: int) -> None:
    config = replace(nb.Config(), epochs=epochs)
    loader = nb.make_loader(shared.images[:1000], shared.labels[:1000], config, nb.device)
    seen, out = [], sys.stdout
    print(shared.machine(), "", "| epoch | memory (MB) | open files | event file (kB) |", sep="\n")
    print("|---:|---:|---:|---:|")

    def measure(generator) -> dict[str, float]:
        seen.append(generator)
        if len(seen) % (epochs // 10) == 0:
            pages = int((PROCESS / "statm").read_text().split()[1])
            memory = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
            files = len(list((PROCESS / "fd").iterdir()))
            size = sum(path.stat().st_size for path in nb.RUNS.glob("*/events*")) / 1e3
            print(f"| {len(seen)} | {memory:.0f} | {files} | {size:,.0f} |", file=out)
        return {}

    with contextlib.redirect_stdout(io.StringIO()):
        nb.train(config, loader, nb.device, measure=measure)
    print("The film is made.")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
