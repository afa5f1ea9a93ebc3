"""Methods: plain modules with ``step(batch) -> Step`` and ``embed(items)``; they join nets, operators and losses."""

from unshuffle.methods.answering import Answerer, AnswerNet, LearnToAnswer
from unshuffle.methods.arrangers import Arranger, MosaicNet, NumberNet
from unshuffle.methods.arranging import ArrangeToClassify, LearnNeighbours, LearnToArrange, LearnToClassify
from unshuffle.methods.deepperm import DeepPermNet
from unshuffle.methods.labelling import Balanced, Clustered
from unshuffle.methods.learn_labels import LearnLabels
from unshuffle.methods.neighbours import NeighbourOptimizer
from unshuffle.methods.ordering import LearnToOrder
from unshuffle.methods.permopt import GridOptimizer, LinearAssigner, Ordered, PermutationOptimizer
from unshuffle.methods.rounds import Rounds
from unshuffle.methods.sela import SelfLabel
from unshuffle.methods.set_reader import SetReader, SetReading
from unshuffle.methods.shuffle import ShuffleToLearn
from unshuffle.methods.views import LearnFromViews

ALL = (
    ShuffleToLearn,
    LearnToOrder,
    LearnToArrange,
    LearnNeighbours,
    ArrangeToClassify,
    LearnToClassify,
    LearnToAnswer,
    DeepPermNet,
    LearnFromViews,
    SelfLabel,
    LearnLabels,
)

__all__ = [
    "ALL",
    "AnswerNet",
    "Answerer",
    "ArrangeToClassify",
    "Arranger",
    "Balanced",
    "Clustered",
    "DeepPermNet",
    "GridOptimizer",
    "LearnFromViews",
    "LearnLabels",
    "LearnNeighbours",
    "LearnToAnswer",
    "LearnToArrange",
    "LearnToClassify",
    "LearnToOrder",
    "LinearAssigner",
    "MosaicNet",
    "NeighbourOptimizer",
    "NumberNet",
    "Ordered",
    "PermutationOptimizer",
    "Rounds",
    "SelfLabel",
    "SetReader",
    "SetReading",
    "ShuffleToLearn",
]
