"""Options of single suites of ``unshuffle eval``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from unshuffle._ranges import Count, Few, Many, MaybeFew, MaybeMany, Pixels, Positive, Range, Size, ranged
from unshuffle.cli.where import Named

Kind = Literal["folder", Named]
Scale = Annotated[float, Range(0, 16, open_low=True)]


@ranged
@dataclass(frozen=True)
class NeighbourOptions:
    """Of ``--suite neighbours``."""

    k: tuple[Many, ...] = (1, 10, 20)
    """Suite neighbours: numbers of neighbours that vote."""
    temperature: Positive = 0.07
    """Suite neighbours: of the vote; the smaller, the more the nearest alone decides."""
    shown: MaybeFew = 8
    """Suite neighbours: samples whose neighbourhood is drawn; 0 for none."""
    pca: Size | None = None
    """Suite neighbours: look them up on so many axes, those along which the labelled samples vary most."""


@ranged
@dataclass(frozen=True)
class ClusteringOptions:
    """Of ``--suite clustering``."""

    head: Few = 1
    """Suite clustering: which head's pseudo-classes, counted from 1."""
    kmeans: MaybeMany | None = None
    """Suite clustering: clusters of K-means, which is measured beside; by default as many as the head uses, or as there
    are classes. 0 for no K-means."""
    most: Count = 50_000
    """Suite clustering: samples that are measured on, evenly spaced where there are more."""
    galleries: MaybeFew = 8
    """Suite clustering: pseudo-classes in each gallery of pictures; 0 for no galleries."""


@ranged
@dataclass(frozen=True)
class LayerOptions:
    """Of ``--suite layers``."""

    crops: tuple[Literal[1, 10], ...] = (1,)
    """Suite layers: crops of each picture that is tested, 1 or 10, or both."""
    probe_epochs: Many = 36
    """Suite layers: how often each labelled picture is seen."""
    probe_rate: Positive = 0.01
    """Suite layers: learning rate of the probes at the start."""


@ranged
@dataclass(frozen=True)
class RetrievalOptions:
    """Of ``--suite retrieval``."""

    ground_truth: Path | None = None
    """Suite retrieval: gnd_roxford5k.json.gz or gnd_rparis6k.json.gz; --data is the folder of the images it names."""
    longest: Pixels | None = None
    """Suite retrieval: pixels of the longer side, to which whole images are reduced; by default they are cropped to a
    square as in training."""
    scales: Annotated[tuple[Scale, ...], tyro.conf.arg(metavar="FACTOR ...")] = (1.0,)
    """Suite retrieval: scales at which an image is seen and whose vectors are added; the paper's option is 1, 0.7071
    and 0.5."""
    whole_queries: bool = False
    """Suite retrieval: search for whole images, not for the part of each that the benchmark means."""


@dataclass(frozen=True)
class TransferOptions:
    """Of ``--suite transfer``."""

    kinds: tuple[Kind, ...] = ()
    """Suite transfer: layout of each --data, in their order; by default they are folders of classes."""
    beside: tuple[Path, ...] = ()
    """Suite transfer: other runs for the same table."""
