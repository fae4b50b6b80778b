"""The judge, and its measures: beside another library's, and where the answer is known."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, run_child
from torch import nn
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.image.fid import FrechetInceptionDistance

MEASURES = ["frechet_distance", "sure", "precision", "coverage", "rarest"]
REFERENCE = ROOT / "runs" / "reference"


class Repeats(nn.Module):
    """An artist that knows only some images, and draws one after the other."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.images, self.latent_size = nn.Parameter(images), 1

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return self.images[torch.arange(len(latent)) % len(self.images)]


@pytest.fixture(scope="module")
def real(digits):
    """Two thousand real digits."""
    return digits[0][:2000]


@pytest.fixture(scope="module")
def other(digits):
    """Two thousand others."""
    return digits[0][2000:4000]


# The judge


def test_the_committed_judge_reads_98_in_a_hundred_test_digits_and_is_frozen(judge, digits):
    assert (judge(digits[0]).argmax(1) == digits[1]).float().mean() >= 0.98
    kept = torch.load(REFERENCE / "judge.pt", weights_only=True)
    assert all(map(torch.equal, judge.parameters(), kept.values()))
    assert not any(weights.requires_grad for weights in judge.parameters())
    assert not any(module.training for module in judge.modules())


def test_without_a_file_a_judge_is_taught_and_nothing_is_written(nb, mnist, digits, tmp_path):
    taught = nb.load_judge(mnist[0][:6000], mnist[1][:6000], str(tmp_path / "none.pt"))
    right = taught(digits[0][:1000]).argmax(1) == digits[1][:1000]
    assert right.float().mean() >= 0.75  # after one epoch on a tenth of the images
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["judge.pt", "none.pt"])
def test_a_judge_repeats_and_leaves_random_numbers_alone(nb, few, name):
    before = torch.get_rng_state()
    first, second = (nb.load_judge(*few, str(REFERENCE / name)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[-1].weight, second[-1].weight)


def test_the_committed_judge_is_taught_anew_for_labels_that_it_can_not_read(nb, few, judge):
    labels = (few[1] + 1) % 10
    taught = nb.load_judge(few[0], labels, str(REFERENCE / "judge.pt"))
    assert F.cross_entropy(taught(few[0]), labels) < F.cross_entropy(judge(few[0]), labels)


# The distance


@pytest.mark.parametrize("n", [2000, 60], ids=["enough images", "fewer images than features"])
def test_the_distance_is_that_of_torchmetrics(nb, judge, real, other, n):
    real, faint = (real + 1) / 2, 0.6 * (other[:n] + 1) / 2  # which wants pixels from 0 to 1
    features = nn.Sequential(nn.Upsample(28), *judge[1:-2])
    features.num_features = 128
    distance = FrechetInceptionDistance(features, normalize=True)
    distance.update(real, real=True)
    distance.update(faint, real=False)
    found = nb.frechet_distance(features(real), features(faint))
    assert found == pytest.approx(distance.compute().item(), rel=1e-5)


def points(*deviations: float) -> torch.Tensor:
    """Return 500 points with a mean of 0 and exactly these deviations, without correlation."""
    random = torch.Generator().manual_seed(0)
    some = torch.randn(500, len(deviations), generator=random).double()
    uncorrelated = torch.linalg.qr(some - some.mean(0))[0] * math.sqrt(499)
    return uncorrelated * torch.tensor(deviations)


def test_the_distance_of_two_bell_curves_is_what_the_formula_says(nb):
    moved = points(1, 2, 3) + torch.tensor([0.0, 0.0, 7.0])
    assert nb.frechet_distance(points(1, 1, 1), moved) == pytest.approx(49 + 0 + 1 + 4)


@pytest.mark.parametrize("angle", [0.3, math.pi / 4, math.pi / 2])
def test_the_distance_sees_a_cloud_that_was_only_turned(nb, angle):
    """Of 2 by 2, the trace of a matrix's root is the root of its trace + 2 root(determinant)."""
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    wide, turned = points(3, 1), points(3, 1) @ turn.double()
    trace = (wide.T.cov() @ turned.T.cov()).trace()
    expected = 10 + 10 - 2 * math.sqrt(trace + 2 * 3 * 3)
    assert nb.frechet_distance(wide, turned) == pytest.approx(expected, rel=1e-5)


def test_where_there_is_no_distance_it_is_nan_and_never_a_dead_process(tmp_path):
    code = f"""
        good = torch.randn(200, 128)
        for bad in (float("nan"), float("inf"), -float("inf"), 1e300):
            ill = good.double()
            ill[7] = bad
            print(nb.frechet_distance(good, ill), nb.frechet_distance(ill, good))
        judge = nb.load_judge(*loader.dataset[:], {str(REFERENCE / "judge.pt")!r})
        real = loader.dataset[:300][0].cpu()
        for images in (torch.full_like(real, float("inf")), real * float("inf"), real * 3e38):
            print(nb.compare(images, judge, real)["frechet_distance"])
    """
    child = run_child(code, tmp_path)
    assert child.returncode == 0, child.stderr
    printed = child.stdout.split()
    assert [*printed[:6], *printed[8:]] == ["nan"] * 9
    assert set(printed[6:8]) <= {"nan", "inf"}  # finite features whose squares overflow


# All measures


@pytest.mark.parametrize("neighbour", [1, 3, 5])
def test_in_balls_is_what_a_plain_loop_finds(nb, neighbour):
    torch.manual_seed(0)
    real, fake = torch.randn(30, 3), torch.randn(40, 3)
    found = nb.in_balls(real, fake, neighbour)
    assert (found.shape, found.dtype) == ((30, 40), torch.bool)
    for row, center in zip(found, real):
        reach = sorted(math.dist(center, another) for another in real)[neighbour]
        assert row.tolist() == [math.dist(center, some) <= reach for some in fake]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_pixel_that_is_no_number_makes_every_measure_nan(nb, judge, real, other, bad):
    broken = other[:300].clone()
    broken[7, 0, 3, 3] = bad
    measures = nb.compare(broken, judge, real[:300])
    assert [*measures] == MEASURES
    assert all(map(math.isnan, measures.values()))


def test_sure_is_the_share_of_images_with_an_opinion_of_95_in_a_hundred(nb, judge, real, other):
    faint = 0.6 * (other[:500] + 1) - 1
    share = (judge(faint).softmax(1).amax(1) >= 0.95).float().mean().item()
    assert 0.1 < share < 0.99
    assert nb.compare(faint, judge, real[:500])["sure"] == pytest.approx(share)


def test_precision_and_coverage_are_what_a_plain_count_finds(nb, judge, real, other):
    real, fake = real[:1200], (0.8 * other[:700] + 0.2 * other[700:1400])
    measures = nb.compare(fake, judge, real)
    real, fake = (F.normalize(judge[:-2](some)).double() for some in (real, fake))
    inside, covered = set(), 0
    for center in real:
        reach = (center - real).norm(dim=1).sort().values[3]  # the first is itself
        near = ((center - fake).norm(dim=1) <= reach).nonzero().flatten().tolist()
        inside |= {*near}
        covered += bool(near)
    assert 0.1 < covered / len(real) < 0.95
    assert 0.1 < len(inside) / len(fake) < 0.99
    assert measures["precision"] == pytest.approx(len(inside) / len(fake), abs=0.003)
    assert measures["coverage"] == pytest.approx(covered / len(real), abs=0.003)


def test_the_rarest_is_the_least_share_of_a_digit_as_the_judge_reads_them(nb, judge, real, other):
    fours = judge(other).argmax(1) == 4
    some = torch.cat([other[~fours], other[fours][:5]])
    assert nb.compare(some, judge, real)["rarest"] == pytest.approx(5 / len(some))
    assert nb.compare(other[~fours], judge, real)["rarest"] == 0


def test_real_digits_are_good_and_noise_is_far_from_them(nb, judge, real, other):
    torch.manual_seed(0)
    good = nb.compare(other, judge, real)
    noise = nb.compare(2 * torch.rand_like(real) - 1, judge, real)
    assert good["frechet_distance"] < 20 < 300 < noise["frechet_distance"]
    assert min(good["precision"], good["coverage"]) > 0.8
    assert noise["precision"] < 0.15
    assert noise["coverage"] < 0.01
    assert good["sure"] > 0.95 > 0.2 > noise["sure"]


def test_an_artist_of_one_digit_is_precise_and_covers_little(nb, judge, digits, real):
    measures = nb.evaluate(Repeats(digits[0][digits[1] == 7][-500:]), judge, real)
    assert measures["coverage"] < 0.2 < 0.7 < measures["precision"]
    assert measures["frechet_distance"] > 200
    assert measures["rarest"] == 0


def test_evaluating_is_comparing_as_many_drawings_as_test_images_and_changes_nothing(
    nb, judge, real
):
    artist, before = nb.make_generator(), torch.get_rng_state()
    expected = nb.compare(nb.sample(artist, 150, seed=3), judge, real[:150])
    assert nb.evaluate(artist, judge, real[:150], seed=3) == expected
    assert nb.evaluate(artist, judge, real[:150]) != expected
    assert torch.equal(torch.get_rng_state(), before)
    assert artist.training


def test_a_table_has_a_row_for_each_title_and_prints_everywhere(nb, capsys):
    nb.print_table({"a": {"frechet_distance": 1234.5, "sure": 0.12345}, "b": {"loss/d": 0.5}})
    text = capsys.readouterr().out
    head, first, second = (line.split() for line in text.splitlines())
    assert head == ["distance", "sure", "loss/d"]
    assert (first, second) == (["a", "1.23e+03", "0.123", "nan"], ["b", "nan", "nan", "0.5"])
    assert text.encode("cp1252")


# What D knows while it plays


@pytest.fixture
def look(nb):
    """Look at logits of real images and of fakes, by a D that is the identity."""

    def act(logits_real: torch.Tensor, logits_fake: torch.Tensor) -> dict[str, float]:
        d = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Flatten(0))
        nn.init.ones_(d[0].weight)
        return nb.look(nb.Match(Repeats(logits_fake[:, None]), d), logits_real[:, None])

    return act


@pytest.mark.parametrize("ties", [False, True])
def test_looking_gives_scores_slope_and_the_auc_of_all_pairs(look, ties):
    torch.manual_seed(0)
    real, fake = torch.randn(60) + 0.5, torch.randn(60)
    if ties:
        real, fake = real.round(), fake.round()
    found = look(real, fake)
    assert found["score/real"] == pytest.approx(real.sigmoid().mean().item())
    assert found["score/fake"] == pytest.approx(fake.sigmoid().mean().item())
    assert found["slope"] == pytest.approx(1)
    pairs = (real[:, None] > fake).float() + (real[:, None] == fake) / 2
    assert found["score/auc"] == pytest.approx(pairs.mean().item(), abs=1e-6)
    known = binary_auroc(torch.cat([real, fake]).sigmoid(), torch.tensor([1] * 60 + [0] * 60))
    assert found["score/auc"] == pytest.approx(known.item(), abs=1e-5)


def test_a_look_at_twenty_thousand_is_no_look_at_all_their_pairs(look):
    """Which would take more than a gigabyte."""
    torch.manual_seed(0)
    found = look(torch.randn(20_000) + 1, torch.randn(20_000))
    assert found["score/auc"] == pytest.approx(0.76, abs=0.01)


# The reference run


def test_the_reference_run_is_of_the_default_to_its_end(nb):
    state = torch.load(REFERENCE / "generator.pt", weights_only=True)
    assert state["settings"] == nb.make_match().settings | {"batches": 600}
    assert state["step"] == 600 * nb.RECIPES["mlp"]["epochs"]
    assert json.loads((REFERENCE / "config.json").read_text()) == state["settings"]


def test_the_reference_artist_is_the_latest_and_draws_all_ten_digits_well(
    nb, judge, digits, runs, monkeypatch
):
    monkeypatch.chdir(ROOT)  # as in Jupyter
    assert nb.latest_run().absolute() == REFERENCE  # where there is no run of one's own
    measures = nb.evaluate(nb.load_generator(REFERENCE), judge, digits[0])
    assert measures["frechet_distance"] < 12
    assert measures["coverage"] > 0.75
    assert measures["rarest"] > 0.04
