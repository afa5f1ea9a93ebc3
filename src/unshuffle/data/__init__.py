"""Sources, loaders and transforms: from files and arrays to shuffled patches and ordered sets."""

from unshuffle.data.arrays import Arrays
from unshuffle.data.image import ImageFolder, Images
from unshuffle.data.patching import Bands, Grid
from unshuffle.data.samples import Packaged
from unshuffle.data.sets import OrderedSets
from unshuffle.data.shuffle import Shuffle

__all__ = ["Arrays", "Bands", "Grid", "ImageFolder", "Images", "OrderedSets", "Packaged", "Shuffle"]
