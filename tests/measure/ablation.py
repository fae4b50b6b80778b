"""What each ingredient of the default is worth: ten seeds of it, leave one out, add one in.

Usage: python tests/measure/ablation.py [--rows NAME ...] [--seeds 0 1 2] [--threads 1]
           [--file FILE] [--table] [--page short|long] [--worst] [--fill]

Plays the games that FILE (ablation.jsonl in this folder) does not have yet, row by row, and
appends a JSON object a game, so it can be stopped and goes on where it stopped; two at once share
the work (a `.busy` note names a game that is being played; one left by a killed process has to be
deleted). The code is the page's: a game is `make_match`, played epoch by epoch as `train` plays.
The artist of each game is kept beside FILE, in a folder that `load_generator` reads.

`--worst` draws the best and the worst seed of the default into worst.png, from kept artists.
`--table` prints all that is there; `--page` prints the table of the page, of the short games or of
the long ones; `--fill` puts all three into the README files, after `<!-- table: NAME -->`. They
play nothing.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import shared
import torch
from shared import nb
from torch import Tensor, nn
from torch.nn import functional as F

LONG, SHORT = nb.SIZE["epochs"], nb.SIZE["short"]
CURVE = 1, 2, 4, 8, 13  # epochs after which the distance is measured
RELATIVISTIC = "relativistic loss, R1 and R2"
GAMES = {  # epochs, recipe, changes; in the order of playing
    "the default": (LONG, "mlp", {}),
    "plain": (SHORT, "plain", {}),
    "R1": (SHORT, "plain", {"hold_every": 2}),
    "R1, average, die": (SHORT, "mlp", {}),
    "without R1": (LONG, "mlp", {"hold_every": 0}),
    "without the die": (LONG, "mlp", {"players": "plain"}),
    "beta1 0.9": (LONG, "mlp", {"beta1": 0.9}),
    "without batch normalisation": (LONG, "mlp", {"players": "no norm"}),
    "without centring": (LONG, "mlp", {"players": "no centring"}),
    "without falling rates": (LONG, "mlp", {"steady_epochs": 99}),
    "beta1 0.5": (LONG, "mlp", {"beta1": 0.5}),
    "new fakes for G's turn": (LONG, "mlp", {"fresh_fakes": True}),
    RELATIVISTIC: (LONG, "mlp", {}),
    "the recipe dcgan": (nb.RECIPES["dcgan"]["epochs"], "dcgan", {}),
}
# What a row shows: a game, and whether of its artist, an average, or of the generator beside it.
ROWS = {name: (name, "artist") for name in GAMES} | {
    "without the average": ("the default", "generator"),
    "plain": ("plain", "generator"),
    "plain, average": ("plain", "artist"),
    "R1": ("R1", "generator"),
    "R1, average": ("R1", "artist"),
}
PAGE = {
    "short": ("plain", "plain, average", "R1", "R1, average", "R1, average, die"),
    "long": (
        "the default", "beta1 0.9", "without R1", "without batch normalisation",
        "without the die", "without the average", "without falling rates", "without centring",
    ),
}  # fmt: skip


def players_without_norm() -> tuple[nn.Module, nn.Module]:
    """Return the default's players, the generator without batch normalisation."""
    generator, discriminator = nb.mlp_players()
    layers = [layer for layer in generator if not isinstance(layer, nn.BatchNorm1d)]
    bare = nn.Sequential(*layers)
    bare.latent_size = generator.latent_size
    return bare, discriminator


def players_without_centring() -> tuple[nn.Module, nn.Module]:
    """Return the default's players, the discriminator without its first layer: black is -1."""
    generator, discriminator = nb.mlp_players()
    return generator, discriminator[1:]


nb.PLAYERS |= {"no norm": players_without_norm, "no centring": players_without_centring}


def price(discriminator: nn.Module, images: Tensor) -> Tensor:
    """Return the mean squared slope of D's logit at images, as the page's `hold_d` has it."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean()


def relativistic_step(match: nb.Match, real: Tensor) -> tuple[Tensor, Tensor]:
    """Play a step with a loss of pairs, and D's price at both kinds: Huang et al. (2024)."""
    generator, discriminator, settings = match.generator, match.discriminator, match.settings
    fake = generator(torch.randn(len(real), generator.latent_size, device=real.device))
    logits_real, logits_fake = discriminator(torch.cat([real, fake.detach()])).chunk(2)
    loss_d = F.softplus(logits_fake - logits_real).mean()
    match.optimizer_d.zero_grad()
    loss_d.backward()
    match.optimizer_d.step()
    loss_g = F.softplus(discriminator(real).detach() - discriminator(fake)).mean()
    match.optimizer_g.zero_grad()
    loss_g.backward(inputs=[*generator.parameters()])
    match.optimizer_g.step()
    match.step += 1
    if match.step % settings["hold_every"] == 0:
        match.optimizer_d.zero_grad()
        (price(discriminator, real) + price(discriminator, fake)).backward()
        match.optimizer_d.step()
    nb.follow(match.artist, generator, max(settings["average"], 9 / (9 + match.step)))
    return loss_d.detach(), loss_g.detach()


def play_relativistic(match: nb.Match, loader, epochs: int) -> Iterator[dict[str, float]]:
    """Play; yield a row of numbers after each epoch, as the page's `play` does."""
    for _ in range(epochs):
        for real, _ in loader:
            loss_d, loss_g = relativistic_step(match, real)
        row = {"step": match.step, "loss/d": loss_d.item(), "loss/g": loss_g.item()}
        yield row | nb.look(match, real) | {"epoch": match.step // len(loader)}


def run(name: str, seed: int, judge: nn.Module) -> tuple[dict, nb.Match]:
    """Play a game as `train` plays; return its row, and the match."""
    epochs, recipe, changes = GAMES[name]
    play = play_relativistic if name == RELATIVISTIC else nb.play
    match = nb.make_match(recipe, seed=seed, **changes)
    loader = nb.make_loader(shared.images, shared.labels, match.settings["batch_size"])
    row, seconds = {"name": name, "seed": seed, "machine": shared.machine()}, 0.0
    row |= {"settings": match.settings, "epochs": [], "curve": {}}
    for epoch in range(1, epochs + 1):
        nb.begin_epoch(match, epoch)
        began = time.process_time()
        *_, last = play(match, loader, 1)
        seconds += time.process_time() - began
        row["epochs"].append(last)
        if epoch in CURVE:
            drawings = nb.sample(match.artist, len(shared.test_images), seed=0)
            row["curve"][match.step] = shared.distance(drawings, judge)
    row["ms of a core a step"] = 1000 * seconds / match.step
    row["artist"] = nb.evaluate(match.artist, judge, shared.test_images)
    row["generator"] = nb.evaluate(match.generator, judge, shared.test_images)
    row["evenly"] = shared.distance_evenly(match.artist, judge)
    return row, match


def seeds_of(name: str, rows: list[dict]) -> list[dict]:
    """Return a row's numbers, by seed: measures, D's slope by step, and milliseconds a step."""
    game, who = ROWS[name]
    numbers = []
    for row in (row for row in rows if row["name"] == game):
        slopes = {look["step"]: look["slope"] for look in row["epochs"]}
        seed = {"epochs": len(row["epochs"])} | row[who]
        seed |= {f"slope, {step}": slopes.get(step) for step in (600, 2400)}
        seed["slope, end"] = row["epochs"][-1]["slope"]
        seed["distance, evenly"] = row["evenly"] if who == "artist" else None
        seed["ms a step"] = row["ms of a core a step"]
        numbers.append(seed)
    return numbers


def all_rows(rows: list[dict], names: tuple[str, ...] = tuple(ROWS)) -> str:
    """Return the table of the records: mean and range over the seeds."""
    table = {}
    for name in names:
        seeds = seeds_of(name, rows)
        if seeds:
            table[name] = {"epochs": seeds[0]["epochs"], "seeds": len(seeds)}
            for key in list(seeds[0])[1:]:
                values = [seed[key] for seed in seeds if seed[key] is not None]
                title = key.replace("frechet_distance", "distance")
                table[name][title] = shared.mean_of(values) if values else ""
    return shared.markdown("", table)


def page_rows(rows: list[dict], which: str) -> str:
    """Return a table of the page: means over the seeds, and the distance's range."""
    table, epochs = {}, 0
    for name in PAGE[which]:
        seeds = seeds_of(name, rows)
        if seeds:
            epochs = seeds[0]["epochs"]
            measures = [key for key in seeds[0] if seeds[0][key] is not None]
            mean = {key: sum(seed[key] for seed in seeds) / len(seeds) for key in measures}
            distances = [seed["frechet_distance"] for seed in seeds]
            low, high = shared.text_of(min(distances)), shared.text_of(max(distances))
            table[name] = {"seeds": len(seeds), "distance ↓": mean["frechet_distance"]}
            table[name]["range"] = f"{low} to {high}"
            for key in ("sure", "precision", "coverage", "rarest"):
                table[name][f"{key} ↑"] = f"{mean[key]:.3f}"
            table[name]["slope"] = f"{mean['slope, end']:.2f}"
    return shared.markdown(f"{epochs} epochs", table)


def show_worst(rows: list[dict], path: Path) -> None:
    """Write worst.png beside `path`: drawings of the default's best and, below, its worst seed."""
    seeds = [row for row in rows if row["name"] == "the default"]
    seeds.sort(key=lambda row: row["artist"]["frechet_distance"])
    sheets = []
    for row in (seeds[0], seeds[-1]):
        artist = nb.load_generator(folder_of(path, "the default", row["seed"]))
        sheets.append(nb.grid(nb.sample(artist, 48, seed=0)))
        print("seed", row["seed"], row["artist"]["frechet_distance"])
    sheets.insert(1, torch.ones(3, 12, sheets[0].shape[2]))  # a white line between them
    nb.save_image(torch.cat(sheets, 1), path.with_name("worst.png"))


def order(names: list[str], seeds: list[int] | None) -> list[tuple[str, int]]:
    """Return the games in the order of playing: row by row, the default's last seven in the end."""
    games = [(name, seed) for name in names for seed in (seeds or (0, 1, 2))]
    if "the default" in names and not seeds:
        games += [("the default", seed) for seed in range(3, 10)]
    return games


def folder_of(path: Path, name: str, seed: int) -> Path:
    """Return where the artist of a game is kept, beside a file."""
    return path.with_name(f"{path.stem}-{name.replace(' ', '-')}-{seed}")


def main(path: Path, games: list[tuple[str, int]]) -> None:
    """Play the games that the file lacks and nobody plays; append a row each."""
    judge = shared.load_judge()
    for name, seed in games:
        if any((row["name"], row["seed"]) == (name, seed) for row in shared.read(path)):
            continue
        place = folder_of(path, name, seed)
        note = place.with_name(f"{place.name}.busy")
        try:
            note.touch(exist_ok=False)  # so that another one at work leaves it alone
        except FileExistsError:
            continue
        try:
            row, match = run(name, seed, judge)
            facts = {"settings": match.settings, "step": match.step}
            artist = facts | {"artist": match.artist.state_dict()}
            place.mkdir(exist_ok=True)
            torch.save(artist, place / "generator.pt")
            shared.append(path, row)
            print(name, seed, *(f"{key} {value:.4g}" for key, value in row["artist"].items()))
        finally:
            with suppress(OSError):
                note.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, default=shared.MEASURE / "ablation.jsonl")
    parser.add_argument("--rows", nargs="*", default=[*GAMES], choices=GAMES, metavar="NAME")
    parser.add_argument("--seeds", nargs="*", type=int, help="0 1 2; of the default 0 to 9")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print all that is there")
    parser.add_argument("--page", choices=PAGE, help="print a table of the page")
    parser.add_argument("--worst", action="store_true", help="draw the default's worst seed")
    parser.add_argument("--fill", action="store_true", help="put the tables into README files")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not (options.table or options.page or options.worst or options.fill):
        main(options.file, order(options.rows, options.seeds))
    rows = shared.read(options.file)
    if options.worst:
        show_worst(rows, options.file)
    elif options.page:
        print(page_rows(rows, options.page))
    elif options.fill:
        tables = {which: page_rows(rows, which) for which in PAGE}
        shared.fill(tables | {"all": all_rows(rows)})
    else:
        print(all_rows(rows))
