"""The scripts that a person runs still fit the notebook."""

from dataclasses import replace

import benchmark
import endurance
import make_reference
import pytest
import quality
import search
import torch
from conftest import same_weights


@pytest.mark.parametrize("script", [benchmark, endurance, make_reference, quality, search])
def test_a_script_says_how_it_is_called(script):
    assert f"Usage: python tests/{script.__name__}.py" in script.__doc__


@pytest.mark.parametrize("number", search.ROUNDS)
def test_every_trial_of_the_search_changes_a_valid_config(nb, number):
    start, trials = search.ROUNDS[number]
    begin = replace(nb.RECIPES["mlp"], **start)
    for name, settings in trials.items():
        same = name == "nothing"
        assert (replace(begin, **settings) == begin) == same, name


def test_the_search_ended_at_the_default_recipe(nb):
    (start, first), (_, second) = search.ROUNDS[1], search.ROUNDS[2]
    settings = start | first["spectral norm, no dropout"] | second["both rates 1e-3"]
    assert replace(nb.RECIPES["mlp"], **settings) == nb.RECIPES["mlp"]


@pytest.mark.parametrize("relative", [False, True])
def test_a_step_with_penalty_moves_both_players(nb, tiny, loader, cpu, relative):
    game, start = nb.Game(tiny, cpu), nb.Game(tiny, cpu)
    search.step_with_penalty(nb, game, *next(iter(loader)), weight=0.1, relative=relative)
    assert not same_weights(game.generator, start.generator)
    assert not same_weights(game.discriminator, start.discriminator)


def play(nb, config, loader, step) -> torch.nn.Module:
    game = nb.Game(config, torch.device("cpu"))
    torch.manual_seed(1)
    for batch in loader:
        step(game, *batch)
    return game


def test_the_benchmarks_step_with_all_tricks_is_the_notebooks(nb, tiny, loader):
    config = replace(tiny, dropout=0.3)
    theirs = play(nb, config, loader, lambda *a: benchmark.plain_step(nb, *a))
    ours = play(nb, config, loader, nb.play_step)
    assert same_weights(theirs.generator, ours.generator)
    assert same_weights(theirs.discriminator, ours.discriminator)


def test_freezing_the_discriminator_changes_the_time_and_not_the_result(nb, tiny, loader):
    first = next(iter(loader))
    theirs = play(nb, tiny, [first], lambda *a: benchmark.plain_step(nb, *a, freeze=False))
    ours = play(nb, tiny, [first], nb.play_step)
    for a, b in zip(theirs.generator.parameters(), ours.generator.parameters()):
        assert torch.allclose(a, b, atol=1e-4)


def test_the_textbooks_players_are_those_of_the_classic_recipe(nb, cpu):
    textbook, game = benchmark.Textbook(), nb.Game(nb.RECIPES["classic"], cpu)
    for name in ("generator", "discriminator"):
        shapes = [[p.shape for p in getattr(who, name).parameters()] for who in (textbook, game)]
        assert shapes[0] == shapes[1]
    for optimizer, ours in (
        (textbook.optimizer_g, game.optimizer_g),
        (textbook.optimizer_d, game.optimizer_d),
    ):
        assert {optimizer.defaults[k] == ours.defaults[k] for k in ("lr", "betas", "eps")} == {True}
