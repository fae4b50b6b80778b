"""Time to quality, an open record: how long a game trains until its digits are good.

Usage: python tests/measure/record.py NAME [--target 30 10] [--seeds 0 1 2 3 4] [--threads 2]
           [--minutes 10] [--file FILE] [--table] [--fill]

The rules. Anybody may enter a row, of any generative model that learns from MNIST's 60,000
training images alone.
1. The machine is two threads of a CPU, or one GPU, and the row names it.
2. The target is a Frechet distance of 30 and, in the second class, of 10: by the judge in
   runs/reference/judge.pt as it is, on 10,000 samples of the generator that one would sample
   from (its average where it has one), beside the 10,000 test images.
3. The clock runs from the first step while the game trains, and not while it is measured. Data,
   judge and players are there before it starts. Wall time counts; CPU time stands beside it.
4. The distance is taken after every 100 steps until step 2,000, and then whenever a twentieth
   more steps have been played, in whole hundreds. The time is that of the first measurement at
   or below the target; so rare measurements can only make a row worse.
5. Five seeds, and their median; fewer are shown with their number. A seed whose game fails, or
   that is not there after --minutes of training, counts as infinite: "not reached".
6. Settings are fixed before the first seed, and the same for all seeds and both targets.

A JSON object a seed is appended to FILE (record.jsonl in this folder). Seeds that it has for this
machine and these targets are not played again, and none is once three have reached no target,
since they decide the median of five. A new entrant is one more recipe, here or in peers.py.
"""

import argparse
import math
import time
from pathlib import Path
from statistics import median

import peers
import shared
import torch
from shared import nb
from torch import nn

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
NAMES = [name for name in nb.RECIPES if name != "conditional"]  # its images have labels


def read_clocks() -> dict[str, float]:
    """Return the clocks in seconds, once the device has done what it was asked for."""
    if nb.device.type != "cpu":
        torch.accelerator.synchronize()
    return {name: clock() for name, clock in CLOCKS.items()}


def next_check(step: int) -> int:
    """Return at which step the distance is taken after it was taken at `step`."""
    return 100 * max(step // 100 + 1, math.ceil(step * 1.05 / 100))


def run(name: str, seed: int, targets: list[float], minutes: float, judge: nn.Module) -> dict:
    """Play a game until it reaches the lowest target or time is up.

    Returns a row: `reached`, by target the step and the seconds, or None; and the `curve`, of
    steps, seconds by the wall, and distances.
    """
    match, spent = peers.make_match(name, seed), dict.fromkeys(CLOCKS, 0.0)
    play_step = peers.STEPS.get(name, nb.play_step)
    batches, curve, check = peers.batches(match, peers.make_loader(name)), [], 100
    check = 20 if shared.REHEARSAL else check
    reached: dict[str, dict | None] = {f"{target:g}": None for target in targets}
    while spent["wall"] < 60 * minutes and not all(reached.values()):
        began = read_clocks()
        while match.step < check:
            play_step(match, next(batches))
        spent = {name: spent[name] + now - began[name] for name, now in read_clocks().items()}
        drawings = nb.sample(match.artist, len(shared.test_images), seed=0)
        if not drawings.isfinite().all():
            break
        distance = shared.distance(drawings, judge)
        curve.append((match.step, round(spent["wall"], 2), distance))
        for target in targets:
            if distance <= target and not reached[f"{target:g}"]:
                reached[f"{target:g}"] = {"steps": match.step} | spent
        check = next_check(match.step)
    return {"reached": reached, "curve": curve}


def table(rows: list[dict]) -> str:
    """Return a row a game, target and machine: the medians over the seeds."""
    groups: dict[tuple, dict] = {}
    for row in rows:
        for target, found in row["reached"].items():
            key = row["name"], float(target), row["machine"]
            groups.setdefault(key, {})[row["seed"]] = found
    result = {}
    for (name, target, machine), seeds in sorted(groups.items()):
        line = {"machine": machine, "seeds": len(seeds)}
        for unit in ("steps", *CLOCKS):
            values = [found[unit] if found else math.inf for found in seeds.values()]
            low, middle, high = min(values), median(values), max(values)
            text = f"{middle:.0f} ({low:.0f} to {high:.0f})" if middle < math.inf else "not reached"
            line[unit if unit == "steps" else f"{unit} seconds"] = text.replace("inf", "never")
        result[f"{name}, distance {target:g}"] = line
    return shared.markdown("", result)


def main(options: argparse.Namespace) -> None:
    """Play the seeds that the file lacks, one after the other; append a row each."""
    judge, wanted = shared.load_judge(), {f"{target:g}" for target in options.target}
    here = {"name": options.name, "machine": shared.machine()}
    for seed in options.seeds:
        rows = [row for row in shared.read(options.file) if here.items() <= row.items()]
        rows = [row for row in rows if wanted <= row["reached"].keys()]
        lost = sum(not any(row["reached"].values()) for row in rows)
        if lost >= 3 or any(row["seed"] == seed for row in rows):
            continue
        row = here | {"seed": seed, "minutes": options.minutes}
        row |= run(options.name, seed, options.target, options.minutes, judge)
        shared.append(options.file, row)
        print(options.name, seed, row["reached"], "last:", row["curve"][-1:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="mlp", choices=NAMES)
    parser.add_argument("--target", nargs="*", type=float, default=[30.0, 10.0])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, for each seed")
    parser.add_argument("--file", type=Path, default=shared.MEASURE / "record.jsonl")
    parser.add_argument("--table", action="store_true", help="print all rows and play none")
    parser.add_argument("--fill", action="store_true", help="put the table into README files")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not (options.table or options.fill):
        main(options)
    if options.fill:
        shared.fill({"record": table(shared.read(options.file))})
    print(table(shared.read(options.file)))
