"""Learning from views: what was learnt tells digits apart, and a batch in parts is the same batch."""

import functools
import itertools

import pytest
import torch
from torch import nn

from unshuffle.data.blur import Blur
from unshuffle.data.colour import ColourJitter
from unshuffle.data.crops import Crop
from unshuffle.data.samples import digits
from unshuffle.data.views import MultiView, View
from unshuffle.evals import knn_predict
from unshuffle.evals.encoder import calibrate
from unshuffle.losses import GroupOrder, InfoNCE, Triplet, ViewsObjective
from unshuffle.methods import LearnFromViews
from unshuffle.nets import ProjectedNet, Projector, SmallConv
from unshuffle.types import Raw, Views

VIEW = View(Crop(8, area=(0.7, 1.0), mirror=0.0), ColourJitter(0.4, 0.4, 0.0, 0.0), grey=0.0, blur=Blur(0.0))
TWO = MultiView((VIEW, VIEW), 2, mean=(0.3,), std=(0.37,))


@functools.cache
def learn(objective: ViewsObjective, *, steps: int = 60, truthful: bool = True) -> float:
    """Steps of 96 digits of which no label is told; the share of test digits that the nearest 20 neighbours name.

    Where not ``truthful``, the second view is always one of another digit.
    """
    data, generator = digits(), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    method = LearnFromViews(ProjectedNet(SmallConv(8), (1, 8, 8), Projector(64, 32)).build(), objective)
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    for _ in range(steps):
        rows = torch.randint(len(data.train), (96,), generator=generator)
        batch = TWO(Raw(data.train.items[rows], rows), generator)
        if not truthful:
            batch = batch._replace(views=(batch.views[0], batch.views[1].roll(1, 0)))
        loss = method.step(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    known, asked = (TWO.prepare(part.items) for part in (data.train, data.test))
    calibrate(method.net, known)
    with torch.no_grad():
        bank, queries = (method.embed(part).numpy() for part in (known, asked))
    labels, truth = data.targets["digit"]
    return float((knn_predict(bank, labels, queries) == truth).mean())


@pytest.mark.parametrize("objective", [GroupOrder(), GroupOrder(4.0), InfoNCE(), Triplet()], ids=str)
def test_neighbours_are_of_one_kind_after_learning_from_views(objective):
    """The untrained network names .70 to .76 of them, by the seed."""
    assert learn(objective) > max(0.85, learn(objective, steps=0) + 0.05)


def test_views_of_other_images_teach_less():
    """What is learnt is that two views show one image."""
    assert learn(GroupOrder(), truthful=False) < learn(GroupOrder()) - 0.1


def views(count: int, sizes: tuple[int, ...] = (8, 8)) -> Views:
    generator = torch.Generator().manual_seed(3)
    made = (torch.randn(count, 1, size, size, generator=generator, dtype=torch.float64) for size in sizes)
    return Views(tuple(made), torch.arange(count))


class Plain(nn.Module):
    """A network without batch norm, so that nothing but the loss joins the images of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 6))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers[:3](images)

    def project(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def gradients(net: nn.Module, objective: ViewsObjective, parts: int, batch: Views) -> list[torch.Tensor]:
    method = LearnFromViews(net, objective, parts=parts)
    loss = method.step(batch).loss
    return [loss.detach(), *torch.autograd.grad(loss, list(method.parameters()))]


@pytest.mark.parametrize("objective", [GroupOrder(), InfoNCE(), Triplet()], ids=str)
@pytest.mark.parametrize("parts", [2, 3, 50])
def test_a_batch_in_parts_has_the_loss_and_the_gradients_of_the_whole(objective, parts):
    """Also the negatives of the other parts: not what adding up the gradients of small batches gives."""
    torch.manual_seed(0)
    net, batch = Plain().double(), views(11)

    whole, pieces = (gradients(net, objective, count, batch) for count in (1, parts))

    for ours, theirs in zip(pieces, whole):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_parts_move_the_running_statistics_once():
    """As two forward passes of two parts each would, and not once more in the backward pass."""
    torch.manual_seed(0)
    net, batch = ProjectedNet(SmallConv(2), (1, 8, 8), Projector(8, 6)).build().double(), views(12)
    state = {name: value.clone() for name, value in net.state_dict().items()}

    LearnFromViews(net, InfoNCE(), parts=2).step(batch).loss.backward()
    ours = {name: value.clone() for name, value in net.named_buffers()}
    net.load_state_dict(state)
    with torch.no_grad():
        for piece in itertools.chain.from_iterable(view.tensor_split(2) for view in batch.views):
            net.project(piece)

    for name, value in net.named_buffers():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-12)


def test_only_the_first_views_are_positives():
    torch.manual_seed(0)
    net, batch = Plain().double(), views(6, (8, 8, 8))
    projected = torch.stack([net.project(view) for view in batch.views])

    for positives in (2, 3):
        step = LearnFromViews(net, InfoNCE(), positives=positives).step(batch)
        expected = InfoNCE().loss(projected, projected, positives=positives).mean()
        torch.testing.assert_close(step.loss, expected)
    assert (
        not LearnFromViews(net, InfoNCE())
        .step(batch)
        .loss.allclose(LearnFromViews(net, InfoNCE(), positives=2).step(batch).loss)
    )


def test_matching_views_are_told():
    """Views that are the same image match wholly, those of other images hardly."""
    torch.manual_seed(0)
    method, batch = LearnFromViews(Plain().double(), InfoNCE()), views(20)
    same = batch._replace(views=(batch.views[0], batch.views[0].clone()))

    assert method.step(same).logs["matched"] == 1
    assert method.step(same).logs["alignment"] == pytest.approx(1.0, abs=1e-6)
    assert method.step(batch).logs["matched"] < 0.5


@pytest.mark.errors
def test_no_parts_are_refused():
    with pytest.raises(ValueError, match="LearnFromViews: `parts` must be positive; got 0"):
        LearnFromViews(Plain(), InfoNCE(), parts=0)
