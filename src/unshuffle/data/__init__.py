"""Sources, loaders and transforms: from files and arrays to shuffled patches and ordered sets."""

from unshuffle.data.arrays import Arrays
from unshuffle.data.image import ImageFolder, Images
from unshuffle.data.patching import Bands, Grid, Shuffle
from unshuffle.data.samples import Packaged
from unshuffle.data.sets import OrderedSets

__all__ = ["Arrays", "Bands", "Grid", "ImageFolder", "Images", "OrderedSets", "Packaged", "Shuffle"]
