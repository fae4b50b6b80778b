"""Many short epochs in one process: do memory, open files or event files run away?

Usage: python tests/measure/endurance.py [EPOCHS]         (300 without an argument; minutes; Linux)
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


def look() -> dict[str, float]:
    """Return what this process and its run hold now."""
    pages = int((PROCESS / "statm").read_text().split()[1])
    size = sum(path.stat().st_size for path in nb.RUNS.glob("*/events*"))
    return {
        "memory (MB)": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "open files": len(list((PROCESS / "fd").iterdir())),
        "event file (kB)": size / 1e3,
    }


def main(epochs: int) -> None:
    config, rows, asked = replace(nb.Config(), epochs=epochs), {}, []

    def measure(generator) -> dict[str, float]:
        asked.append(generator)
        epoch = len(asked) - 1  # `train` asks once before the first
        if epoch and epoch % (epochs // 10) == 0:
            rows[f"{epoch} epochs"] = look()
        return {}

    images, labels = shared.images[:1000], shared.labels[:1000]
    with contextlib.redirect_stdout(io.StringIO()):
        nb.train(config, images, labels, nb.device, measure=measure)
    print(shared.machine())
    shared.print_rows(rows)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
