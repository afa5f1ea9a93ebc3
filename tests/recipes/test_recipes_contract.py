"""The contract suite of ``recipes.ALL``, and the way from a recipe and any data set to an encoder and back."""

import dataclasses
import inspect
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset, TensorDataset

import unshuffle
from unshuffle import recipes, values
from unshuffle.data import SELF_CONTAINED, Arrays, Bands, Clips, Grid, ImageFolder, Images, Packaged, Series, Sounds
from unshuffle.data.mosaic import Whole
from unshuffle.data.named import VQA2
from unshuffle.evals.encoder import Encoder
from unshuffle.methods import ALL as METHODS
from unshuffle.nets import CFN2016, VGG16, AlexNet, ClassifierNet, ResNet, SmallConv, Timm
from unshuffle.recipes import (
    AnswerRecipe,
    AnyRecipe,
    DeepPermRecipe,
    ImplicitRecipe,
    OrderRecipe,
    SelfLabelRecipe,
    SequenceRecipe,
    ShuffleRecipe,
    SupervisedRecipe,
    ViewsRecipe,
)
from unshuffle.train.progress import Silent

every_recipe = pytest.mark.parametrize("name", recipes.ALL)
# Up to 118 million weights: built here, never trained.
HUGE = {
    name
    for name in recipes.ALL
    if name.startswith(
        (
            "shuffle_imagenet",
            "shuffle_nsynth",
            "shuffle_ssv2",
            "shuffle-resnet",
            "mosaic_imagenet",
            "vqa2",
            "deepperm_imagenet",
            "deepperm_osr",
            "deepperm_pubfig",
            "groco_imagenet",
            "simclr_imagenet",
            "sela_imagenet",
            "kmeans_imagenet",
            "supervised_imagenet",
            "sela_cifar10",
            "sela_svhn",
            "kmeans_cifar10",
            "supervised_cifar10",
            "supervised-alexnet",
        )
    )
    or "classify" in name
}
CPU = unshuffle.Machine(device="cpu", log_every=1)


def own(recipe: AnyRecipe) -> AnyRecipe:
    """The recipe with what it would choose from data of one's own."""
    if isinstance(recipe.source, Sounds) and recipe.source.rate is None:
        return replace(recipe, source=Sounds(rate=4000, seconds=0.5))
    if isinstance(recipe.source, Clips) and recipe.source.size is None:
        return replace(recipe, source=Clips(frames=6, size=24))
    if isinstance(recipe.source, Series) and recipe.source.shape is None:
        return replace(recipe, source=replace(recipe.source, shape=(2, 1, 60)))
    if isinstance(recipe, SupervisedRecipe) and not recipe.classes:
        return replace(recipe, classes=(3,))
    if isinstance(recipe, AnswerRecipe):
        words = {"vocabulary": ("how", "many"), "answers": ("yes", "no", "2")}
        sizes: dict[str, Any] = {"objects": 4, "features": 5} if isinstance(recipe.source, VQA2) else {}
        return replace(recipe, source=replace(recipe.source, **words, **sizes))
    return recipe


def item_shape(recipe: AnyRecipe) -> tuple[int, ...]:
    """What the recipe's own source gives."""
    if isinstance(recipe.source, Packaged):
        return tuple(recipe.source.open().items.shape[1:])
    return recipe.source.item_shape


def taught(recipe: AnyRecipe, folder: Path) -> AnyRecipe:
    """The recipe with a small classifier to learn through, where it needs one."""
    if not isinstance(recipe, ImplicitRecipe):
        return recipe
    tiles = recipe.tiles()
    channels, height, width = tiles.patch_shape(recipe.source.item_shape)
    value = ClassifierNet(SmallConv(4), (channels, height * tiles.rows, width * tiles.columns), 10)
    Encoder(value.build(), Whole(tiles), recipe.source.item_shape, net_value=value).save(folder)
    return replace(recipe, classifier=str(folder))


def built(name: str) -> AnyRecipe:
    """The recipe, where what it needs is installed."""
    recipe = recipes.ALL[name]()
    if isinstance(getattr(recipe, "backbone", None), Timm):
        pytest.importorskip("timm", exc_type=Exception)
    return recipe


def tiny(recipe: AnyRecipe) -> AnyRecipe:
    """One step of eight samples."""
    least: dict[str, Any] = {"batch_size": 8, "epochs": 1, "holdout": 0.0}
    if isinstance(recipe, SelfLabelRecipe):
        least["clusters"] = (4,)
    return replace(recipe, length=4, **least) if isinstance(recipe, SequenceRecipe) else replace(recipe, **least)


def pixels(count: int = 8, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, (count, *(shape or (3, 40, 40))), generator=torch.Generator().manual_seed(seed)).byte()


def made(shape: tuple[int, ...]) -> Tensor:
    """Eight samples: pixels of pictures and clips, numbers of sounds and series."""
    if len(shape) >= 3 and shape[:2] != (1, 1):
        return pixels(8, *shape)
    return torch.randn(8, *shape, generator=torch.Generator().manual_seed(0))


def samples(recipe: AnyRecipe) -> Arrays:
    """Eight samples such as the recipe's own source gives."""
    if isinstance(recipe, AnswerRecipe):
        ask, rng = recipe.source.ask, np.random.default_rng(0)
        rows = [
            ask.pack(rng.integers(4, size=ask.words), rng.random((n, 4)), rng.random((n, ask.features)))
            for n in rng.integers(1, ask.objects, size=8, endpoint=True)
        ]
        return Arrays(torch.stack(rows), torch.eye(3)[torch.arange(8) % 3])
    labels = torch.arange(8) if isinstance(recipe, recipes.Ordering) else None
    labels = torch.arange(8) % 3 if isinstance(recipe, SupervisedRecipe) else labels
    return Arrays(made(item_shape(recipe)), labels)


def fit(recipe: AnyRecipe, data: Dataset, out: Path, **options: Any) -> Any:
    return unshuffle.fit(recipe, data, out=out, machine=CPU, progress=Silent(), **options)


# ----------------------------------------------------------------------------------------------------------- contract


@every_recipe
def test_a_recipe_builds_for_its_own_data(name, tmp_path):
    recipe = taught(own(built(name)), tmp_path)

    plan = recipe.build(item_shape(recipe))

    assert isinstance(plan.method, METHODS)
    assert plan.net_value is not None
    assert any(p.requires_grad for p in plan.method.parameters())


@every_recipe
def test_a_recipe_is_a_value(name):
    recipe = recipes.ALL[name]()

    assert recipe == recipes.ALL[name]()
    assert hash(recipe) == hash(recipes.ALL[name]())
    assert values.from_json(json.loads(json.dumps(values.to_json(recipe)))) == recipe
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1  # type: ignore[misc]


@every_recipe
def test_the_docstring_is_a_contract(name):
    """Says what it is and how to run it; a paper's tells the paper's number and ours. Variants name what they vary."""
    text = inspect.getdoc(recipes.ALL[name]) or ""

    if variant := re.match(r"As ``([\w-]+)``, ", text):
        assert variant[1] in recipes.ALL
        return
    assert re.search(rf"^Run: +unshuffle train {name}\b.* --out \S+", text, re.MULTILINE)
    assert ("Paper:" in text) == ("Ours:" in text)
    own_data = isinstance(recipes.ALL[name]().source, SELF_CONTAINED)
    assert own_data == ("--data" not in text)


def test_names_are_those_of_the_functions_and_a_users_are_written_with_hyphens():
    assert all(function.__name__ == name.replace("-", "_") for name, function in recipes.ALL.items())
    assert {name.replace("-", "_") for name in recipes.ALL} < set(recipes.__all__)
    for name, function in recipes.ALL.items():
        text = inspect.getdoc(function) or ""
        assert not ("-" in name and "Paper:" in text), f"{name} is a paper's: underscores"


# -------------------------------------------------------------------------------------------- one step, and back again


@pytest.mark.parametrize("name", [n for n in recipes.ALL if n not in HUGE])
def test_a_trained_encoder_is_loaded_exactly(name, tmp_path):
    recipe = tiny(own(built(name)))
    data = recipe.source.open() if isinstance(recipe.source, SELF_CONTAINED) else samples(recipe)
    read = [data[k] for k in range(8)]
    items = torch.stack([sample[0] if isinstance(sample, tuple) else sample for sample in read])

    encoder = fit(recipe, Subset(data, range(8)), tmp_path / "run")
    again = unshuffle.load(tmp_path / "run")

    embedded = encoder.embed(items)
    assert embedded.isfinite().all()
    assert again.embed(items).equal(embedded)
    assert embedded.shape[0] == 8
    if isinstance(recipe, SequenceRecipe):
        assert embedded.shape[1:] == (recipe.image_features,)
    elif isinstance(recipe, (ViewsRecipe, SelfLabelRecipe, SupervisedRecipe)):
        assert embedded.shape[1:] == (512,)
    elif isinstance(recipe, (ShuffleRecipe, OrderRecipe, AnswerRecipe, DeepPermRecipe)):
        assert embedded.shape[1:] == (recipe.hidden,)
    if encoder.objective is None:
        return
    inputs = encoder.transform.prepare(items)
    inputs = inputs[None, :4] if isinstance(recipe, recipes.Ordering) else inputs
    assert again.order(inputs).equal(encoder.order(inputs))


SMALL = ShuffleRecipe(
    patches=Grid(2, 2), backbone=SmallConv(4), patch_features=8, hidden=16, batch_size=4, epochs=1, holdout=0.0
)


@pytest.mark.parametrize("recipe", [SMALL, replace(recipes.order_digits(), batch_size=5, epochs=1, holdout=0.0)])
@pytest.mark.parametrize(
    "backbone", [AlexNet(), CFN2016(), ResNet(width=4, stem="small"), ResNet(50, width=4), VGG16(width=4)]
)
def test_every_backbone_trains_and_loads_from_its_description(recipe, backbone, tmp_path):
    items = pixels(10, 3, 72, 72)

    encoder = fit(replace(recipe, backbone=backbone), Arrays(items, torch.arange(10)), tmp_path / "run")
    again = unshuffle.load(tmp_path / "run")

    assert again.net_value.backbone == backbone
    assert again.embed(items).equal(encoder.embed(items))
    assert encoder.untrained(items, seed=1).embed(items).shape == (10, recipe.hidden)


def test_an_encoder_that_began_with_timms_weights_loads_without_them(tmp_path, monkeypatch):
    """And its untrained twin is untrained."""
    asked = []

    def create_model(name: str, *, pretrained: bool, in_chans: int, num_classes: int) -> nn.Module:
        asked.append(pretrained)
        return nn.Sequential(nn.Conv2d(in_chans, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    stub = ModuleType("timm")
    stub.__dict__.update(create_model=create_model, is_model=lambda name: True)
    monkeypatch.setitem(sys.modules, "timm", stub)

    encoder = fit(replace(SMALL, backbone=Timm(pretrained=True)), Arrays(pixels()), tmp_path / "run")
    again = unshuffle.load(tmp_path / "run")
    encoder.untrained(pixels(), seed=0)

    assert again.embed(pixels()).equal(encoder.embed(pixels()))
    assert asked[0]
    assert not any(asked[1:])
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["backbone"]["pretrained"]


class Own(nn.Module):
    """A backbone of one's own."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.rest = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.first(x))


@pytest.mark.parametrize("recipe", [SMALL, replace(recipes.order_digits(), batch_size=5, epochs=1, holdout=0.0)])
def test_a_backbone_of_ones_own_trains_and_loads_into_the_same_network(recipe, tmp_path):
    items, own = pixels(10), Own()
    before = own.first.weight.clone()

    encoder = fit(recipe, Arrays(items, torch.arange(10)), tmp_path / "run", net=own)

    assert not own.first.weight.equal(before)
    with pytest.raises(ValueError, match="trained with a network of its user's own: give that as `net`"):
        unshuffle.load(tmp_path / "run")
    assert unshuffle.load(tmp_path / "run", net=Own()).embed(items).equal(encoder.embed(items))
    with pytest.raises(ValueError, match="cannot be built afresh"):
        encoder.untrained(items, seed=0)


def test_another_network_than_the_trained_one_is_refused(tmp_path):
    fit(SMALL, Arrays(pixels()), tmp_path / "run", net=Own())

    with pytest.raises(ValueError, match=r"cannot be loaded: [\s\S]*size mismatch"):
        unshuffle.load(tmp_path / "run", net=Own(width=6))


def test_a_network_is_taken_only_where_training_was_given_one(tmp_path):
    fit(SMALL, Arrays(pixels()), tmp_path / "run")

    with pytest.raises(ValueError, match="leave `net` out"):
        unshuffle.load(tmp_path / "run", net=Own())


class Pictures(Dataset):
    """A plain data set of whatever it was given."""

    def __init__(self, samples: list) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> object:
        return self.samples[index]


ARRAYS = [p.permute(1, 2, 0).numpy() for p in pixels()]
DATASETS = {
    "PIL images": Pictures([Image.fromarray(a) for a in ARRAYS]),
    "PIL images with labels": Pictures([(Image.fromarray(a), i % 3) for i, a in enumerate(ARRAYS)]),
    "arrays": Pictures(ARRAYS),
    "arrays with labels": Pictures([(a, np.int64(i)) for i, a in enumerate(ARRAYS)]),
    "tensors": Pictures(list(pixels())),
    "tensors with labels": Pictures([(p, i) for i, p in enumerate(pixels())]),
    "TensorDataset": TensorDataset(pixels()),
    "TensorDataset with labels": TensorDataset(pixels(), torch.arange(8)),
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> Tensor:
    """How the pictures are embedded by an encoder that was trained on them as one array."""
    return fit(SMALL, Arrays(pixels()), tmp_path_factory.mktemp("expected") / "run").embed(pixels())


@pytest.mark.parametrize("kind", DATASETS)
def test_every_plain_data_set_of_the_same_pictures_trains_the_same_encoder(kind, expected, tmp_path):
    encoder = fit(SMALL, DATASETS[kind], tmp_path / "run")

    assert encoder.embed(pixels()).equal(expected)
    # And it takes pictures of the same kinds.
    assert encoder.embed(ARRAYS).equal(expected)
    assert encoder.embed([Image.fromarray(a) for a in ARRAYS]).equal(expected)


def test_grey_pictures_and_spectrograms_have_one_channel(tmp_path):
    grey = [p[0].numpy() for p in pixels()]

    encoder = fit(replace(SMALL, patches=Bands(4)), Pictures(grey), tmp_path / "run")

    assert encoder.item_shape == (1, 40, 40)
    assert encoder.embed(grey).shape == (8, 16)


def test_a_folder_of_images_trains_an_encoder_that_reads_pictures_of_any_size(tmp_path):
    for i, array in enumerate(ARRAYS):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(array).resize((60 + i, 50)).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    folder = ImageFolder(tmp_path / "photos", Images(size=32))

    fit(SMALL, folder, tmp_path / "run")

    encoder = unshuffle.load(tmp_path / "run")
    assert encoder.open(tmp_path / "photos").names == folder.names
    assert encoder.embed([Image.fromarray(ARRAYS[0]).resize((77, 99))]).shape == (1, 16)


@pytest.mark.errors
def test_data_that_do_not_fit_say_so(tmp_path):
    with pytest.raises(ValueError, match="images of 8 x 8 pixels are too small for 2 x 2 patches"):
        fit(SMALL, Arrays(pixels(8, 3, 8, 8)), tmp_path / "a")
    with pytest.raises(ValueError, match="the samples carry no label to be ordered by"):
        fit(tiny(recipes.order_digits()), Arrays(pixels()), tmp_path / "b")
    with pytest.raises(ValueError, match="at least two samples; the data set has 1"):
        fit(SMALL, Arrays(pixels(1)), tmp_path / "c")
    with pytest.raises(ValueError, match="must have one shape"):
        fit(SMALL, Pictures([pixels(1)[0], pixels(1, 3, 41, 40)[0]] * 4), tmp_path / "d")
