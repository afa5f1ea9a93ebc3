import numpy as np
import pytest
import torch

from unshuffle.evals import nearest, screening
from unshuffle.evals.nearest import nearest_rows
from unshuffle.evals.selecting import entries, kth_largest, largest, side_by_side


def by_sorting(features, test_features, k):
    """All similarities in double precision, sorted; of equal ones the first."""
    rows, queries = (
        x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300) for x in (features, test_features)
    )
    similarity = queries @ rows.T
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(similarity, order, 1)


def a_bank(kind: str, *, rows=700, queries=30, columns=24):
    rng = np.random.default_rng(0)
    bank, asked = rng.standard_normal((rows, columns)), rng.standard_normal((queries, columns))
    if kind == "alike":  # as of a collapsed encoder: rounding to eight bits cannot tell one from the other
        return 1 + 1e-3 * bank, 1 + 1e-3 * asked
    if kind == "clustered":
        centres = rng.standard_normal((20, columns))
        return centres[rng.integers(0, 20, rows)] + 0.1 * bank, centres[rng.integers(0, 20, queries)] + 0.1 * asked
    return bank, asked


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Seven queries and thirty-one rows at a time."""
    monkeypatch.setattr(nearest, "_QUERIES", 7)
    monkeypatch.setattr(nearest, "_MOST_ROWS", 31)


@pytest.mark.parametrize("screen", [False, True])
@pytest.mark.parametrize("kind", ["spread", "clustered", "alike"])
@pytest.mark.parametrize("k", [1, 20, 40, 700, 1000])
def test_they_are_those_of_the_whole_sorted_matrix(kind, k, screen):
    bank, queries = a_bank(kind)
    index, similarity = by_sorting(bank, queries, k)
    found = nearest_rows(bank, queries, k=k, screen=screen)
    assert np.abs(found.similarity - similarity).max() < 1e-6
    rows, asked = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (bank, queries))
    assert np.abs(np.take_along_axis(asked @ rows.T, found.index, 1) - similarity).max() < 1e-6
    assert all(len(set(row)) == min(k, 700) for row in found.index.tolist())
    if kind != "alike" and k <= 40:  # further down, or so close together, float32 cannot tell all of them apart
        swapped = found.index != index
        assert swapped.mean() < 0.01
        beside = np.abs(np.diff(similarity, axis=1, prepend=np.inf, append=-np.inf)) < 1e-6
        assert (beside[:, :-1] | beside[:, 1:] | (index == index[:, -1:]))[swapped].all(), "not only near-ties"


@pytest.mark.parametrize("screen", [False, True])
@pytest.mark.parametrize("k", [1, 3, 10, 45])
def test_of_equal_rows_the_first_in_the_bank_comes_first(k, screen):
    """Signs in eight of sixteen columns: lengths and products are exact, and many are equal."""
    rng = np.random.default_rng(1)
    bank, queries = (
        np.where(np.argsort(rng.random((n, 16))) < 4, rng.choice([-1.0, 1.0], (n, 16)), 0) for n in (200, 20)
    )
    found = nearest_rows(bank, queries, k=k, screen=screen)
    assert (found.index == by_sorting(bank, queries, k)[0]).all()


@pytest.mark.parametrize("screen", [False, True])
def test_a_row_of_zeros_is_similar_to_nothing(screen):
    found = nearest_rows(np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[-1.0, 0.0], [0.0, 0.0]]), k=2, screen=screen)
    assert found.index.tolist() == [[0, 1], [0, 1]]
    assert found.similarity.tolist() == [[0.0, -1.0], [0.0, 0.0]]


@pytest.mark.parametrize("kind", ["spread", "clustered", "alike"])
def test_screening_never_loses_a_neighbour(kind):
    """Products as the first pass has them, and the floor that a neighbour's must reach."""
    bank, queries = (
        torch.nn.functional.normalize(torch.from_numpy(x).float()) for x in a_bank(kind, rows=2000, columns=64)
    )
    rounded = (queries.bfloat16() @ bank.bfloat16().T).float()
    for k in (1, 10):
        neighbours = (queries.double() @ bank.double().T).topk(k, 1).indices
        least = screening.floor(largest(rounded, k), 64).bfloat16().float()
        assert (rounded.gather(1, neighbours) >= least).all()
        if kind == "spread":
            assert ((rounded >= least).sum(1) < 3 * k + 10).all()


def test_rows_too_much_alike_are_not_screened(monkeypatch):
    bank, queries = a_bank("alike")
    monkeypatch.setattr(screening, "_PENDING", 1000)
    rows = nearest.as_bank(bank)
    assert screening.nearest(rows.tiles(), next(nearest.as_bank(queries).tiles())[1], 5, products=rows.products) is None
    assert (nearest_rows(bank, queries, k=5, screen=True).index == nearest_rows(bank, queries, k=5).index).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_any_type_of_numbers_will_do(dtype):
    bank, queries = (np.round(8 * x).astype(dtype) for x in a_bank("spread"))
    assert (nearest_rows(bank, queries, k=5).index == nearest_rows(bank.astype(float), queries, k=5).index).all()


def test_a_small_bank_is_searched_in_one_pass():
    assert not screening.is_faster(1000, 128, 10)


def test_no_queries_find_nothing():
    found = nearest_rows(np.eye(3), np.empty((0, 3)), k=2)
    assert found.index.shape == found.similarity.shape == (0, 2)


def test_picked_entries_stand_side_by_side():
    rows, columns = entries(torch.tensor([[False, True, True], [False, False, False], [True, False, False]]))
    assert (rows.tolist(), columns.tolist()) == ([0, 0, 2], [1, 2, 0])
    assert side_by_side(rows, 3, columns, -1).tolist() == [[1, 2], [-1, -1], [0, -1]]


def test_the_largest_of_each_row():
    values = torch.tensor([[3.0, 1.0, 2.0], [5.0, 5.0, 4.0]])
    assert kth_largest(values, 2).tolist() == [[2.0], [5.0]]
    assert kth_largest(values, 9).tolist() == [[1.0], [4.0]]
    assert largest(values, 2).sort().values.tolist() == [[2.0, 3.0], [5.0, 5.0]]


@pytest.mark.errors
@pytest.mark.parametrize(
    ("features", "k", "message"),
    [
        (np.ones((2, 3)), 1, r"\(n, d\) and \(m, d\) with one d"),
        (np.ones((0, 2)), 1, "at least one row"),
        (np.array([[1.0, 1.0], [np.nan, 0.0]]), 1, "must be finite.*; row 1 is not"),
        (np.ones((2, 2)), 0, "`k` must be positive"),
    ],
)
def test_what_cannot_be_searched_is_refused(features, k, message):
    with pytest.raises(ValueError, match=f"nearest_rows: .*{message}"):
        nearest_rows(features, np.ones((1, 2)), k=k)
