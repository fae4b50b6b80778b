"""The judge, and the figures: beside another library's, and where the answer is known."""

import re
import warnings

import pytest
import torch
from conftest import ROOT
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore


class Repeats(nn.Module):
    """A generator that knows only some images `(K, 1, 28, 28)`, in [0, 1]."""

    latent_dim, low, conditional = 1, 0.0, False

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images, requires_grad=False)

    def latent(self, n: int, random: torch.Generator) -> torch.Tensor:
        return torch.randn(n, 1, generator=random)

    def forward(self, latent: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        which = labels if self.conditional else torch.arange(len(latent)) % len(self.images)
        return self.images[which]


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
    assert right.float().mean() >= 0.85  # after one epoch on a tenth of the images
    assert not any(weight.requires_grad for weight in taught.parameters())
    assert not list(tmp_path.iterdir())


def test_teaching_a_judge_repeats(nb, mnist, tmp_path):
    images, labels = (part[:500] for part in mnist)
    first, second = (nb.load_judge(images, labels, tmp_path / "none.pt") for _ in range(2))
    assert torch.equal(first[-1].weight, second[-1].weight)


def test_a_judge_of_other_pictures_is_taught_for_their_size_and_kinds(nb, tmp_path):
    images = torch.randint(0, 256, (128, 3, 33, 40), dtype=torch.uint8)
    taught = nb.load_judge(images, torch.arange(128) % 4, tmp_path / "none.pt")
    assert taught(images / 255).shape == (128, 4)


def test_the_distance_and_the_score_are_torchmetrics(nb, judge, real, other):
    figures = nb.assess(judge, faint := 0.6 * other, real)
    features = nn.Sequential(*judge[:-2])
    features.num_features = 128
    distance = FrechetInceptionDistance(features, normalize=True)
    distance.update(real, real=True)
    distance.update(faint, real=False)
    assert figures["frechet_distance"] == pytest.approx(distance.compute().item(), rel=1e-6)
    with warnings.catch_warnings(action="ignore"):  # of its buffer, and of a split's deviation
        score = InceptionScore(judge, splits=1)
        score.update(faint)
        mean, _ = score.compute()
    assert figures["inception_score"] == pytest.approx(mean.item(), rel=1e-6)
    opinions = judge(faint).softmax(1)
    assert figures["sure"] == pytest.approx((opinions.amax(1) >= 0.95).float().mean().item())


def test_points_lie_among_others_within_the_reach_of_the_third_neighbour(nb):
    torch.manual_seed(0)
    points, others = torch.randn(700, 3), torch.randn(1100, 3) + 1.5
    reach = torch.cdist(others, others).sort(dim=1).values[:, 3]
    among = (torch.cdist(points, others) <= reach).any(dim=1)
    assert 0.3 < among.float().mean() < 0.95
    assert nb.share_among(points, others) == pytest.approx(among.float().mean().item(), abs=0.002)
    assert nb.share_among(others, others) == 1
    assert nb.share_among(others + 100, others) == 0


def test_a_set_compared_with_itself_is_at_distance_zero_and_covered(nb, judge, real):
    figures = nb.assess(judge, real, real)
    assert figures["frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert figures["precision"] == figures["recall"] == 1
    assert figures["rarest_digit"] == pytest.approx(1)


def test_real_digits_are_good_and_noise_is_far_from_them(nb, judge, real, other):
    good, noise = (nb.assess(judge, some, real) for some in (other, torch.rand_like(real)))
    assert good["frechet_distance"] < 20 < 500 < noise["frechet_distance"]
    assert good["inception_score"] > 9 > 3 > noise["inception_score"]
    assert min(good["precision"], good["recall"]) > 0.8
    assert max(noise["precision"], noise["recall"]) < 0.01
    assert good["sure"] > 0.95 > 0.1 > noise["sure"]
    assert good["rarest_digit"] > 0.6 > 0.1 > noise["rarest_digit"]


def test_a_generator_of_one_digit_is_precise_and_not_varied(nb, judge, digits, real):
    sevens = Repeats(digits[0][digits[1] == 7][-500:])
    figures = nb.evaluate(sevens, judge, real)
    assert figures["rarest_digit"] < 0.001
    assert figures["inception_score"] < 1.5
    assert figures["recall"] < 0.3 < 0.7 < figures["precision"]
    assert figures["frechet_distance"] > 200
    assert "as_asked" not in figures


def test_only_a_conditional_generator_is_asked_for_digits(nb, judge, digits, real):
    one_of_each = Repeats(torch.stack([digits[0][digits[1] == k][0] for k in range(10)]))
    one_of_each.conditional = True
    assert nb.evaluate(one_of_each, judge, real)["as_asked"] == 1
    one_of_each.images[[3, 5]] = one_of_each.images[[5, 3]]
    assert nb.evaluate(one_of_each, judge, real)["as_asked"] == pytest.approx(0.8)


def test_measuring_repeats_and_leaves_random_numbers_alone(nb, judge, real, run):
    before = torch.get_rng_state()
    first, second, third = (nb.evaluate(run.generator, judge, real[:500], s) for s in (1, 1, 2))
    assert first == second != third
    assert torch.equal(torch.get_rng_state(), before)


def test_the_reference_generator_is_good_and_draws_all_ten_digits(nb, judge, digits):
    generator = nb.load_generator(ROOT / "runs" / "reference")
    figures = nb.evaluate(generator, judge, digits[0])
    assert figures["frechet_distance"] < 25
    assert figures["rarest_digit"] > 0.5


def test_a_table_rounds_numbers_and_leaves_a_gap_where_a_row_has_none(nb, monkeypatch):
    shown = []
    monkeypatch.setattr(nb, "display", lambda page: shown.append(page.data))
    nb.show_table({"a": {"one_two": 0.12345, "n": 7}, "b": {"n": "6 of 8"}}, "x")
    cells = re.findall(r"<t[hd]>([^<]*)</t[hd]>", shown[0])
    assert cells == ["x", "one two", "n", "a", "0.123", "7", "b", "", "6 of 8"]
