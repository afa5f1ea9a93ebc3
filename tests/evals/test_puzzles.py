"""An encoder that knows every place solves every puzzle; guessing has the value that counting gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unshuffle.data.patching import Bands, Grid
from unshuffle.data.sets import OrderedSets
from unshuffle.data.shuffle import Shuffle
from unshuffle.data.slices import Slices
from unshuffle.data.spectrogram import LogMel
from unshuffle.evals.encoder import Encoder
from unshuffle.evals.puzzles import Solved, pretext_results, puzzle_figure, solve
from unshuffle.evals.results import stamp
from unshuffle.losses import FixedPermutations, RankMSE
from unshuffle.permutations import SpreadOut, invert

MARK = stamp("made up", "test", "none")
GRID, BANDS = Grid(2, 3, gap=0, normalize=False), Bands(5, shift=0, normalize=False)


class Oracle(nn.Module):
    """Scores a patch by its brightness, which tells its place; ``slope`` -1 says the reverse, 0 nothing."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(float(slope)))

    def forward(self, patches: Tensor) -> Tensor:
        return self.slope * patches.flatten(2).mean(2)


class OracleClasses(Oracle):
    """Scores the members of a fixed set by how near they are to the true order."""

    def __init__(self, choices: SpreadOut) -> None:
        super().__init__()
        self.choices = choices

    def forward(self, patches: Tensor) -> Tensor:
        ranks = super().forward(patches).argsort(-1).argsort(-1)
        known = self.choices.build(ranks.shape[1])
        return -(ranks.unsqueeze(1) - known).abs().sum(-1).float()


def placed(patches: Grid | Bands, count: int, channels: int = 1) -> Tensor:
    """Noisy samples (B, C, 12, 15) of which every patch is brighter than the one before."""
    step = 255 // patches.count
    places = torch.arange(patches.count).reshape(1, -1, 1, 1, 1).expand(count, -1, channels, *patch_size(patches))
    noise = torch.randint(0, step, places.shape, generator=torch.Generator().manual_seed(0))
    return patches.join(places * step + noise).to(torch.uint8)


def patch_size(patches: Grid | Bands) -> tuple[int, int]:
    return (6, 5) if isinstance(patches, Grid) else (3, 15)


def encoder(patches: Grid | Bands, net: nn.Module, channels: int = 1, choices: SpreadOut | None = None) -> Encoder:
    items = placed(patches, 1, channels)
    objective = RankMSE() if choices is None else FixedPermutations(choices)
    return Encoder(net, Shuffle(patches, choices), tuple(items.shape[1:]), objective=objective)


def values(solved: Solved) -> dict[tuple[str, str], float]:
    return {(r.task, r.layer): r.value for r in pretext_results(solved, MARK, layer="net", seed=0)}


@pytest.mark.parametrize("patches", [GRID, BANDS], ids=["grid", "bands"])
@pytest.mark.parametrize("batch_size", [7, 256])
def test_who_knows_every_place_solves_every_puzzle(patches, batch_size):
    solved = solve(encoder(patches, Oracle()), placed(patches, 30), batch_size=batch_size)

    n = patches.count
    assert (solved.partial_ranks() == 1).all()
    assert torch.equal(solved.predicted, solved.perm + 1.0)
    assert len({tuple(p) for p in solved.perm.tolist()}) > 20
    assert values(solved) == {
        ("pretext: partial ranks", "net"): 1.0,
        ("pretext: partial ranks", "chance"): pytest.approx(1 / n),
        ("pretext: exact order", "net"): 1.0,
        ("pretext: exact order", "chance"): pytest.approx(1 / math.factorial(n)),
    }


def test_who_says_the_reverse_places_nothing():
    solved = solve(encoder(GRID, Oracle(-1)), placed(GRID, 50))

    assert torch.equal(solved.predicted, 7 - solved.true)
    assert values(solved)["pretext: partial ranks", "net"] == 0
    assert values(solved)["pretext: exact order", "net"] == 0


def test_who_says_nothing_is_at_chance():
    patches = Grid(1, 3, gap=0, normalize=False)
    items = torch.zeros(6000, 1, 4, 6, dtype=torch.uint8)

    got = values(solve(encoder(patches, Oracle(0)), items))

    # Six standard deviations of the mean of 6,000 puzzles: variance 1/9 and 1/6 (1 - 1/6).
    assert got["pretext: partial ranks", "net"] == pytest.approx(1 / 3, abs=6 * (1 / 9 / 6000) ** 0.5)
    assert got["pretext: exact order", "net"] == pytest.approx(1 / 6, abs=6 * (5 / 36 / 6000) ** 0.5)
    assert got["pretext: exact order", "chance"] == pytest.approx(1 / 6)


def test_puzzles_of_a_fixed_set_come_from_it_and_so_does_chance():
    choices = SpreadOut(8)
    solved = solve(encoder(GRID, OracleClasses(choices), choices=choices), placed(GRID, 60))

    known = {tuple(p) for p in choices.build(6).tolist()}
    assert {tuple(p) for p in solved.perm.tolist()} == known
    assert (solved.partial_ranks() == 1).all()
    assert values(solved)["pretext: exact order", "chance"] == 1 / 8


def test_the_seed_draws_the_puzzles():
    knowing, items = encoder(GRID, Oracle()), placed(GRID, 30)

    assert torch.equal(solve(knowing, items, seed=1).perm, solve(knowing, items, seed=1).perm)
    assert not torch.equal(solve(knowing, items, seed=1).perm, solve(knowing, items, seed=2).perm)


def test_results_say_what_was_measured():
    solved = solve(encoder(GRID, Oracle()), placed(GRID, 30))

    for line in pretext_results(solved, MARK, layer="net", seed=4):
        assert (line.metric, line.n, line.seed, line.data, line.split) == ("accuracy", 30, 4, "made up", "test")


def test_an_encoder_of_sets_has_no_puzzles():
    with pytest.raises(ValueError, match="not trained on shuffled patches"):
        solve(Encoder(Oracle(), OrderedSets(), (1, 4, 4)), torch.zeros(2, 1, 4, 4))


# ------------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(("patches", "channels"), [(GRID, 1), (GRID, 3), (BANDS, 1)], ids=["grey", "colour", "bands"])
def test_the_picture_shows_the_truth_as_shuffled_and_as_solved(tmp_path, patches, channels):
    items, knowing = placed(patches, 40, channels), encoder(patches, Oracle(), channels)
    solved = solve(knowing, items)

    figure = puzzle_figure(tmp_path, knowing, items, solved, count=5)

    assert (figure.kind, figure.file) == ("puzzle", "puzzles.npz")
    with np.load(tmp_path / "figures" / figure.file, allow_pickle=False) as arrays:
        shown = dict(arrays)
    assert set(shown) == {"before", "solved", "truth", "partial_ranks", "spectrogram"}
    rows = [0, 10, 20, 29, 39]  # evenly spaced
    pictures = items[rows].movedim(1, -1).numpy() / np.float32(255)
    np.testing.assert_array_equal(shown["truth"], pictures if channels == 3 else pictures[..., 0])
    np.testing.assert_array_equal(shown["solved"], shown["truth"])
    assert not np.array_equal(shown["before"], shown["truth"])
    # Slot i of the shuffled picture holds patch perm[i]: put back by the inverse, it is the truth.
    before = torch.from_numpy(np.atleast_3d(shown["before"]).reshape(5, *items.shape[-2:], channels)).movedim(-1, 1)
    cut = patches.cut(before)
    back = patches.join(torch.stack([c[order] for c, order in zip(cut, invert(solved.perm[rows]))]))
    np.testing.assert_array_equal(back.movedim(1, -1).numpy(), pictures)
    assert shown["partial_ranks"].tolist() == [1.0] * 5
    assert bool(shown["spectrogram"]) == isinstance(patches, Bands)


@pytest.mark.parametrize(
    "patches",
    [BANDS, Slices("time", 5, normalize=False), Grid(2, 3, gap=0, normalize=False)],
    ids=lambda p: type(p).__name__,
)
def test_sounds_are_shown_as_spectrograms(patches, tmp_path):
    waves = torch.randn(6, 1, 1, 1000, generator=torch.Generator().manual_seed(0))
    front, _ = LogMel(bands=20, hop=0.0125).settle(4000, (1, 1, 1000))  # 20 bands of 21 frames
    hearing = Encoder(Oracle(0), Shuffle(patches, front=front), (1, 1, 1000), objective=RankMSE())
    solved = solve(hearing, waves)

    puzzle_figure(tmp_path, hearing, waves, solved, count=6)

    truth = patches.join(patches.cut(front(waves)))[:, 0].numpy()
    with np.load(tmp_path / "figures" / "puzzles.npz", allow_pickle=False) as shown:
        np.testing.assert_allclose(shown["truth"], truth, atol=1e-6)
        assert truth.shape[1:] == (20, 20 if isinstance(patches, Slices) else 21)
        assert shown["before"].shape == truth.shape
        assert not np.array_equal(shown["before"], shown["truth"])
        assert np.array_equal(np.sort(shown["before"].ravel()), np.sort(shown["truth"].ravel()))
        assert bool(shown["spectrogram"])


def test_the_picture_of_a_wrong_answer_is_wrong_in_its_way(tmp_path):
    items, reverse = placed(GRID, 4), encoder(GRID, Oracle(-1))

    puzzle_figure(tmp_path, reverse, items, solve(reverse, items), count=9)

    with np.load(tmp_path / "figures" / "puzzles.npz") as shown:
        expected = GRID.join(GRID.cut(items).flip(1))[:, 0].numpy()
        np.testing.assert_array_equal(shown["solved"], expected)
        assert shown["partial_ranks"].tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("shape", "kind"), [((6, 3, 40, 40), "puzzle"), ((2, 1, 60), "series"), ((12, 1, 5), "series")]
)
def test_clips_are_shown_as_rows_of_frames_and_series_as_curves(tmp_path, shape, kind):
    n = 6
    slices = Slices("channels" if shape[-1] == 5 else "time", n, normalize=False)
    items = torch.rand(30, *shape, generator=torch.Generator().manual_seed(0)) / 50
    items += slices.join(torch.arange(n).reshape(n, *[1] * len(shape)).expand(1, n, *slices.patch_shape(shape)) / 10)
    knowing = Encoder(Oracle(), Shuffle(slices), shape, objective=RankMSE())
    solved = solve(knowing, items)

    figure = puzzle_figure(tmp_path, knowing, items, solved, count=5)

    assert figure.kind == kind
    assert (solved.partial_ranks() == 1).all()
    with np.load(tmp_path / "figures" / figure.file, allow_pickle=False) as arrays:
        shown = dict(arrays)
    assert shown["truth"].shape == ((5, 32, 6 * 32, 3) if kind == "puzzle" else (5, shape[0], shape[-1]))
    np.testing.assert_allclose(shown["solved"], shown["truth"], atol=1e-6)
    assert not np.allclose(shown["before"], shown["truth"], atol=0.05)
    assert int(shown["frames" if kind == "puzzle" else "slices"]) == (1 if shape[-1] == 5 else 6)
