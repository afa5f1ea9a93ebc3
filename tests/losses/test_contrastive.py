"""Objectives over views: the authors' numbers, plain enumeration, shares of a batch, and whom they choose."""

import json
import math

import pytest
import torch
from torch import Tensor

from unshuffle.losses import GroupOrder, InfoNCE, Negatives, Triplet, ViewsObjective, group_order, similarities
from unshuffle.losses.similarities import costs_of_anchors
from unshuffle.values import from_json, to_json

F64 = torch.float64
ALL, SAME = Negatives(count=None), Negatives(count=None, views="same")
OBJECTIVES: list[ViewsObjective] = [
    GroupOrder(),
    GroupOrder(4.0, Negatives(3, views="same"), stop_gradient=False, preorder=False, orientation="code"),
    InfoNCE(),
    InfoNCE(0.5, Negatives(2), stop_gradient=True, pairs="code"),
    InfoNCE(negatives=SAME),
    Triplet(),
    Triplet(0.3, ALL, stop_gradient=False),
    Triplet(math.inf, SAME),
]

every_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)


def embeddings(m: int = 3, n: int = 5, d: int = 6, seed: int = 0) -> Tensor:
    """Views of an image resemble each other."""
    generator = torch.Generator().manual_seed(seed)
    images, views = (
        torch.randn(n, d, dtype=F64, generator=generator),
        torch.randn(m, n, d, dtype=F64, generator=generator),
    )
    return images + views


def mean_and_slope(objective: ViewsObjective, z: Tensor, positives: int | None = None) -> tuple[Tensor, Tensor]:
    z = z.detach().requires_grad_()
    mean = objective.loss(z, z, positives=positives).mean()
    return mean.detach(), torch.autograd.grad(mean, z)[0]


# ----------------------------------------------------------------------------------------------- the authors' numbers


@pytest.mark.parametrize(
    "name", ["2v_b16", "2v_b16_nostop", "4v_b16", "mc_4aug2pos_b16", "2v_b32_top5_s8", "3v_b12_top10_s4"]
)
def test_group_ordering_has_the_authors_values_and_gradients(golden, name):
    data = golden("groco")
    _, _, _, positives, count, beta, stop = data[f"{name}/cfg"].tolist()
    negatives = Negatives(count, views="same")
    objective = GroupOrder(float(beta), negatives, stop_gradient=bool(stop), orientation="code")

    mean, slope = mean_and_slope(objective, torch.tensor(data[f"{name}/z"]), positives)

    torch.testing.assert_close(mean, torch.tensor(data[f"{name}/loss"]), rtol=1e-6, atol=0)
    largest = float(abs(data[f"{name}/grad"]).max())
    torch.testing.assert_close(slope, torch.tensor(data[f"{name}/grad"]), rtol=0, atol=2e-6 * largest)


@pytest.mark.parametrize(
    ("name", "objective", "positives"),
    [
        ("ntxent_t0.1", InfoNCE(), None),
        ("ntxent_t0.5_top10_stop", InfoNCE(0.5, Negatives(10), stop_gradient=True), None),
        ("ntxent_allcomb3_t0.1", InfoNCE(), None),
        ("ntxent_allcomb4_pos2_t0.1", InfoNCE(pairs="code"), 2),
    ],
)
def test_infonce_has_the_authors_values_and_gradients(golden, name, objective, positives):
    data = golden("ntxent")

    mean, slope = mean_and_slope(objective, torch.tensor(data[f"{name}/z"]), positives)

    torch.testing.assert_close(mean, torch.tensor(data[f"{name}/loss"]), rtol=1e-6, atol=0)
    torch.testing.assert_close(slope, torch.tensor(data[f"{name}/grad"]), rtol=0, atol=1e-7)


# -------------------------------------------------------------------------------------------------------- enumeration


def distances(z: Tensor, v: int, i: int, near: list[int], negatives: Negatives) -> tuple[Tensor, Tensor]:
    """Oracle: one anchor's distances to its positives and negatives, one pair of vectors at a time."""
    m, n, _ = z.shape

    def distance(w: int, j: int) -> Tensor:
        return -torch.dot(z[v, i], z[w, j]) / (z[v, i].norm() * z[w, j].norm())

    far = [distance(w, j) for w in range(m) for j in range(n) if j != i and (negatives.views == "all" or w == v)]
    strongest = torch.stack(far).sort().values[: negatives.count]
    return torch.stack([distance(w, i) for w in near]), strongest


def enumerated(objective: ViewsObjective, z: Tensor, positives: int) -> Tensor:
    """Oracle: the objective by its formula, anchor by anchor."""
    m, n, _ = z.shape
    loss = torch.zeros(m, n, dtype=z.dtype)
    for v in range(m):
        near = [w for w in range(positives) if w != v]
        for i in range(n):
            near_by, far = distances(z, v, i, near, objective.negatives)  # type: ignore[attr-defined]
            match objective:
                case GroupOrder():
                    loss[v, i] = group_order(near_by, far, inverse_temperature=objective.inverse_temperature)
                case InfoNCE():
                    top = torch.exp(-near_by / objective.temperature)
                    loss[v, i] = -(top / (top + torch.exp(-far / objective.temperature).sum())).log().mean()
                case Triplet():
                    gaps = near_by.unsqueeze(-1) - far
                    hinge = (gaps + objective.margin).clamp_min(0.0)
                    loss[v, i] = (gaps if math.isinf(objective.margin) else hinge).mean()
    return loss


@pytest.mark.parametrize("negatives", [Negatives(3), Negatives(3, views="same"), Negatives(100), ALL, SAME])
@pytest.mark.parametrize("make", [GroupOrder, InfoNCE, Triplet, lambda **how: Triplet(math.inf, **how)])
@pytest.mark.parametrize("positives", [2, 4])
def test_every_anchors_loss_is_its_formula(positives, make, negatives):
    if make is GroupOrder and negatives.count is None:
        negatives = Negatives(1, views=negatives.views)
    objective, z = make(negatives=negatives), embeddings(m=4)

    loss = objective.loss(z, z, positives=positives)

    torch.testing.assert_close(loss, enumerated(objective, z, positives))


def test_pairs_as_in_the_code_weigh_alike_and_are_taken_both_ways():
    z, share = embeddings(m=4), InfoNCE(0.2)
    alone = torch.zeros(4, 4, dtype=F64)  # of anchors in view v with their image in view w
    for v, w in [(v, w) for v in range(4) for w in range(4) if v != w]:
        for i in range(5):
            near, far = distances(z, v, i, [w], ALL)
            top = torch.exp(-near / 0.2)
            alone[v, w] += -(top / (top + torch.exp(-far / 0.2).sum())).log().sum() / 5

    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)]  # views 0 and 1 may be positives
    expected = sum(alone[v, w] + alone[w, v] for v, w in pairs) / (2 * len(pairs))
    torch.testing.assert_close(InfoNCE(0.2, pairs="code").loss(z, z, positives=2).mean(), expected)
    torch.testing.assert_close(InfoNCE(0.2, pairs="code").loss(z, z), share.loss(z, z))


# --------------------------------------------------------------------------------------------- derivatives and shares


@every_objective
def test_derivatives_agree_with_finite_differences(objective):
    z, still = embeddings(m=3, n=4, d=3).requires_grad_(), embeddings(m=3, n=4, d=3)

    def loss(z: Tensor) -> Tensor:
        # With the gradient stopped, the derivative is that by the anchors alone.
        return objective.loss(z, still if objective.stop_gradient else z, positives=2)

    assert torch.autograd.gradcheck(loss, z)
    if not isinstance(objective, Triplet):
        assert torch.autograd.gradgradcheck(loss, z, fast_mode=True)


@every_objective
def test_a_stopped_gradient_holds_what_an_anchor_is_compared_with(objective):
    z = embeddings().requires_grad_()

    (slope,) = torch.autograd.grad(objective.loss(z, z).sum(), z)

    (held,) = torch.autograd.grad(objective.loss(z, z.detach()).sum(), z)
    assert torch.allclose(slope, held, rtol=1e-9) == objective.stop_gradient


@every_objective
def test_shares_of_the_anchors_cost_what_they_cost_together(objective):
    z = embeddings(n=6)
    together = objective.loss(z, z, positives=2)

    shares = [objective.loss(z[:, a:b], z, first=a, positives=2) for a, b in ((0, 1), (1, 4), (4, 6), (6, 6))]

    torch.testing.assert_close(torch.cat(shares, 1), together)


@every_objective
def test_anchors_a_few_at_a_time_have_the_same_loss_and_gradient(objective, monkeypatch):
    expected = mean_and_slope(objective, embeddings(n=7), 2)
    monkeypatch.setattr(similarities, "_MOST_SIMILARITIES", 2 * 3 * 7)

    torch.testing.assert_close(mean_and_slope(objective, embeddings(n=7), 2), expected)


@every_objective
def test_the_length_of_an_embedding_does_not_matter(objective):
    z = embeddings()
    longer = z * torch.linspace(0.1, 30.0, z.shape[1], dtype=F64).unsqueeze(-1)

    torch.testing.assert_close(objective.loss(longer, longer), objective.loss(z, z))


# ----------------------------------------------------------------------------------------------------- what is chosen


def chosen(negatives: Negatives, m: int = 2, n: int = 6) -> list[list[int]]:
    """The columns of each anchor's negatives: every cosine tells which one it is."""
    z = embeddings(m, n)
    units = torch.nn.functional.normalize(z, dim=-1).flatten(0, 1)
    seen: list[list[int]] = []

    def cost(positive: Tensor, negative: Tensor) -> Tensor:
        cosines = units[len(seen) : len(seen) + len(negative)] @ units.T
        found = (negative.unsqueeze(-1) - cosines.unsqueeze(-2)).abs().argmin(-1)
        seen.extend(found.tolist())
        return negative.sum(-1)

    near = [[w for w in range(m) if w != v] for v in range(m)]
    costs_of_anchors(z, z, cost, first=0, near=near, negatives=negatives, stop_gradient=True)
    return seen


def test_random_negatives_are_others_drawn_evenly_without_repeats_and_anew():
    torch.manual_seed(0)
    draws = [chosen(Negatives(4, "random")) for _ in range(300)]

    counts = torch.zeros(12, 12)
    for draw in draws:
        for anchor, columns in enumerate(draw):
            assert len(set(columns)) == 4
            counts[anchor, columns] += 1
    own = torch.eye(6).repeat(2, 2).bool()
    assert (counts[own] == 0).all()
    # 300 draws of 4 of 10: 120 each, with a deviation of 8.5.
    assert (counts[~own] - 120).abs().max() < 6 * 8.5
    assert draws[0] != draws[1]


def test_random_negatives_of_the_same_view_and_seed_are_the_same():
    torch.manual_seed(3)
    first = chosen(Negatives(3, "random", views="same"))
    torch.manual_seed(3)

    assert chosen(Negatives(3, "random", views="same")) == first
    assert all(column // 6 == anchor // 6 for anchor, columns in enumerate(first) for column in columns)


def test_chosen_negatives_come_in_the_order_of_the_batch():
    """So that without pre-ordering the network meets them in an order that says nothing of distances."""
    assert all(columns == sorted(columns) for columns in chosen(Negatives(4)))


def test_as_many_random_negatives_as_there_are_are_all_of_them():
    z = embeddings()

    few = GroupOrder(negatives=Negatives(12, "random")).loss(z, z)

    torch.testing.assert_close(few, GroupOrder(negatives=Negatives(12)).loss(z, z))


# ---------------------------------------------------------------------------------------------------------- behaviour


@pytest.mark.parametrize("objective", [GroupOrder(4.0), InfoNCE(), Triplet(0.8)], ids=lambda o: type(o).__name__)
def test_descending_brings_the_views_of_every_image_together(objective):
    z = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)

    for _ in range(60):
        optimizer.zero_grad()
        objective.loss(z, z).mean().backward()
        optimizer.step()

    cosines = torch.nn.functional.normalize(z.detach(), dim=-1).flatten(0, 1)
    nearest = (cosines @ cosines.T).fill_diagonal_(-1).topk(2).indices % 8
    assert (nearest == torch.arange(8).repeat(3).unsqueeze(-1)).all()


@every_objective
def test_inside_autocast_the_loss_is_that_of_single_precision(objective):
    z = embeddings().bfloat16()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective.loss(z, z)

    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, objective.loss(z.float(), z.float()), rtol=0, atol=0)


@every_objective
def test_one_embedding_that_is_nan_is_not_passed_over(objective):
    """A mean of losses tells, and the training loop with it."""
    z = embeddings()
    z[0, 2, 1] = torch.nan

    assert objective.loss(z, z)[0, 2].isnan()


@every_objective
def test_an_embedding_of_zeros_has_a_finite_loss_and_gradient(objective):
    z = embeddings()
    z[1, 3] = 0.0

    mean, slope = mean_and_slope(objective, z)

    assert mean.isfinite()
    assert slope.isfinite().all()


@every_objective
def test_a_value_comes_back_equal_from_json_text(objective):
    assert from_json(json.loads(json.dumps(to_json(objective)))) == objective
    assert isinstance(objective, ViewsObjective)


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.errors
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: GroupOrder(0.0), "`inverse_temperature` must be above 0"),
        (lambda: GroupOrder(network="bubble"), "`network` must be one of"),  # pyright: ignore[reportArgumentType]
        (lambda: GroupOrder(orientation="up"), "`orientation` must be one of"),  # pyright: ignore[reportArgumentType]
        (lambda: GroupOrder(negatives=ALL), "`negatives.count` must be a number"),
        (lambda: InfoNCE(0.0), "`temperature` must be above 0"),
        (lambda: InfoNCE(pairs="none"), "`pairs` must be one of"),  # pyright: ignore[reportArgumentType]
        (lambda: Triplet(-0.1), "`margin` must be from 0"),
        (lambda: Negatives(0), "`count` must be from 1"),
        (lambda: Negatives(choice="best"), "`choice` must be one of"),  # pyright: ignore[reportArgumentType]
        (lambda: Negatives(views="none"), "`views` must be one of"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_options_that_cannot_be_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize(
    "objective",
    [
        InfoNCE(),
        InfoNCE(negatives=Negatives(), pairs="code"),
        Triplet(),
        Triplet(margin=math.inf),
        Triplet(negatives=Negatives(count=None)),
        GroupOrder(),
        GroupOrder(network="bitonic", negatives=Negatives(views="same")),
    ],
    ids=repr,
)
def test_an_anchor_without_negatives_costs_nothing_and_has_no_gradient(objective):
    """A softmax over the positive alone is 1; no pair misses its margin; one group is in order."""
    views = torch.randn(3, 1, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()

    costs = objective.loss(views, views)
    costs.sum().backward()

    assert costs.tolist() == [[0.0]] * 3
    assert views.grad is not None
    assert not views.grad.any()


@pytest.mark.errors
@pytest.mark.parametrize(
    ("anchors", "candidates", "how", "text"),
    [
        ((2, 3, 4), (2, 3, 5), {}, r"`candidates` must be \(m, n, d\) with the m = 2 views and d = 4"),
        ((2, 3, 4), (3, 3, 4), {}, r"`candidates` must be \(m, n, d\)"),
        ((2, 3, 4), (2, 4, 4), {"first": 2}, r"3 anchors; got \(2, 4, 4\) and first = 2"),
        (
            (2, 3, 4),
            (2, 3, 4),
            {"positives": 1},
            "`positives` must be 2 or more, and at most the 2 views there are; got 1",
        ),
        ((2, 3, 4), (2, 3, 4), {"positives": 3}, "`positives` must be 2 or more"),
        ((1, 3, 4), (1, 3, 4), {}, "`positives` must be 2 or more"),
    ],
)
def test_views_that_do_not_fit_are_refused(anchors, candidates, how, text):
    with pytest.raises(ValueError, match=text):
        GroupOrder().loss(torch.zeros(anchors), torch.zeros(candidates), **how)


@pytest.mark.errors
def test_embeddings_that_are_no_real_numbers_are_refused():
    with pytest.raises(TypeError, match="InfoNCE: `anchors` must be floating point"):
        InfoNCE().loss(torch.zeros(2, 3, 4, dtype=torch.long), torch.zeros(2, 3, 4))
