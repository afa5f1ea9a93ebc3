import numpy as np
import pytest

from unshuffle.evals import knn_predict, knn_probe, nearest, nearest_probe, neighbours


def by_hand(features, labels, test_features, k, temperature, num_classes):
    """One row, one neighbour, one vote at a time."""
    predictions = []
    for query in test_features:
        similar = [row @ query / (np.linalg.norm(row) * np.linalg.norm(query)) for row in features]
        votes = np.zeros(num_classes)
        for i in np.argsort(similar)[::-1][:k]:
            votes[labels[i]] += np.exp(similar[i] / temperature)
        predictions.append(votes.argmax())
    return np.array(predictions)


@pytest.fixture
def bank():
    rng = np.random.default_rng(0)
    return rng.standard_normal((60, 5)), rng.integers(0, 4, 60), rng.standard_normal((40, 5))


def test_reproduces_the_counts_of_the_authors_code(golden):
    vectors = golden("groco_eval")
    bank, labels, queries = vectors["knn/bank"], vectors["knn/bank_y"], vectors["knn/q"]
    correct = [(knn_predict(bank, labels, queries, k=int(k)) == vectors["knn/q_y"]).sum() for k in vectors["knn/k"]]
    assert correct == vectors["knn/n_correct_weighted"].tolist()


@pytest.mark.parametrize("k", [1, 7, 60])
@pytest.mark.parametrize("temperature", [0.07, 1])
def test_equals_the_vote_taken_by_hand(bank, k, temperature):
    features, labels, queries = bank
    expected = by_hand(features, labels, queries, k, temperature, 4)
    assert knn_predict(features, labels, queries, k=k, temperature=temperature).tolist() == expected.tolist()


def test_chunks_change_nothing(bank, monkeypatch):
    features, labels, queries = bank
    whole = knn_predict(features, labels, queries)
    monkeypatch.setattr(nearest, "_QUERIES", 7)
    monkeypatch.setattr(nearest, "_BANK_VALUES", 11 * features.shape[1])
    monkeypatch.setattr(neighbours, "_SUMS", 12)
    assert (knn_predict(features, labels, queries) == whole).all()


def test_more_neighbours_than_rows_means_all_rows(bank):
    features, labels, queries = bank
    assert (knn_predict(features, labels, queries, k=1000) == knn_predict(features, labels, queries, k=60)).all()


def test_the_length_of_a_row_does_not_matter(bank):
    features, labels, queries = bank
    scaled = knn_predict(features * np.arange(1, 61)[:, None], labels, queries * 1000)
    assert (scaled == knn_predict(features, labels, queries)).all()


def test_of_equal_votes_the_smallest_class_wins():
    features = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert knn_predict(features, np.array([2, 1, 0]), np.array([[1.0, 0.0]]), k=2).tolist() == [1]


def test_a_zero_row_is_as_far_from_everything():
    features = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    labels = np.array([2, 1, 0])
    assert knn_predict(features, labels, np.array([[1.0, 0.0], [-1.0, 0.0]]), k=2).tolist() == [1, 0]
    assert knn_predict(features, labels, np.array([[0.0, 0.0]]), k=3).tolist() == [0]


def test_a_tiny_temperature_asks_the_nearest_alone(bank):
    features, labels, queries = bank
    nearest = knn_predict(features, labels, queries, k=1)
    assert (knn_predict(features, labels, queries, k=20, temperature=1e-6) == nearest).all()


def test_no_test_rows_give_no_predictions(bank):
    features, labels, _ = bank
    assert knn_predict(features, labels, np.empty((0, 5))).shape == (0,)


def test_as_a_probe_it_keeps_its_defaults(bank):
    features, labels, queries = bank
    assert (knn_probe(features, labels, queries) == knn_predict(features, labels, queries)).all()


def test_the_nearest_row_is_found_by_plain_distance(bank):
    features, labels, queries = bank
    distances = ((queries[:, None] - features) ** 2).sum(-1)
    assert (nearest_probe(features, labels, queries) == labels[distances.argmin(1)]).all()


@pytest.mark.errors
def test_neighbours_refuse_regression(bank):
    with pytest.raises(ValueError, match="knn_probe: `task` must be one of 'classification'; got 'regression'"):
        knn_probe(*bank, task="regression")


@pytest.mark.errors
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "`k` must be positive; got 0"),
        ({"temperature": -1.0}, "`temperature` must be positive"),
        ({"num_classes": 2}, "`labels` must be classes from 0 to 1; got 0 to 3"),
        ({"labels": np.zeros(3, dtype=int)}, r"`labels` must hold one class .* got \(3,\) for 60 rows"),
        ({"test_features": np.zeros((4, 6))}, r"must be \(n, d\) and \(m, d\) with one d; got \(60, 5\) and \(4, 6\)"),
    ],
)
def test_arguments_that_do_not_fit_are_named(bank, change, message):
    features, labels, queries = bank
    arguments = {"features": features, "labels": labels, "test_features": queries, **change}
    with pytest.raises(ValueError, match=f"knn_predict: .*{message}"):
        knn_predict(**arguments)
