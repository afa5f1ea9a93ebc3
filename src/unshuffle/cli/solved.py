"""What ``unshuffle eval`` shows of the task that an encoder was trained on, and pictures of the encoder itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from unshuffle.cli.parts import Parts

if TYPE_CHECKING:
    from unshuffle.cli.eval import EvalOptions
    from unshuffle.evals import Stamp
    from unshuffle.evals.encoder import Encoder
    from unshuffle.evals.judge import Representations
    from unshuffle.types import Figure, Result


def solved_and_pictured(
    encoder: Encoder, parts: Parts, both: Representations, mark: Stamp, options: EvalOptions
) -> tuple[list[Result], list[Figure]]:
    """A map of the embedding, the first layer's filters, and how the task of the training is solved."""
    from unshuffle.data.sets import OrderedSets
    from unshuffle.data.shuffle import Shuffle
    from unshuffle.evals.maps import map_figure
    from unshuffle.evals.saliency import filters_figure

    figures = []
    if parts.kind != "multilabel":  # a point of several classes has no colour
        figures.append(
            map_figure(
                options.run, both.test.vectors["pretrained"], cast(np.ndarray, both.test.labels), name="map",
                title="Map of the pretrained embedding", names=parts.classes, continuous=parts.kind == "regression",
            )
        )  # fmt: skip
    results: list[Result] = []
    if encoder.objective is not None and isinstance(encoder.transform, Shuffle):
        results, solved = _puzzles(encoder, parts, mark, options)
        figures += solved
    elif encoder.objective is not None and isinstance(encoder.transform, OrderedSets) and parts.kind != "multilabel":
        results, solved = _sets(encoder, parts, mark, options)
        figures += solved
    filters = filters_figure(options.run, encoder)
    return results, figures if filters is None else [*figures, filters]


def _puzzles(encoder: Encoder, parts: Parts, mark: Stamp, options: EvalOptions) -> tuple[list[Result], list[Figure]]:
    """How shuffled samples of the test part are put in order."""
    from unshuffle.data.patching import Grid
    from unshuffle.evals.judge import spread_items
    from unshuffle.evals.ordering import Answers, ordering_results
    from unshuffle.evals.puzzles import pretext_results, puzzle_figure, solve
    from unshuffle.evals.saliency import saliency_of_puzzles

    items = spread_items(parts.test, 1024, workers=options.reading.workers)
    solved = solve(encoder, items, seed=options.seed)
    results = pretext_results(solved, mark, layer="pretrained", seed=options.seed)
    figures = [puzzle_figure(options.run, encoder, items, solved)]
    if solved.soft is not None:
        said = Answers(solved.predicted, solved.soft)
        results += ordering_results(said, solved.true, mark, layer="pretrained", seed=options.seed)
        if isinstance(encoder.transform.patches, Grid):  # type: ignore[attr-defined]
            figures.append(saliency_of_puzzles(options.run, encoder, items, solved))
    return results, figures


def _sets(encoder: Encoder, parts: Parts, mark: Stamp, options: EvalOptions) -> tuple[list[Result], list[Figure]]:
    """How sets of samples of the test part are put in order, weak to strong."""
    from unshuffle.data.sets import OrderedSets
    from unshuffle.evals.ordering import answers, ordering_results
    from unshuffle.evals.saliency import saliency_of_sets
    from unshuffle.evals.sets import held_out_sets

    if len(cast(list, parts.test)) < cast(OrderedSets, encoder.transform).size:
        return [], []
    sets = held_out_sets(encoder, parts.test, seed=options.seed, workers=options.reading.workers)
    said = answers(encoder, sets.items, batch_size=options.reading.batch_size)
    results = ordering_results(said, sets.ranks, mark, layer="pretrained", seed=options.seed)
    return results, [saliency_of_sets(options.run, encoder, sets)]
