"""Sources, loaders and transforms: from files and arrays to shuffled patches and ordered sets."""

from unshuffle._names import escape_name, unescape_name
from unshuffle.data.arrays import Arrays
from unshuffle.data.asking import Ask, QuestionData
from unshuffle.data.audio import Sounds
from unshuffle.data.image import ImageFolder, Images
from unshuffle.data.jitter import Jitter
from unshuffle.data.mosaic import Tiles
from unshuffle.data.numbers import Numbers, Sorting
from unshuffle.data.patching import Bands, Grid
from unshuffle.data.samples import Packaged
from unshuffle.data.series import Series
from unshuffle.data.sets import Drawing, OrderedSets
from unshuffle.data.shuffle import Shuffle
from unshuffle.data.slices import Slices
from unshuffle.data.sort_of_clevr import SortOfClevr
from unshuffle.data.spectrogram import LogLinear, LogMel
from unshuffle.data.video import Clips
from unshuffle.data.views import MultiView, View, dino_multi_crop, dino_views, simclr_views

SELF_CONTAINED = (Packaged, Numbers)
"""Sources that need no folder."""

__all__ = [
    "SELF_CONTAINED",
    "Arrays",
    "Ask",
    "Bands",
    "Clips",
    "Drawing",
    "Grid",
    "ImageFolder",
    "Images",
    "Jitter",
    "LogLinear",
    "LogMel",
    "MultiView",
    "Numbers",
    "OrderedSets",
    "Packaged",
    "QuestionData",
    "Series",
    "Shuffle",
    "Slices",
    "SortOfClevr",
    "Sorting",
    "Sounds",
    "Tiles",
    "View",
    "dino_multi_crop",
    "dino_views",
    "escape_name",
    "simclr_views",
    "unescape_name",
]
