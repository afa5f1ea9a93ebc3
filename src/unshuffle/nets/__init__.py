"""Networks: backbones that see one patch, scorers that judge all patches of a sample, and costs of pairs."""

from unshuffle.nets.alexnet import AlexNet
from unshuffle.nets.alexnet_norm import AlexNetBN
from unshuffle.nets.backbones import Backbone, fresh
from unshuffle.nets.bilinear import BilinearAttention, BilinearPool
from unshuffle.nets.classifier import Classifier, ClassifierNet
from unshuffle.nets.context_free import CFN2016
from unshuffle.nets.counting import Counter
from unshuffle.nets.headed import Headed, HeadsNet
from unshuffle.nets.heads import Projector
from unshuffle.nets.pairwise import PairwiseCost
from unshuffle.nets.projected import Projected, ProjectedNet
from unshuffle.nets.resnet import ResNet
from unshuffle.nets.scorers import ContextFree, ContextFreeNet, ItemNet, ItemScorer
from unshuffle.nets.siamese import Siamese, SiameseNet
from unshuffle.nets.sides import NeighbourNet, TileSides
from unshuffle.nets.small import SmallConv
from unshuffle.nets.tiles import TileFeatures
from unshuffle.nets.timm import Timm
from unshuffle.nets.vgg import VGG16
from unshuffle.nets.wording import QuestionEncoder

__all__ = [
    "CFN2016",
    "VGG16",
    "AlexNet",
    "AlexNetBN",
    "Backbone",
    "BilinearAttention",
    "BilinearPool",
    "Classifier",
    "ClassifierNet",
    "ContextFree",
    "ContextFreeNet",
    "Counter",
    "Headed",
    "HeadsNet",
    "ItemNet",
    "ItemScorer",
    "NeighbourNet",
    "PairwiseCost",
    "Projected",
    "ProjectedNet",
    "Projector",
    "QuestionEncoder",
    "ResNet",
    "Siamese",
    "SiameseNet",
    "SmallConv",
    "TileFeatures",
    "TileSides",
    "Timm",
    "fresh",
]
