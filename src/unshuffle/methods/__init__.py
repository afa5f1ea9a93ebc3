"""Methods: plain modules with ``step(batch) -> Step`` and ``embed(items)``; they join nets, operators and losses."""

from unshuffle.methods.ordering import LearnToOrder
from unshuffle.methods.shuffle import ShuffleToLearn

ALL = (ShuffleToLearn, LearnToOrder)

__all__ = ["ALL", "LearnToOrder", "ShuffleToLearn"]
