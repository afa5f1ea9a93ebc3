"""What a frozen representation is worth: probes, neighbours, and comparisons on the same footing.

Arrays in, arrays out: features and targets are numpy, whatever made them.
"""

from __future__ import annotations

from unshuffle.evals.compare import Probe, Subset, Task, compare, label_subsets
from unshuffle.evals.metrics import accuracy, auc_by_class, mean_auc, mean_squared_error, score
from unshuffle.evals.multilabel import multilabel_probe
from unshuffle.evals.neighbours import knn_predict, knn_probe, nearest_probe
from unshuffle.evals.probes import linear_probe, mlp_probe
from unshuffle.evals.results import Stamp, stamp, supersede

__all__ = [
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
    "linear_probe",
    "mean_auc",
    "mean_squared_error",
    "mlp_probe",
    "multilabel_probe",
    "nearest_probe",
    "score",
    "stamp",
    "supersede",
]
