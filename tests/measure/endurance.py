"""Many short epochs in one process: do memory, open files or event files run away?

Usage: python tests/measure/endurance.py [EPOCHS]         (300 without an argument; minutes; Linux)
"""

import contextlib
import io
import os
import sys
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
    match, rows = nb.make_match("mlp"), {}
    loader = nb.make_loader(shared.images[:1000], shared.labels[:1000])

    def measure(artist) -> dict[str, float]:
        epoch = match.step // len(loader)
        if epoch and epoch % (epochs // 10) == 0:
            rows[f"{epoch} epochs"] = look()
        return {}

    with contextlib.redirect_stdout(io.StringIO()):
        nb.train(match, loader, epochs, measure=measure)
    print(shared.machine())
    print(shared.markdown("", rows))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
