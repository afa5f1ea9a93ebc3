"""Self-labelling: both steps lower one objective, clusters become kinds, and labels are those of the authors' code."""

import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import normalized_mutual_info_score

from unshuffle.methods import Balanced, Clustered, LearnLabels, Rounds, SelfLabel
from unshuffle.methods.labelling import Labelling, Look
from unshuffle.methods.learn_labels import turned
from unshuffle.nets import HeadsNet, SmallConv
from unshuffle.ops import transport
from unshuffle.types import Views

SIZE = 300


@functools.cache
def images() -> tuple[torch.Tensor, np.ndarray]:
    """Waves in four directions, of any phase, in noise; and which direction each has."""
    generator, kinds = torch.Generator().manual_seed(0), torch.arange(SIZE) % 4
    down, right = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    angle, phase = (kinds * math.pi / 4)[:, None, None], 6.28 * torch.rand(SIZE, 1, 1, generator=generator)
    waves = torch.cos(1.6 * (right * angle.cos() + down * angle.sin()) + phase)
    return (waves + 0.5 * torch.randn(waves.shape, generator=generator)).unsqueeze(1), kinds.numpy()


def shaken(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Moved by a pixel, and noisy: what a label must survive."""
    down, right = torch.randint(-1, 2, (2,), generator=generator).tolist()
    moved = pictures.roll((down, right), (2, 3))
    return moved + 0.3 * torch.randn(pictures.shape, generator=generator)


class Learnt:
    """A method that was trained for a while, and what its rounds said."""

    def __init__(self, labelling: Labelling, *, rounds: Rounds, steps: int, classes: tuple[int, ...] = (4, 4)):
        torch.manual_seed(0)
        self.pictures, self.kinds = images()
        self.generator = torch.Generator().manual_seed(0)
        self.method = SelfLabel(HeadsNet(SmallConv(8), (1, 8, 8), classes).build(), labelling, rounds)
        self.method.begin(torch.arange(SIZE), SIZE, 0)
        self.rounds: list[dict[str, float]] = []
        self.labels = [self.method.labels.clone()]
        self.optimizer = torch.optim.SGD(self.method.parameters(), lr=0.05, momentum=0.9)
        for step in range(steps):
            self._round(step / steps)
            self._step()
        self._round(1.0)

    def _round(self, progress: float) -> None:
        if self.method.refresh_due(progress):
            self.rounds.append(self.method.refresh(progress, self.sweep))
            self.labels.append(self.method.labels.clone())

    def _step(self) -> None:
        self.method.train()
        weights = self.method.sampling()
        weights = torch.ones(SIZE) if weights is None else weights
        rows = torch.multinomial(weights.double(), 64, generator=self.generator)
        loss = self.method.step(Views((shaken(self.pictures[rows], self.generator),), rows)).loss
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def sweep(self, view: int | None) -> Iterator[Views]:
        for rows in torch.arange(SIZE).split(100):
            plain = self.pictures[rows]
            yield Views((plain if view is None else shaken(plain, self.generator),), rows)

    def nmi(self, number: int) -> float:
        """Of a labelling with the true kinds, averaged over the heads."""
        return float(np.mean([normalized_mutual_info_score(self.kinds, head) for head in self.labels[number].numpy()]))


@functools.cache
def learnt(name: str) -> Learnt:
    labelling = {
        "balanced": Balanced(power=10.0), "exact": Balanced(power=10.0, equal_sizes=True),
        "k-means": Clustered(components=16),
    }[name]  # fmt: skip
    return Learnt(labelling, rounds=Rounds(8), steps=120 if name == "k-means" else 60)


# ----------------------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("name", ["balanced", "exact", "k-means"])
def test_clusters_become_kinds_of_which_nobody_told(name):
    run = learnt(name)

    assert run.nmi(0) < 0.05  # the labels of the beginning
    assert run.nmi(1) < 0.3  # those of an untrained network
    assert run.nmi(-1) > 0.5


def test_balanced_clusters_stay_balanced_and_k_means_ones_do_not():
    sizes = {name: torch.stack([head.bincount() for head in learnt(name).labels[-1]]) for name in ("exact", "k-means")}

    assert sizes["exact"].eq(SIZE // 4).all()
    assert not sizes["k-means"].eq(SIZE // 4).all()  # by how much depends on the seed and the processor


def test_without_rounds_the_labels_of_the_beginning_stay():
    run = Learnt(Balanced(), rounds=Rounds(0), steps=2)

    assert not run.rounds
    assert run.labels[0].equal(run.method.labels)


# --------------------------------------------------------------------------------------------- one objective, two steps


def test_exact_labels_never_raise_the_objective():
    """Old labels are among those that the round chooses from; it is within 0.01 / power a sample of the best."""
    run = learnt("exact")

    assert len(run.rounds) == 8
    for log in run.rounds:
        assert log["objective_after"] <= log["objective_before"] + 2 * 0.01 / 10 + 1e-6
    assert all(log["objective_after"] < log["objective_before"] for log in run.rounds[:3])  # and mostly lower it
    assert max(log["objective_before"] - log["objective_after"] for log in run.rounds) > 0.02


@pytest.mark.parametrize("mean_of_heads", [False, True])
def test_the_logged_objective_is_the_loss_of_a_step(mean_of_heads):
    """In evaluation, of all samples at once."""
    run = Learnt(Balanced(power=10.0), rounds=Rounds(1, views=0, as_trained=False), steps=1)
    method, pictures = run.method.eval(), run.pictures
    method.mean_of_heads = mean_of_heads
    method.rounds_done.zero_()
    before = method.step(Views((pictures,), torch.arange(SIZE))).loss

    log = method.refresh(0.0, run.sweep)

    assert log["objective_before"] == pytest.approx(before.item(), rel=1e-5)
    assert log["objective_after"] == pytest.approx(
        method.step(Views((pictures,), torch.arange(SIZE))).loss.item(), rel=1e-5
    )


def look(log_p: torch.Tensor, offsets: torch.Tensor | None = None) -> Look:
    offsets = torch.zeros(log_p.shape[1], dtype=torch.float64) if offsets is None else offsets
    return Look([[log_p]], log_p, offsets, torch.Generator().manual_seed(0), None)


def cost(log_p: torch.Tensor, labels: torch.Tensor) -> float:
    return float(-log_p.gather(1, labels.long()[:, None]).mean())


@pytest.mark.parametrize("power", [2.0, 10.0, 25.0])
def test_labels_that_are_nearly_balanced_raise_it_no_more_than_their_sizes_allow(power, rng):
    """What sizes gain is worth the offsets: by the dual of the linear programme, for any other labels."""
    log_p = (3 * torch.randn(200, 8, generator=rng, dtype=torch.float64)).log_softmax(-1)
    old = torch.arange(8).repeat_interleave(25)[torch.randperm(200, generator=rng)]

    found = Balanced(power).label(look(log_p))

    moved = found.labels.bincount(minlength=8) - old.bincount(minlength=8)
    allowed = float((found.offsets * moved).sum()) / (power * 200)
    assert cost(log_p, found.labels) <= cost(log_p, old) + allowed + 1e-12
    assert cost(log_p, found.labels) < cost(log_p, old)


def test_the_gap_to_the_linear_programme_closes_with_the_power(rng):
    """The plan's cost is at most log K / power above the optimum, and labels of exact sizes reach it at once."""
    log_p = (2 * torch.randn(60, 6, generator=rng, dtype=torch.float64)).log_softmax(-1)
    rows, columns = linear_sum_assignment(-log_p.repeat_interleave(10, 1).numpy())
    best = cost(log_p, torch.from_numpy(columns[rows.argsort()] // 10))
    gaps = []
    for power in (1.0, 5.0, 25.0, 100.0):
        plan = transport(log_p, power=power, tolerance=1e-9, max_iters=10_000, accelerate=True).plan()
        gaps.append(float(-(plan * log_p).sum()) - best)
        assert -1e-7 <= gaps[-1] <= np.log(6) / power
        exact = Balanced(power, equal_sizes=True).label(look(log_p)).labels
        assert -1e-12 <= cost(log_p, exact) - best <= 0.01 / power + 1e-12

    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.1 * gaps[0]


# ------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("power", [10.0, 25.0])
def test_a_warm_start_saves_iterations_the_more_the_less_scores_have_moved(power, rng):
    """To the same labels, but of samples between two clusters."""
    before, noise = (3 * torch.randn(500, 12, generator=rng, dtype=torch.float64) for _ in range(2))
    offsets, shares = Balanced(power).label(look(before.log_softmax(-1))).offsets, []

    for moved in (0.0, 0.01, 0.05, 0.2):  # in units of the scores' own deviation
        after = (before + moved * noise).log_softmax(-1)
        warm, cold = (Balanced(power, warm_start=warm).label(look(after, offsets)) for warm in (True, False))
        shares.append(warm.iterations / cold.iterations)
        assert (warm.labels == cold.labels).double().mean() > 0.98
        sooner = Balanced(power, warm_start=False, accelerate=True).label(look(after, offsets))
        assert sooner.iterations < cold.iterations / 2
        assert (sooner.labels == cold.labels).double().mean() > 0.98

    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[1] < 0.5
    assert shares[2] < 0.85


def test_known_frequencies_are_the_sizes():
    frequencies = (5.0, 3.0, 2.0)
    labelling = Balanced(power=10.0, frequencies=frequencies, equal_sizes=True)
    run = Learnt(labelling, rounds=Rounds(1), steps=1, classes=(3, 3))

    for labels in (run.labels[0], run.labels[-1]):
        assert [head.bincount().tolist() for head in labels] == [[150, 90, 60]] * 2


def test_one_head_a_round_by_turns():
    run = Learnt(Balanced(power=10.0), rounds=Rounds(3, "even", in_turn=True), steps=4)

    changed = [[not a.equal(b) for a, b in zip(old, new)] for old, new in itertools.pairwise(run.labels)]
    assert changed == [[True, False], [False, True], [True, False]]


def test_rounds_that_fall_on_one_step_pass_over_no_head():
    run = Learnt(Balanced(power=10.0), rounds=Rounds(9, "even", in_turn=True), steps=4)

    assert [not a.equal(b) for a, b in zip(run.labels[1], run.labels[2])] == [True, True]


def test_log_probabilities_are_averaged_over_random_views():
    """More views, and the labels of two rounds of one network agree more."""

    def agreement(views: int) -> float:
        run = Learnt(Balanced(power=10.0), rounds=Rounds(1, views=views, as_trained=False), steps=30)
        run.method.refresh(0.0, run.sweep)
        first = run.method.labels.clone()
        run.method.refresh(0.0, run.sweep)
        return float((run.method.labels == first).float().mean())

    assert agreement(6) > agreement(1)


def test_a_round_looks_at_the_mean_log_probability_over_the_views_that_it_asks_for():
    run, asked = Learnt(Balanced(power=10.0), rounds=Rounds(1, views=3, as_trained=False), steps=1), []
    method, old = run.method, run.method.labels.clone()

    def sweep(view: int | None) -> Iterator[Views]:
        asked.append(view)
        for rows in torch.arange(SIZE).split(100):
            yield Views((run.pictures[rows].roll(view, -1),), rows)

    log = method.refresh(0.0, sweep)

    assert asked == [0, 1, 2]
    with torch.no_grad():
        each = [torch.stack(method.net.eval().logits(run.pictures.roll(view, -1))) for view in range(3)]
    mean = torch.stack(each).log_softmax(-1).mean(0)
    assert log["objective_before"] == pytest.approx(sum(map(cost, mean, old)), rel=1e-5)
    told = mean.gather(2, method.labels.long().unsqueeze(2)).squeeze(2).exp()
    torch.testing.assert_close(method.confidences, told, rtol=1e-4, atol=1e-6)


def test_each_head_has_clusters_of_its_own_number():
    run = Learnt(Balanced(power=10.0, equal_sizes=True), rounds=Rounds(1), steps=1, classes=(3, 5))

    for labels in (run.labels[0], run.labels[-1]):
        assert [head.bincount().tolist() for head in labels] == [[100] * 3, [60] * 5]


def test_samples_that_were_held_out_have_the_label_of_their_cluster():
    run = learnt("balanced")
    method, rows = run.method.eval(), torch.arange(SIZE)
    labels = method.labels.clone()
    method.labels[:, :50] = -1
    with torch.no_grad():
        held_out = method._labels(rows, method.net.logits(run.pictures))
    method.labels.copy_(labels)

    assert held_out[:, 50:].equal(labels[:, 50:].long())
    assert (held_out[:, :50] == labels[:, :50]).float().mean() > 0.7


def test_a_head_begins_anew_with_each_clustering_but_not_after_the_last_step():
    """Else the network would end with a head that knows no cluster."""
    early, run = Learnt(Clustered(components=16), rounds=Rounds(0), steps=0), learnt("k-means")
    early.method.refresh(0.0, early.sweep)

    for head in early.method.net.heads:
        assert float(head.weight.detach().std()) == pytest.approx(0.01, rel=0.2)
        assert not head.bias.any()
    assert not early.method.confidences.any()
    for head, labels in zip(run.method.net.heads, run.method.labels):
        said = head(run.method.eval().embed(run.pictures)).argmax(-1)
        assert normalized_mutual_info_score(said, labels) > 0.5
        assert float(head.weight.detach().std()) > 0.05
    assert (run.method.confidences > 0.2).all()
    assert ["objective_after" in logs for logs in run.rounds] == [False] * 7 + [True]
    assert run.rounds[-1]["iterations"] == 0


def test_clusters_are_drawn_alike_often():
    run = learnt("k-means")
    weights = run.method.sampling()

    assert weights is not None
    only = Learnt(Clustered(components=16), rounds=Rounds(1), steps=1, classes=(10,)).method
    totals = torch.zeros(10, dtype=torch.float64).index_add_(0, only.labels[0].long(), only.sampling())
    torch.testing.assert_close(totals, torch.ones(10, dtype=torch.float64))
    assert learnt("balanced").method.sampling() is None


def test_heads_are_added_up_or_averaged():
    torch.manual_seed(0)
    net = HeadsNet(SmallConv(4), (1, 8, 8), (3, 4)).build().eval()
    batch = Views((torch.randn(6, 1, 8, 8),), torch.arange(6), torch.randint(3, (6, 2)))

    added, averaged = (LearnLabels(net, mean_of_heads=mean).step(batch).loss for mean in (False, True))

    torch.testing.assert_close(added, 2 * averaged)


def test_a_label_of_minus_one_counts_nothing():
    torch.manual_seed(0)
    method = LearnLabels(HeadsNet(SmallConv(4), (1, 8, 8), (3,)).build().eval())
    pictures = torch.randn(4, 1, 8, 8)
    known = method.step(Views((pictures[:2],), torch.arange(2), torch.tensor([0, 2]))).loss

    some = method.step(Views((pictures,), torch.arange(4), torch.tensor([0, 2, -1, -1]))).loss

    torch.testing.assert_close(some, known)


def test_turns_are_quarters_anticlockwise():
    corner = torch.zeros(1, 1, 3, 3)
    corner[..., 0, 0] = 1

    assert [tuple(image.nonzero()[0, 1:].tolist()) for image in turned(corner)] == [(0, 0), (2, 0), (2, 2), (0, 2)]


def test_labels_are_learnt_from_upright_images_and_turns_from_all_four():
    torch.manual_seed(0)
    net = HeadsNet(SmallConv(4), (1, 8, 8), (3,), rotations=True).build().eval()
    for layer in (net.heads[0], net.turn):  # new ones tell hardly anything apart
        torch.nn.init.normal_(layer.weight, std=100.0)
    pictures, labels = torch.randn(6, 1, 8, 8), torch.randint(3, (6, 1))

    step = LearnLabels(net).step(Views((pictures,), torch.arange(6), labels))

    features = [net.embed(pictures.rot90(quarters, (2, 3))) for quarters in range(4)]
    turns = torch.cat([net.turn(seen) for seen in features])
    truth = torch.arange(24) // 6
    of_labels, of_turns = (
        torch.nn.functional.cross_entropy(*pair) for pair in ((net.heads[0](features[0]), labels[:, 0]), (turns, truth))
    )
    torch.testing.assert_close(step.loss, of_labels + of_turns)
    assert step.logs["rotation_accuracy"] == (turns.argmax(1) == truth).float().mean()


@pytest.mark.errors
def test_more_clusters_than_samples_are_refused():
    method = SelfLabel(HeadsNet(SmallConv(4), (1, 8, 8), (3, 9)).build(), Balanced(), Rounds())
    with pytest.raises(ValueError, match=r"as many clusters as there are samples to train on, 8; got 9\. Give fewer"):
        method.begin(torch.arange(8), 10, 0)


@pytest.mark.errors
def test_what_cannot_be_learnt_says_so():
    net = HeadsNet(SmallConv(4), (1, 8, 8), (3, 4)).build()
    with pytest.raises(ValueError, match=r"`frequencies` must hold one number a cluster, for heads of \(3, 4\)"):
        SelfLabel(net, Balanced(frequencies=(1.0, 2.0, 3.0)), Rounds())
    with pytest.raises(ValueError, match="`frequencies` must be 0 or more and not all 0"):
        Balanced(frequencies=(0.0, 0.0))
    pictures = torch.randn(2, 1, 8, 8)
    for label, message in (
        (None, "carry no labels"),
        (torch.tensor([0, 1]), "one label a head, 2; got 1"),
        (torch.tensor([[0, 1], [1, 4]]), r"below the classes of their head, \(3, 4\), or -1; got 0 to 4"),
    ):
        with pytest.raises(ValueError, match=message):
            LearnLabels(net).step(Views((pictures,), torch.arange(2), label))


# -------------------------------------------------------------------------------------------- the authors' code


@pytest.mark.parametrize("name", ["n500_k10_l25", "n1000_k30_l25", "n1000_k30_l10", "n103_k10_l25_nondiv"])
def test_labels_are_those_of_the_authors_code(golden, name):
    vectors = golden("sela_sk")
    log_p = torch.from_numpy(vectors[f"{name}/P"]).log()

    found = Balanced(float(vectors[f"{name}/lambda"]), tolerance=1e-6, max_iters=10_000).label(look(log_p))

    assert (found.labels.numpy() == vectors[f"{name}/labels"]).mean() > 0.98  # theirs stop a little earlier


@pytest.mark.parametrize("name", ["n500_k10_l10", "n800_k128_l10", "n500_k10_l25"])
def test_the_cost_of_labels_is_that_of_the_authors_code(golden, name):
    vectors = golden("sela_sk_cifar")
    log_p = torch.from_numpy(vectors[f"{name}/P"]).log()
    power = float(name.rpartition("l")[2])

    found = Balanced(power, tolerance=1e-5, max_iters=10_000).label(look(log_p))

    assert cost(log_p, found.labels) == pytest.approx(float(vectors[f"{name}/cost"]), rel=0.02)


def test_rounds_are_at_the_times_of_the_authors_code(golden):
    """Theirs are spread over 401.01 epochs; those beyond the last epoch never come."""
    theirs = golden("sela_schedule")["main_epochs400_nopts100"]

    ours = 401.01 * np.array(Rounds(100).times)

    np.testing.assert_allclose(ours, theirs[:100], rtol=1e-6)


def test_the_papers_times_begin_after_the_start():
    assert Rounds(5, at_start=False).times == (1 / 16, 4 / 16, 9 / 16, 1.0)
    assert Rounds(5, "even").times == (0, 0.25, 0.5, 0.75, 1.0)
    assert Rounds(1).times == (0.0,)
    assert Rounds(0).times == ()
