"""Maps of what a network looks at, against derivatives known by hand, and pictures of them."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unshuffle.data.patching import Grid
from unshuffle.data.sets import OrderedSets
from unshuffle.data.shuffle import Shuffle
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.puzzles import solve
from unshuffle.evals.saliency import filters_figure, saliency, saliency_of_puzzles, saliency_of_sets
from unshuffle.evals.sets import held_out_sets
from unshuffle.losses import AuthorsSinkhorn, NaiveSigmoid, RankMSE, SinkhornCrossEntropy
from unshuffle.nets import CFN2016, AlexNet, ContextFreeNet, ItemNet, ResNet, SmallConv
from unshuffle.types import Sets


class Corner(nn.Module):
    """Scores items at positions by the brightness of their top left corner alone, red counting twice."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = nn.Parameter(torch.tensor([2.0, 1.0, -1.0])[:, None, None])

    def forward(self, items: Tensor) -> Tensor:
        size = min(3, items.shape[-1])
        bright = (items * self.colours).sum(2)[..., :size, :size].mean((-2, -1))
        return (bright.unsqueeze(-1) * torch.arange(items.shape[1])).flatten(1)

    def embed(self, items: Tensor) -> Tensor:
        return items.flatten(1)


def looking_at_corners(objective=SinkhornCrossEntropy()) -> Encoder:
    return Encoder(Corner(), OrderedSets(4), (3, 8, 8), objective=objective)


@pytest.mark.parametrize("objective", [SinkhornCrossEntropy(), AuthorsSinkhorn(), NaiveSigmoid()], ids=str)
def test_only_the_pixels_that_are_looked_at_are_hot(objective, rng):
    heat = saliency(looking_at_corners(objective), torch.rand(2, 4, 3, 8, 8, generator=rng))

    assert heat.shape == (2, 4, 8, 8)
    assert (heat[..., :3, :3] > 0).all()
    assert heat[..., 3:, :].max() == heat[..., :, 3:].max() == 0


def test_the_map_is_the_largest_derivative_over_channels(rng):
    """Of half the squared length of the soft matrix: by finite differences at one pixel of each channel."""
    encoder, items = looking_at_corners(NaiveSigmoid()), torch.rand(1, 4, 3, 8, 8, generator=rng)

    def length(x: Tensor) -> float:
        return NaiveSigmoid().matrix(encoder.net(x)).double().square().sum().item() / 2

    slopes = []
    for channel in range(3):
        step = torch.zeros_like(items)
        step[0, 2, channel, 1, 1] = 0.05
        slopes.append((length(items + step) - length(items - step)) / 0.1)

    assert saliency(encoder, items)[0, 2, 1, 1].item() == pytest.approx(max(map(abs, slopes)), rel=1e-3)


def test_the_map_of_a_single_score_is_its_own_derivative(rng):
    encoder = Encoder(ItemNet(SmallConv(4), (1, 8, 8), 8).build(), OrderedSets(3), (1, 8, 8), objective=RankMSE())
    items = torch.rand(2, 3, 1, 8, 8, generator=rng)
    one = items[1, 2].requires_grad_()

    (expected,) = torch.autograd.grad(encoder.eval().net(one[None, None]).sum(), one)

    torch.testing.assert_close(saliency(encoder, items.detach())[1, 2], expected.abs().amax(0))


def test_looking_leaves_no_gradient_behind(rng):
    encoder = looking_at_corners()

    with torch.no_grad():
        saliency(encoder, torch.rand(1, 4, 3, 8, 8, generator=rng))

    assert all(p.grad is None for p in encoder.net.parameters())


@pytest.mark.errors
def test_networks_without_a_map_are_refused():
    scorer = ContextFreeNet(SmallConv(4), 4, (1, 8, 8), 4, patch_features=4, hidden=4).build()
    encoder = Encoder(scorer, Shuffle(Grid(2, 2)), (1, 20, 20), objective=RankMSE())

    with pytest.raises(ValueError, match="predicts no permutation matrices, and no scores of single items"):
        saliency(encoder, torch.zeros(1, 4, 1, 8, 8))
    with pytest.raises(ValueError, match=r"`inputs` must be pictures.*got \(1, 4, 8\)"):
        saliency(encoder, torch.zeros(1, 4, 8))


def shown(folder, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / "figures" / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_sets_are_shown_weak_to_strong_with_their_maps(tmp_path, rng):
    encoder = looking_at_corners()
    items = torch.rand(6, 4, 3, 8, 8, generator=rng)

    figure = saliency_of_sets(tmp_path, encoder, Sets(items, torch.ones(6, 4), torch.arange(24).reshape(6, 4)), count=2)

    assert figure.kind == "saliency"
    arrays = shown(tmp_path, "saliency")
    order = encoder.order(items[:2]).argsort(-1)
    expected = torch.stack([i[o] for i, o in zip(items, order)]).movedim(2, -1)
    np.testing.assert_array_equal(arrays["images"], expected)
    assert arrays["heat"].shape == (2, 4, 8, 8)
    assert (arrays["heat"].max((-2, -1)) == 1).all()
    assert arrays["heat"][..., 0, 0].min() > 0.9
    assert arrays["heat"][..., 7, 7].max() < 0.1


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_are_shown_where_they_belong(channels, tmp_path, rng):
    """Shuffled for the network, and back for the eye: the hot corners are those of the cells."""
    items = torch.randint(256, (9, 3, 16, 16), generator=rng).to(torch.uint8)
    encoder = Encoder(Corner(), Shuffle(Grid(2, 2, gap=0)), (3, 16, 16), objective=SinkhornCrossEntropy())

    saliency_of_puzzles(tmp_path, encoder, items, solve(encoder, items), count=3)

    arrays = shown(tmp_path, "saliency")
    assert arrays["heat"].shape == (1, 3, 16, 16)
    np.testing.assert_allclose(arrays["images"][0, 1], items[4].permute(1, 2, 0) / 255, atol=1e-6)
    for top in (0, 8):
        for left in (0, 8):
            cell = arrays["heat"][0, :, top : top + 8, left : left + 8]
            assert (cell[:, :3, :3].mean((-2, -1)) > 2 * cell[:, 5:, 5:].mean((-2, -1))).all()


@pytest.mark.parametrize(
    ("backbone", "channels", "shape"),
    [
        (SmallConv(4), 3, (4, 3, 3, 3)),
        (SmallConv(4), 1, (4, 3, 3)),
        (AlexNet(), 3, (64, 11, 11, 3)),
        (CFN2016(), 3, (96, 11, 11, 3)),
        (ResNet(width=4), 3, (4, 7, 7, 3)),
    ],
)
def test_the_filters_of_any_first_convolution_are_shown(backbone, channels, shape, tmp_path):
    net = ContextFreeNet(backbone, 2, (channels, 40, 40), 4, patch_features=4, hidden=4).build()

    figure = filters_figure(tmp_path, Encoder(net, Shuffle(), (channels, 99, 99)))

    assert figure is not None
    filters = shown(tmp_path, "filters")["filters"]
    assert filters.shape == shape
    flat = filters.reshape(len(filters), -1)
    np.testing.assert_allclose(flat.min(1), 0)
    np.testing.assert_allclose(flat.max(1), 1)
    weight = next(net.parameters())[1].detach().squeeze(0)
    assert np.corrcoef((weight.movedim(0, -1) if channels == 3 else weight).flatten(), flat[1])[0, 1] > 0.999


def test_other_first_layers_have_no_filters_to_show(tmp_path):
    of_clips = ContextFreeNet(SmallConv(4), 2, (6, 9, 9), 4, patch_features=4, hidden=4).build()

    assert filters_figure(tmp_path, Encoder(of_clips, Shuffle(), (6, 20, 20))) is None
    assert filters_figure(tmp_path, Encoder(nn.Linear(3, 3), Shuffle(), (3, 20, 20))) is None
    assert not (tmp_path / "figures").exists()


@pytest.mark.untyped
def test_held_out_sets_are_dealt_of_items_as_they_are_embedded():
    encoder = looking_at_corners()
    data = [(torch.full((3, 8, 8), i, dtype=torch.uint8), i % 3) for i in range(10)]

    sets = held_out_sets(encoder, data, seed=3)  # type: ignore[arg-type]

    assert sets.items.shape == (2, 4, 3, 8, 8)
    torch.testing.assert_close(sets.items[..., 0, 0, 0], sets.index / 255)
    order = (sets.index % 3).float()
    assert ((sets.ranks.unsqueeze(1) < sets.ranks.unsqueeze(2)) == (order.unsqueeze(1) < order.unsqueeze(2))).all()
