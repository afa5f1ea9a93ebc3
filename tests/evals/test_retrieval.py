"""Average precision as the benchmark of landmarks has it."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from unshuffle.data.retrieval import GroundTruth
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.results import stamp
from unshuffle.evals.retrieval import CUTOFFS, average_precision, judge, rank, retrieval_results, revisited
from unshuffle.evals.whole import SCALES, embed_pictures, whole_embedder


def area(right: list[bool], total: int) -> float:
    """Under the curve of precision against recall, walked along answer by answer; precision starts at 1."""
    found, precision, surface = 0, 1.0, 0.0
    for place, hit in enumerate(right, start=1):
        found += hit
        if hit:
            # Before this answer there were place - 1 others, and one right one less.
            before = 1.0 if place == 1 else (found - 1) / (place - 1)
            precision = found / place
            surface += (before + precision) / 2 / total
    return surface


def test_figures_are_those_of_the_benchmarks_own_code(golden):
    told = golden("revisitop_map")
    lists = {kind: tuple(told[f"{kind}{query}"] for query in range(6)) for kind in ("easy", "hard", "junk")}
    truth = GroundTruth(("",) * 60, ("",) * 6, ((0, 0, 1, 1),) * 6, **lists)
    for letter, found in zip("EMH", revisited(told["ranks"].T, truth).values()):
        assert math.isclose(found.mean, told[f"{letter}/map"], rel_tol=1e-12)
        assert np.allclose(found.each, told[f"{letter}/aps"], rtol=1e-12, equal_nan=True)
        assert np.allclose(found.precision, told[f"{letter}/mpk"], rtol=1e-12)
        assert np.allclose(found.at, told[f"{letter}/prs"], rtol=1e-12, equal_nan=True)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_area_under_the_curve(seed):
    rng = np.random.default_rng(seed)
    right = rng.random(40) < 0.3
    total = int(right.sum()) + 2  # two never came
    assert math.isclose(average_precision(np.flatnonzero(right), total), area(right.tolist(), total))


def test_what_is_ignored_is_as_if_it_had_not_been_there():
    rng = np.random.default_rng(0)
    order = rng.permutation(30)
    right, ignored = order[rng.random(30) < 0.2], order[rng.random(30) < 0.3]
    ignored = np.setdiff1d(ignored, right)
    shorter = order[~np.isin(order, ignored)]
    whole = judge(order[None], [right], [ignored])
    assert whole.mean == judge(shorter[None], [right], [np.array([], int)]).mean
    assert math.isclose(whole.mean, area(np.isin(shorter, right).tolist(), len(right)))


def test_precision_is_judged_up_to_the_last_right_answer():
    """Two right answers at places 0 and 2: of the first three two are right, and no more are asked for."""
    found = judge(np.array([[4, 1, 3, 0, 2]]), [np.array([4, 3])], [np.array([], int)], cutoffs=(1, 2, 5))
    assert found.at.tolist() == [[1.0, 0.5, 2 / 3]]


def test_a_query_without_an_answer_counts_for_nothing():
    order, none = np.array([[0, 1], [1, 0]]), np.array([], int)
    found = judge(order, [none, np.array([1])], [none, none])
    assert found.mean == 1.0
    assert np.isnan(found.each[0])
    empty = judge(order, [none, none], [none, none])
    assert np.isnan(empty.mean)
    mark = stamp("oxford", "test", "groco")
    judged = {"Easy": empty, "Hard": found}
    lines = retrieval_results(judged, mark, layer="pretrained", count=2, seed=0)
    assert [(x.task, x.metric) for x in lines] == [
        ("retrieval, Hard", metric) for metric in ("mAP", *(f"mP@{k}" for k in CUTOFFS))
    ]


def test_pictures_are_ranked_by_cosine():
    bank = np.array([[0.0, 2.0], [1.0, 1.0], [3.0, 0.0]])
    assert rank(bank, np.array([[1.0, 0.1], [0.0, 1.0]])).tolist() == [[2, 1, 0], [0, 1, 2]]


@pytest.mark.errors
def test_as_many_answers_as_queries_are_needed():
    with pytest.raises(ValueError, match=r"judge: .* as many queries; got 1, 2 and 1"):
        judge(np.array([[0]]), [np.array([0])] * 2, [np.array([0])])


class Middle:
    """Crops to 4 x 4 pixels, and normalises each channel."""

    mean, std = (0.5, 0.4, 0.3), (0.2, 0.2, 0.4)

    def prepare(self, items):
        return normalised(items[..., :4, :4])


def normalised(items):
    """As :class:`Middle` does."""
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (Middle.mean, Middle.std))
    return (items / 255 - mean) / std


class Pooled(nn.Module):
    """Means and squares of a convolution's outputs: pictures of any size."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 3, padding=1)

    def embed(self, images):
        seen = self.convolution(images).relu()
        return torch.cat([seen.mean((2, 3)), seen.square().mean((2, 3))], 1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Encoder(Pooled(), Middle(), (3, 4, 4))


class Held(Dataset):
    """Items in memory."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.fixture
def pictures():
    """Three of different sizes."""
    rng = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, h, w), generator=rng, dtype=torch.uint8) for h, w in ((12, 16), (9, 9), (20, 8))]


def test_whole_pictures_are_normalised_and_nothing_else(model, pictures):
    found = embed_pictures(whole_embedder(model, whole=True), Held(pictures), one_by_one=True)
    expected = [model.net.embed(normalised(picture[None]))[0] for picture in pictures]
    assert torch.allclose(torch.from_numpy(found), torch.stack(expected).detach(), atol=1e-6)


def test_pictures_of_one_size_are_prepared_as_in_training(model, pictures):
    square = [picture[:, :8, :8] for picture in pictures]
    found = embed_pictures(whole_embedder(model, whole=False), Held(square), one_by_one=False)
    expected = model.embed(torch.stack([picture[:, :4, :4] for picture in square]))
    assert torch.allclose(torch.from_numpy(found), expected, atol=1e-6)


def test_vectors_of_several_scales_are_averaged(model, pictures):
    picture = pictures[0][None]
    found = whole_embedder(model, whole=True, scales=SCALES)(picture)
    seen = normalised(picture)
    sizes = [(12, 16), (8, 11), (6, 8)]
    scaled = [
        nn.functional.interpolate(seen, scale_factor=scale, mode="bilinear", align_corners=False) for scale in SCALES
    ]
    assert [tuple(one.shape[-2:]) for one in scaled] == sizes
    assert torch.allclose(found, torch.stack([model.net.embed(one) for one in scaled]).mean(0), atol=1e-6)


@pytest.mark.errors
def test_patches_are_cut_of_one_size_and_at_one_scale(encoder, images):
    with pytest.raises(ValueError, match="Shuffle cuts pictures of one size: give no longest side"):
        whole_embedder(encoder, whole=True)
    with pytest.raises(ValueError, match="Shuffle cuts pictures into patches: give one scale"):
        whole_embedder(encoder, whole=False, scales=(1.0, 0.5))(images)
    with pytest.raises(ValueError, match="`scales` must hold positive factors"):
        whole_embedder(encoder, whole=False, scales=())


def test_an_encoder_without_a_projector_says_so(encoder, images):
    assert not encoder.can_project
    with pytest.raises(ValueError, match=r"project: .* without a projector"):
        encoder.project(images)


def test_projections_are_what_the_network_projects(model, pictures):
    model.net.project = lambda images: 2 * model.net.embed(images)
    items = torch.stack([picture[:, :4, :4] for picture in pictures])
    assert torch.allclose(model.project(items), 2 * model.embed(items))
