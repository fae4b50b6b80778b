"""The judge, and its measures: beside another library's, and where the answer is known."""

import math

import pytest
import torch
from conftest import ROOT, run_child
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

MEASURES = {"frechet_distance", "sure", "precision", "coverage"}


class Repeats(nn.Module):
    """A generator that knows only some images `(K, 1, 28, 28)`, in [0, 1]."""

    def __init__(self, images: torch.Tensor, conditional: bool = False) -> None:
        super().__init__()
        self.images = nn.Parameter(2 * images - 1, requires_grad=False)
        self.faces, self.conditional = len(images), conditional

    def latent(self, n: int, random: torch.Generator | None = None, labels=None) -> torch.Tensor:
        return torch.arange(n)[:, None] if labels is None else labels[:, None]

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return self.images[latent[:, 0] % len(self.images)]


@pytest.fixture(scope="module")
def real(digits):
    """Two thousand real digits (2000, 1, 28, 28) in [0, 1]."""
    return digits[0][:2000]


@pytest.fixture(scope="module")
def other(digits):
    """Two thousand others."""
    return digits[0][2000:4000]


def test_the_committed_judge_reads_98_in_a_hundred_test_digits(judge, digits):
    right = judge(digits[0][:1000]).argmax(1) == digits[1][:1000]
    assert right.float().mean() >= 0.98


def test_without_a_file_a_judge_is_taught_and_nothing_is_written(nb, mnist, digits, tmp_path):
    taught = nb.load_judge(mnist[0][:6000], mnist[1][:6000], tmp_path / "none.pt")
    right = taught(digits[0][:1000]).argmax(1) == digits[1][:1000]
    assert right.float().mean() >= 0.75  # after one epoch on a tenth of the images
    assert not any(weight.requires_grad for weight in taught.parameters())
    assert not list(tmp_path.iterdir())


def test_teaching_a_judge_repeats(nb, mnist, tmp_path):
    images, labels = (part[:500] for part in mnist)
    first, second = (nb.load_judge(images, labels, tmp_path / "none.pt") for _ in range(2))
    assert torch.equal(first[-1].weight, second[-1].weight)


@pytest.mark.parametrize("name", ["judge.pt", "none.pt"])
def test_a_judge_that_is_loaded_or_taught_leaves_random_numbers_alone(nb, few, name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    nb.load_judge(few[0], few[1], ROOT / "runs" / "reference" / name)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_judge_of_other_pictures_is_taught_for_their_size_and_kinds(nb, tmp_path):
    images = torch.randint(0, 256, (128, 3, 33, 40), dtype=torch.uint8)
    taught = nb.load_judge(images, torch.arange(128) % 4, tmp_path / "none.pt")
    assert taught(images / 255).shape == (128, 4)


def test_the_committed_judge_is_not_taken_for_another_data_set(nb, few, judge, monkeypatch):
    monkeypatch.setattr(nb, "DATASET", type("FashionMNIST", (nb.DATASET,), {}))
    taught = nb.load_judge(*few, ROOT / "runs" / "reference" / "judge.pt")
    assert not torch.equal(taught[-1].weight, judge[-1].weight)


@pytest.mark.parametrize("n", [2000, 60], ids=["enough images", "fewer images than features"])
def test_the_distance_is_that_of_torchmetrics(nb, judge, real, other, n):
    faint = 0.6 * other[:n]
    features = nn.Sequential(*judge[:-2])
    features.num_features = 128
    distance = FrechetInceptionDistance(features, normalize=True)
    distance.update(real, real=True)
    distance.update(faint, real=False)
    found = nb.frechet_distance(features(real), features(faint))
    assert found == pytest.approx(distance.compute().item(), rel=1e-6)


def test_the_distance_of_two_bell_curves_is_what_the_formula_says(nb):
    torch.manual_seed(0)
    points = torch.randn(500, 3, dtype=torch.float64)
    points = torch.linalg.qr(points - points.mean(0))[0] * math.sqrt(499)  # of covariance one
    moved = points * torch.tensor([1.0, 2.0, 3.0]) + torch.tensor([0.0, 0.0, 7.0])
    assert nb.frechet_distance(points, moved) == pytest.approx(49 + 0 + 1 + 4)


def test_the_distance_is_nan_and_never_a_dead_process_where_there_is_none(runs, tiny):
    code = """
        import warnings
        warnings.simplefilter("ignore")  # of a covariance of one image
        good = torch.randn(200, 128)
        for bad in (float("nan"), float("inf"), -float("inf"), 1e300):
            ill = good.double()
            ill[7] = bad
            print(nb.frechet_distance(good, ill), nb.frechet_distance(ill, good))
        for n in (1, 0):
            print(nb.frechet_distance(good, good[:n]), nb.frechet_distance(good[:n], good))
    """
    child = run_child(code, runs, tiny)
    assert child.returncode == 0, child.stderr
    assert child.stdout.split() == ["nan"] * 12


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_pixel_that_is_no_number_makes_every_measure_nan(nb, judge, real, other, bad):
    broken = other[:300].clone()
    broken[7, 0, 3, 3] = bad
    measures = nb.assess(judge, broken, real[:300])
    assert measures.keys() == MEASURES
    assert all(math.isnan(value) for value in measures.values())


@pytest.mark.parametrize("conditional", [False, True])
def test_of_a_generator_that_went_nan_every_measure_is_nan(nb, judge, real, conditional):
    broken = Repeats(torch.full((10, 1, 28, 28), math.nan), conditional)
    measures = nb.evaluate(broken, judge, real[:300])
    assert measures.keys() == MEASURES | ({"as_asked"} if conditional else set())
    assert all(math.isnan(value) for value in measures.values())


def test_sure_is_the_share_of_images_with_an_opinion_of_95_in_a_hundred(nb, judge, real, other):
    opinions = judge(faint := 0.6 * other[:500]).softmax(1).amax(1)
    assert 0.1 < (share := (opinions >= 0.95).float().mean().item()) < 0.99
    assert nb.assess(judge, faint, real[:500])["sure"] == pytest.approx(share)
    assert nb.distance_and_sure(judge, faint, real[:500])["sure"] == pytest.approx(share)


def test_precision_and_coverage_are_what_a_plain_count_finds(nb, judge, real, other):
    real, fake = real[:1200], (0.8 * other[:700] + 0.2 * other[700:1400])
    measures = nb.assess(judge, fake, real)
    real, fake = (nn.functional.normalize(judge[:-3](some)).double() for some in (real, fake))
    inside, covered = set(), 0
    for place in real:
        reach = (place - real).norm(dim=1).sort().values[3]  # the first is the place itself
        near = ((place - fake).norm(dim=1) <= reach).nonzero().flatten().tolist()
        inside |= {*near}
        covered += bool(near)
    assert 0.1 < covered / len(real) < 0.95
    assert 0.1 < len(inside) / len(fake) < 0.99
    assert measures["precision"] == pytest.approx(len(inside) / len(fake), abs=0.003)
    assert measures["coverage"] == pytest.approx(covered / len(real), abs=0.003)


def test_a_set_compared_with_itself_is_at_distance_zero_and_covered(nb, judge, real):
    measures = nb.assess(judge, real, real)
    assert measures["frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert measures["precision"] == measures["coverage"] == 1


def test_real_digits_are_good_and_noise_is_far_from_them(nb, judge, real, other):
    good, noise = (nb.assess(judge, some, real) for some in (other, torch.rand_like(real)))
    assert good["frechet_distance"] < 20 < 500 < noise["frechet_distance"]
    assert min(good["precision"], good["coverage"]) > 0.8
    assert max(noise["precision"], noise["coverage"]) < 0.01
    assert good["sure"] > 0.95 > 0.1 > noise["sure"]


def test_a_generator_of_one_digit_is_precise_and_covers_little(nb, judge, digits, real):
    measures = nb.evaluate(Repeats(digits[0][digits[1] == 7][-500:]), judge, real)
    assert measures["coverage"] < 0.2 < 0.7 < measures["precision"]
    assert measures["frechet_distance"] > 200
    assert measures.keys() == MEASURES


@pytest.mark.parametrize("kinds", [10, 3])
def test_a_conditional_generator_is_asked_for_the_kinds_that_it_knows(
    nb, judge, digits, real, kinds
):
    one_of_each = torch.stack([digits[0][digits[1] == k][0] for k in range(kinds)])
    right = Repeats(one_of_each, conditional=True)
    assert nb.evaluate(right, judge, real[:600])["as_asked"] == 1
    one_of_each[[0, 2]] = one_of_each[[2, 0]]
    wrong = Repeats(one_of_each, conditional=True)
    assert nb.evaluate(wrong, judge, real[:600])["as_asked"] == pytest.approx(1 - 2 / kinds)


def test_every_generator_of_the_page_can_be_measured(nb, judge, tiny, real):
    generators = {"plain": nb.Match(nb.Generator(), nb.Discriminator()).generator}
    generators |= {name: nb.make_match(config).generator for name, config in nb.RECIPES.items()}
    for name, generator in generators.items():
        measures = nb.evaluate(generator, judge, real[:200])
        asked = {"as_asked"} if name == "conditional" else set()
        assert measures.keys() == MEASURES | asked, name
        assert all(math.isfinite(value) for value in measures.values()), name


def test_measuring_repeats_and_leaves_random_numbers_alone(nb, judge, real, run):
    before = torch.get_rng_state()
    first, second, third = (nb.evaluate(run.generator, judge, real[:500], s) for s in (1, 1, 2))
    assert first == second != third
    assert torch.equal(torch.get_rng_state(), before)


def test_the_reference_generator_is_good(nb, judge, digits):
    generator = nb.load_generator(ROOT / "runs" / "reference")
    measures = nb.evaluate(generator, judge, digits[0][:4000])
    assert measures["frechet_distance"] < 25
    assert measures["coverage"] > 0.75


def test_the_reference_generator_draws_all_ten_digits(nb, judge):
    generator = nb.load_generator(ROOT / "runs" / "reference")
    drawn = judge(nb.sample(generator, 4000, seed=0)).argmax(1).bincount(minlength=10)
    assert drawn.min() > 200


def test_a_table_has_a_row_for_each_name_and_an_arrow_for_what_is_better(nb, capsys):
    nb.show_table({"a": {"frechet_distance": 1234.5, "sure": 0.12345}, "b": {"loss/d": 0.5}})
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["distance", "↓", "sure", "↑", "loss/d"]
    assert [row.split() for row in rows] == [
        ["a", "1.23e+03", "0.123", "nan"],
        ["b", "nan", "nan", "0.5"],
    ]
