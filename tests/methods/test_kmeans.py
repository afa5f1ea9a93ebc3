"""K-means is scikit-learn's from the same centres, and the whitening its principal components."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from unshuffle.methods.kmeans import kmeans, whitened


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def rows(rng) -> torch.Tensor:
    return torch.randn(200, 5, dtype=torch.float64, generator=rng)


def test_clusters_are_those_of_scikit_learn_from_the_same_centres(rows):
    ours = kmeans(rows, 4, iterations=15, generator=draw(3))

    first = rows[torch.randperm(200, generator=draw(3))[:4]].numpy()
    theirs = KMeans(4, init=first, n_init=1, max_iter=15, tol=0, algorithm="lloyd").fit(rows.numpy())
    assert np.array_equal(ours.numpy(), theirs.labels_)


def test_a_cluster_without_rows_is_put_beside_the_largest():
    """All first centres are one point: only splitting makes more of them."""
    rows = torch.cat([torch.full((30, 2), 1.0), torch.tensor([[1.0, 3.0], [1.01, 3.0]])]).double()
    rows[:30] += 0.01 * torch.randn(30, 2, dtype=torch.float64, generator=draw(0))
    doubled = torch.cat([rows[:1].repeat(200, 1), rows])

    labels = kmeans(doubled, 4, iterations=30, generator=draw(0))

    assert len(labels.unique()) == 4


def test_more_clusters_than_rows_leave_some_empty(rows):
    labels = kmeans(rows[:3], 8, generator=draw(0))

    assert labels.shape == (3,)
    assert labels.max() < 8


def test_whitening_is_that_of_scikit_learn_with_rows_of_length_one(rows):
    tilted = rows @ torch.diag(torch.tensor([3.0, 1.0, 0.5, 0.1, 2.0])).double() + 7

    ours = whitened(tilted.split(64), 3)

    theirs = PCA(3, whiten=True).fit_transform(tilted.numpy())
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose((ours @ ours.T).numpy(), theirs @ theirs.T, atol=1e-9)


def test_what_does_not_vary_is_left_out():
    rows = torch.tensor([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])

    assert whitened([rows], 2).shape == (3, 1)


@pytest.mark.errors
def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="kmeans: there are no rows"):
        kmeans(torch.zeros(0, 2), 3, generator=draw(0))
