"""Which settings are better: one training for each combination of some, and their figures.

Usage: python tests/measure/search.py FILE [RECIPE] [FIELD=VALUE ...] [--picture PNG]

Trains each combination (a field of `Config`, or an attribute as `Discriminator.gain=6`, may be
named more than once) and appends its figures to FILE, a JSON object a line; what is there already
is not trained again. Then prints all of FILE, and draws it as a picture: sure against recall. With
nothing but a FILE it only prints. In this folder, search.jsonl holds the records.
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import shared


def draw(rows: dict[str, dict], path: Path) -> None:
    """Draw the frontier between clear digits and varied ones; rows named "A, ..." are an A."""
    groups: dict[str, list] = {}
    for name, row in rows.items():
        group = name.split(",")[0].split(":")[0]
        groups.setdefault(group, []).append((row["recall"], row["sure"], name))
    figure, axis = plt.subplots(figsize=(11, 6), layout="constrained")
    for number, (group, points) in enumerate(groups.items()):
        *place, names = zip(*points)
        style = {"marker": f"${group[0]}$", "s": 70, "color": f"C{number % 10}"}
        axis.scatter(*place, label=names[0], **style)
    axis.set(xlabel="recall: varied", ylabel="sure: clear")
    figure.legend(loc="outside lower center", fontsize=8, ncols=2)
    figure.savefig(path, dpi=80)


def main(path: Path, words: list[str], picture: Path | None) -> None:
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    rows = {row.pop("name"): row for row in found}
    recipe, trials = shared.variants(words)
    for settings in trials if words else []:
        if (name := f"{recipe}, {shared.name_of(settings)}") not in rows:
            rows[name] = shared.measure(recipe, settings, shared.load_judge())
            with open(path, "a") as file:
                print(json.dumps({"name": name} | rows[name]), file=file)
    shared.print_rows(rows)
    if picture:
        draw(rows, picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("words", nargs="*", metavar="RECIPE or FIELD=VALUE")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    main(options.file, options.words, options.picture)
