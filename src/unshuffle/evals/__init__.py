"""What a frozen representation is worth: probes, neighbours, and comparisons on the same footing.

Arrays in, arrays out: features and targets are numpy, whatever made them.
"""

from __future__ import annotations

from unshuffle.evals.compare import Probe, Subset, Task, compare, label_subsets
from unshuffle.evals.metrics import accuracy, auc_by_class, mean_auc, mean_squared_error, score, top_accuracy
from unshuffle.evals.multilabel import multilabel_probe
from unshuffle.evals.nearest import Nearest, nearest_rows
from unshuffle.evals.neighbours import knn_predict, knn_probe, nearest_probe, vote
from unshuffle.evals.probes import linear_probe, mlp_probe
from unshuffle.evals.protocol import lars_probe, lars_scores
from unshuffle.evals.results import Stamp, stamp, supersede
from unshuffle.evals.ridge import ridge_probe, ridge_scores

__all__ = [
    "Nearest",
    "Probe",
    "Stamp",
    "Subset",
    "Task",
    "accuracy",
    "auc_by_class",
    "compare",
    "knn_predict",
    "knn_probe",
    "label_subsets",
    "lars_probe",
    "lars_scores",
    "linear_probe",
    "mean_auc",
    "mean_squared_error",
    "mlp_probe",
    "multilabel_probe",
    "nearest_probe",
    "nearest_rows",
    "ridge_probe",
    "ridge_scores",
    "score",
    "stamp",
    "supersede",
    "top_accuracy",
    "vote",
]
