"""What a trained run is for, in words: which command suits it where another was called."""

from __future__ import annotations

from unshuffle.data.asking import Ask
from unshuffle.data.mosaic import Tiles
from unshuffle.data.numbers import Sorting
from unshuffle.data.patching import Grid
from unshuffle.data.sets import OrderedSets
from unshuffle.data.shuffle import Shuffle
from unshuffle.evals.encoder import Encoder
from unshuffle.methods.arrangers import Arranger


def purpose(encoder: Encoder) -> str:
    """What a run has learnt, and the commands that suit it, in a sentence."""
    transform = encoder.transform
    if isinstance(transform, Sorting):
        return "This run learnt to sort numbers: unshuffle eval RUN measures that."
    if isinstance(encoder.net, Arranger):
        return (
            "This run learnt to put mosaics together: unshuffle solve RUN PICTURE does so, and unshuffle eval RUN "
            "--data FOLDER measures that."
        )
    if isinstance(transform, Ask):
        return "This run learnt to answer questions about pictures: unshuffle eval RUN --data FOLDER measures that."
    noun = getattr(encoder.source, "noun", "sample")  # data that come with the package have no word for one
    embeds = f"unshuffle embed, search and eval take its {noun}s"
    orders = "unshuffle order RUN FOLDER does so, and "
    if not encoder.reads_files:
        embeds, orders = "unshuffle.load(RUN).embed(items) embeds arrays, from Python", ""
    if isinstance(transform, OrderedSets):
        return f"This run learnt to put whole {noun}s in order: {orders}{embeds}."
    if encoder.objective is not None and isinstance(transform, Shuffle):
        return f"This run learnt to put the shuffled parts of each {noun} in order: {embeds}."
    return f"This run embeds {noun}s: {embeds}."


def refuse_without_embedding(encoder: Encoder) -> None:
    """Refuses runs whose network has no vector for a sample that would mean anything by itself.

    Raises:
        ValueError: it is one.
    """
    if isinstance(encoder.net, Arranger) or isinstance(encoder.transform, Ask):
        raise ValueError(f"a run of this kind embeds nothing that could be looked up. {purpose(encoder)}")


def solves_images(encoder: Encoder) -> bool:
    """Whether an encoder puts rows and columns of tiles of images in order."""
    transform = encoder.transform
    tiled = isinstance(transform, Shuffle) and isinstance(transform.patches, (Tiles, Grid))
    pictures = getattr(encoder.source, "noun", "image") == "image"
    ordered = isinstance(encoder.net, Arranger) or encoder.objective is not None
    return tiled and pictures and ordered and len(encoder.item_shape) == 3
