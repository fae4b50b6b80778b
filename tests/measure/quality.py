"""How good a recipe is, seed by seed, by the notebook's judge on 10,000 samples.

Usage: python tests/measure/quality.py [RECIPE] [FIELD=VALUE ...] [--until DISTANCE]

The default recipe, `mlp`, without a name, and seeds 0, 1 and 2 without a `seed=...`. Any field of
`Config` may be named, also more than once: `seed=3 seed=4` is two rows. The last row is the worst
of each figure. With `--until` it trains, at steady rates, only until the Fréchet distance is that
small, looking every hundred steps; the seconds are without looking.
"""

import argparse
import itertools
import time
from dataclasses import replace

import shared
from shared import nb, real


def reach(goal: float, recipe: str, settings: dict, judge) -> dict[str, float]:
    """Train until the distance is at most `goal`, or to the end; return figures of that moment."""
    config = replace(nb.RECIPES[recipe], **settings)
    game, seconds, distance = nb.Game(config, nb.device), 0.0, float("inf")
    loader = nb.make_loader(shared.images, shared.labels, config, nb.device)
    batches = itertools.chain.from_iterable(itertools.repeat(loader, config.epochs))
    features = judge[:-2]
    wanted = features(real)
    while distance > goal and game.step < config.epochs * len(loader):
        began = time.perf_counter()
        for batch in itertools.islice(batches, 100):
            with nb.SHORT:
                figures = nb.play_step(game, *batch)
        figures.tolist()  # waits for the device
        seconds += time.perf_counter() - began
        fake = nb.sample(game.average, len(real), seed=0)
        distance = nb.frechet_distance(wanted, features(fake))
    return {"frechet_distance": distance, "steps": game.step, "seconds": seconds}


def main(words: list[str], goal: float | None) -> None:
    seeds = (
        [] if any(word.startswith("seed=") for word in words) else ["seed=0", "seed=1", "seed=2"]
    )
    recipe, trials = shared.variants(words + seeds)
    judge, rows = shared.load_judge(), {}
    print(f"{recipe}; {shared.machine()}; {len(real):,} samples")
    for settings in trials:
        name = shared.name_of(settings)
        if goal is None:
            rows[name] = shared.measure(recipe, settings, judge)
        else:
            rows[name] = reach(goal, recipe, settings, judge)
        shared.print_rows({name: rows[name]}, head=len(rows) == 1)
    worst = {f: shared.WORST.get(f, min)(row[f] for row in rows.values()) for f in rows[name]}
    shared.print_rows({"worst": worst}, head=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="RECIPE or FIELD=VALUE")
    parser.add_argument("--until", type=float, metavar="DISTANCE")
    options = parser.parse_args()
    main(options.words, options.until)
