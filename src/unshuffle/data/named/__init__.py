"""Data sets by name: where their files lie, which part they belong to, what their labels are."""

from unshuffle.data.named.caltech101 import Caltech101
from unshuffle.data.named.cifar10 import CIFAR10
from unshuffle.data.named.cifar100 import CIFAR100
from unshuffle.data.named.folders import ClassFolders
from unshuffle.data.named.fsdd import SpokenDigits
from unshuffle.data.named.imagenet import ImageNet
from unshuffle.data.named.labelled import Labelled, labelled
from unshuffle.data.named.layout import Layout
from unshuffle.data.named.matlab import Cars, Flowers102
from unshuffle.data.named.mnist import MNIST
from unshuffle.data.named.nsynth import NSynth
from unshuffle.data.named.places205 import Places205
from unshuffle.data.named.ranked import RankedFolders, RankTable
from unshuffle.data.named.relative import OSR, PubFig
from unshuffle.data.named.ssv2 import SomethingSomething
from unshuffle.data.named.svhn import SVHN
from unshuffle.data.named.table import LabelTable
from unshuffle.data.named.transfer import DTD, SUN397, Aircraft, Food101, Pets
from unshuffle.data.named.voc import VOC
from unshuffle.data.named.vqa import VQA2

ALL: dict[str, type] = {
    "nsynth": NSynth,
    "fsdd": SpokenDigits,
    "imagenet": ImageNet,
    "voc": VOC,
    "ssv2": SomethingSomething,
    "mnist": MNIST,
    "cifar10": CIFAR10,
    "osr": OSR,
    "pubfig": PubFig,
    "aircraft": Aircraft,
    "caltech101": Caltech101,
    "cars": Cars,
    "cifar100": CIFAR100,
    "dtd": DTD,
    "flowers102": Flowers102,
    "food101": Food101,
    "pets": Pets,
    "places205": Places205,
    "sun397": SUN397,
    "svhn": SVHN,
}
"""What the command line calls them; VQA v2 is a source of its own, as its samples are no files."""

__all__ = [
    "ALL", "CIFAR10", "CIFAR100", "DTD", "MNIST", "OSR", "SUN397", "SVHN", "VOC", "VQA2", "Aircraft", "Caltech101",
    "Cars", "ClassFolders", "Flowers102", "Food101", "ImageNet", "LabelTable", "Labelled", "Layout", "NSynth", "Pets",
    "Places205", "PubFig", "RankTable", "RankedFolders", "SomethingSomething", "SpokenDigits", "labelled",
]  # fmt: skip
