"""What each ingredient of the default is worth: leave one out, add one in, three seeds each.

Usage: python tests/measure/ablation.py [--rows NAME ...] [--seeds 0 1 2] [--file FILE]
           [--table] [--page] [--picture PNG]

Trains what FILE (ablation.jsonl in this folder) does not have yet, and appends a JSON object a
game, so that it can be stopped and goes on where it stopped; two of them at once share the work.
With `--table` it only prints what is there: mean and range over the seeds; with `--page`, the
table that stands in the page; with `--picture` it draws the last distances. Each game is of
100 images a step; the measures are of 10,000 samples by the judge of runs/reference, of the
average where there is one. `slope` is the length of the gradient of D's logit in the pixels;
`evenly` is the distance of fakes of which each digit comes as often as among the test digits.
"""

import argparse
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import shared
import torch
from shared import MEAN, labels, nb
from torch.nn import functional as F

LONG, SHORT = 7800, 1800  # steps
CURVE = (600, 1200, 2400, 4800)  # steps at which the distance is measured, too
SLOPES = (100, 600, 2400)
if shared.REHEARSAL:
    LONG, SHORT, CURVE, SLOPES = 20, 20, (10,), (10,)
DEFAULT = dict(
    steps=LONG, norm=True, r1=0.0, gain=4.0, centring=True, faces=20, batch_norm=True, lr_d=1e-3,
    betas=(0.0, 0.999), averaging=0.998, falling=True, latent_dim=100,
)  # fmt: skip
PLAIN = DEFAULT | dict(
    steps=SHORT, norm=False, gain=1.0, centring=False, faces=0, falling=False
)  # fmt: skip
SHARP = PLAIN | dict(gain=4.0, centring=True)
PAIRED = dict(norm=False, r1=1.0, r2=1.0, paired=True)
GAMES = {
    "the default": DEFAULT,
    "without the spectral norm": DEFAULT | dict(norm=False),
    "without the gain": DEFAULT | dict(gain=1.0),
    "without centring": DEFAULT | dict(centring=False),
    "without the die": DEFAULT | dict(faces=0),
    "without batch normalisation": DEFAULT | dict(batch_norm=False),
    "beta1 0.5": DEFAULT | dict(betas=(0.5, 0.999)),
    "beta1 0.9": DEFAULT | dict(betas=(0.9, 0.999)),
    "without falling rates": DEFAULT | dict(falling=False),
    "R1 in the norm's place": DEFAULT | dict(norm=False, r1=1.0),
    "new fakes for G's turn": DEFAULT | dict(own_fakes=True),
    "plain": PLAIN,
    "plain, gain": PLAIN | dict(gain=4.0),
    "plain, centring": PLAIN | dict(centring=True),
    "plain, gain and centring": SHARP,
    "plain, spectral norm": PLAIN | dict(norm=True),
    "plain, die": PLAIN | dict(faces=20),
    "plain, beta1 0.5": PLAIN | dict(betas=(0.5, 0.999)),
    "plain, beta1 0.9": PLAIN | dict(betas=(0.9, 0.999)),
    "gain, centring and die": SHARP | dict(faces=20),
    "gain, centring, die and norm": SHARP | dict(faces=20, norm=True),
    "40 faces": DEFAULT | dict(faces=40, latent_dim=120),
    "equal rates (2e-3)": DEFAULT | dict(lr_d=2e-3),
    "D's rate halved (5e-4)": DEFAULT | dict(lr_d=5e-4),
    "60 normal numbers for 80": DEFAULT | dict(latent_dim=80),
    "R1 in the norm's place, D's rate halved": DEFAULT | dict(norm=False, r1=1.0, lr_d=5e-4),
    "norm and R1": DEFAULT | dict(r1=1.0),
    "relativistic loss, R1 and R2, no norm": DEFAULT | PAIRED,
}
WITHOUT_AVERAGE = {  # a row beside, of the same games
    "the default": "without the average",
    "plain": "plain, no average",
    "plain, gain and centring": "plain, gain and centring, no average",
    "gain, centring and die": "gain, centring and die, no average",
}
PAGE = (  # the rows of the page's table, where FILE has them
    "the default", "beta1 0.9", "beta1 0.5", "without the spectral norm",
    "without batch normalisation", "without the die", "without the average",
    "without falling rates", "without the gain", "without centring",
    "R1 in the norm's place, D's rate halved",
)  # fmt: skip


def make_match(game: dict) -> nb.Match:
    """Return the match of a game's settings."""
    generator = nb.DieGenerator(
        game["faces"], latent_dim=game["latent_dim"], batch_norm=game["batch_norm"]
    )
    discriminator = nb.Discriminator(
        mean=MEAN if game["centring"] else 0.0,
        gain=game["gain"],
        norm=nb.spectral_norm if game["norm"] else nb.nn.Sequential,
    )
    players = generator.to(nb.device), discriminator.to(nb.device)
    return nb.Match(*players, lr_d=game["lr_d"], betas=game["betas"], averaging=game["averaging"])


def set_rates(match: nb.Match, game: dict) -> None:
    """Let both rates fall as the default's do, if they do in this game."""
    fallen = max(0, 1 + (match.step - nb.Config().steady_steps) // 600) * game["falling"]
    for optimizer in (match.optimizer_g, match.optimizer_d):
        optimizer.param_groups[0]["lr"] = optimizer.defaults["lr"] * 0.6**fallen


def penalty(match: nb.Match, images: torch.Tensor) -> torch.Tensor:
    """Return the mean squared slope of D's logit in the pixels: Mescheder et al. (2018), eq. 9."""
    images = images.detach().requires_grad_()
    (slope,) = torch.autograd.grad(match.discriminator(images).sum(), images, create_graph=True)
    return slope.flatten(1).square().sum(1).mean()


def play_variant(match: nb.Match, real: torch.Tensor, game: dict) -> None:
    """Play a step with what the page's own does not have: penalties, pairs, fakes of its own."""
    fake = match.generator(match.generator.latent(len(real)))
    logits_real, logits_fake = match.discriminator(torch.cat([real, fake.detach()])).chunk(2)
    paired = game.get("paired")  # Huang et al. (2024): each real image against one fake
    loss_d = nb.discriminator_loss(logits_real, logits_fake)
    loss_d = F.softplus(logits_fake - logits_real).mean() if paired else loss_d
    if match.step % 4 == 0:
        for name, images in (("r1", real), ("r2", fake)):
            if weight := game.get(name, 0.0):
                loss_d = loss_d + weight * penalty(match, images)
    match.optimizer_d.zero_grad()
    loss_d.backward()
    match.optimizer_d.step()
    if game.get("own_fakes"):
        fake = match.generator(match.generator.latent(len(real)))
    logits_fake = match.discriminator(fake)
    loss_g = nb.generator_loss(logits_fake)
    if paired:
        loss_g = F.softplus(match.discriminator(real).detach() - logits_fake).mean()
    match.optimizer_g.zero_grad()
    loss_g.backward(inputs=[*match.generator.parameters()])
    match.optimizer_g.step()
    match.step += 1
    match.average.update_parameters(match.generator)


def play_step(match: nb.Match, real: torch.Tensor, game: dict) -> None:
    """Play a step of a game: the page's own, unless the game has something that it has not."""
    if any(game.get(name) for name in ("r1", "r2", "paired", "own_fakes")):
        play_variant(match, real, game)
    else:
        nb.play_step(match, real)


def look_at_d(match: nb.Match, real: torch.Tensor) -> dict[str, float]:
    """Return D's slopes, scores and AUC at real images and at fakes."""
    fake = match.generator(match.generator.latent(len(real))).detach()
    seen, logits = {}, {}
    for name, some in (("real", real), ("fake", fake)):
        some = some.clone().requires_grad_()
        logits[name] = match.discriminator(some)
        (slope,) = torch.autograd.grad(logits[name].sum(), some)
        lengths = slope.flatten(1).norm(dim=1)
        seen[f"median slope, {name}"] = lengths.median().item()
        seen[f"largest slope, {name}"] = lengths.max().item()
        seen[f"score, {name}"] = logits[name].sigmoid().mean().item()
    pairs = torch.sign(logits["real"][:, None] - logits["fake"])
    return seen | {"auc": (1 + pairs).mean().item() / 2}


def run(game: dict, seed: int, judge: torch.nn.Module, assess=shared.assess) -> dict:
    """Play a game; return its measures, `assess(judge, fakes)`, with and without the average."""
    torch.manual_seed(seed)
    match = make_match(game)
    loader = nb.make_loader(shared.images, labels)
    batches = (real for real, _ in nb.chain.from_iterable(nb.repeat(loader)))
    features = judge[:-2](shared.test_images)
    row, seconds = {"curve": {}, "slopes": {}}, 0.0
    while match.step < game["steps"]:
        real = next(batches)
        set_rates(match, game)
        began = time.process_time()
        play_step(match, real, game)
        seconds += time.process_time() - began
        if match.step in SLOPES:
            row["slopes"][match.step] = look_at_d(match, real)
        if match.step in CURVE and match.step < game["steps"]:
            fake = nb.sample(nb.artist(match), len(shared.test_images), seed=0)
            row["curve"][match.step] = nb.frechet_distance(features, judge[:-2](fake))
    row["ms of a core a step"] = 1000 * seconds / match.step
    for name, artist in (("average", nb.artist(match)), ("last", match.generator)):
        fake = nb.sample(artist, len(shared.test_images), seed=0)
        row[name] = assess(judge, fake)
    row["evenly"] = shared.distance_evenly(nb.artist(match), judge)
    return row


def by_name(rows: list[dict]) -> dict[str, list[dict]]:
    """Return the measures of all seeds by the game's name; those without an average beside."""
    groups = defaultdict(list)
    for row in rows:
        beside = {"ms of a core a step": row["ms of a core a step"]}
        if "evenly" in row:  # the first rows were played without it
            beside["distance, drawn evenly"] = row["evenly"]
        groups[row["name"]].append(row["average"] | beside)
        if row["name"] in WITHOUT_AVERAGE:
            groups[WITHOUT_AVERAGE[row["name"]]].append(row["last"])
    return groups


def table(rows: list[dict]) -> dict[str, dict]:
    """Return rows of the mean and the range over the seeds."""
    result = {}
    for name, seeds in by_name(rows).items():
        result[name] = {"seeds": len(seeds)}
        for measure in dict.fromkeys(name for row in seeds for name in row):
            values = [row[measure] for row in seeds if measure in row]
            numbers = sum(values) / len(values), min(values), max(values)
            mean, low, high = map(shared.text_of, numbers)
            result[name][measure] = f"{mean} ({low} to {high})"
    return result


def page_rows(rows: list[dict]) -> str:
    """Return the table that stands in the page, in Markdown: means, and the distance's range."""
    lines = ["| 13 epochs | distance ↓ | from, to | sure ↑ | precision ↑ | coverage ↑ |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    groups = by_name(rows)
    for name in (name for name in PAGE if name in groups):
        keys = "frechet_distance", "sure", "precision", "coverage"
        values = [[row[key] for row in groups[name]] for key in keys]
        distance, *shares = (sum(some) / len(some) for some in values)
        ends = ", ".join(shared.text_of(end(values[0])) for end in (min, max))
        cells = [name, shared.text_of(distance), ends, *(f"{share:.3f}" for share in shares)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(rows: list[dict], path: Path) -> None:
    """Draw the last distances of the long games, a dot a seed, the best game on top."""
    long = {name for name, game in GAMES.items() if game["steps"] == LONG}
    groups = by_name([row for row in rows if row["name"] in long])
    distances = {k: [row["frechet_distance"] for row in some] for k, some in groups.items()}
    names = sorted(distances, key=lambda name: -sum(distances[name]) / len(distances[name]))
    height = 1 + 0.3 * len(names)
    figure, axis = nb.plt.subplots(figsize=(8, height), layout="constrained")
    for place, name in enumerate(names):
        axis.plot(distances[name], [place] * len(distances[name]), "o", color="C0", alpha=0.7)
    axis.set(xscale="log", xlabel="Fréchet distance of 10,000 samples, 7,800 steps; a dot a seed")
    low, high = axis.get_xlim()
    ticks = [n for n in (3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 200, 400, 800) if low < n < high]
    axis.set_xticks(ticks, ticks)
    axis.set_xticks([], minor=True)
    axis.set_yticks(range(len(names)), names)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


def main(path: Path, names: list[str], seeds: list[int]) -> None:
    judge = shared.load_judge()
    for seed, name in ((seed, name) for seed in seeds for name in names):
        note = path.with_name(f"{path.name}.{name.replace(' ', '-')}.{seed}.busy")
        if any((row["name"], row["seed"]) == (name, seed) for row in shared.read(path)):
            continue
        try:
            note.touch(exist_ok=False)  # so that another one at work leaves it alone
        except FileExistsError:
            continue
        try:
            row = {"name": name, "seed": seed} | run(GAMES[name], seed, judge)
            shared.append(path, row)
            print(name, seed, {k: round(v, 3) for k, v in row["average"].items()})
        finally:
            with suppress(OSError):
                note.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, default=shared.MEASURE / "ablation.jsonl")
    parser.add_argument("--rows", nargs="*", default=[*GAMES], choices=GAMES, metavar="NAME")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="print what is there")
    parser.add_argument("--page", action="store_true", help="print the page's table")
    parser.add_argument("--picture", type=Path, metavar="PNG")
    options = parser.parse_args()
    if not (options.table or options.page or options.picture):
        main(options.file, options.rows, options.seeds)
    rows = shared.read(options.file)
    if options.page:
        print(page_rows(rows))
    else:
        print(shared.machine())
        shared.print_rows(table(rows))
    if options.picture:
        draw(rows, options.picture)
