"""An encoder takes raw input and travels as two files; its untrained twin is a fair opponent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from unshuffle.data.image import Images
from unshuffle.evals.encoder import DESCRIPTION, WEIGHTS, Encoder, calibrate, load
from unshuffle.permutations import apply, sample


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def rewrite(folder, **fields) -> None:
    """Changes fields of the description, as a user does who edits it: without its checksum; None takes one out."""
    told = json.loads((folder / DESCRIPTION).read_text()) | {"checksum": None} | fields
    (folder / DESCRIPTION).write_text(json.dumps({k: v for k, v in told.items() if v is not None}))


# ------------------------------------------------------------------------------------------------------ what it takes


def test_the_answer_is_that_of_the_network_on_prepared_items(encoder, images):
    with torch.no_grad():
        expected = encoder.net.eval().embed(encoder.transform.prepare(images))

    assert torch.equal(encoder.embed(images), expected)
    assert expected.shape == (40, 12)


@pytest.mark.parametrize("batch_size", [1, 7, 40, 1000])
def test_the_batch_size_does_not_change_the_answer(encoder, images, batch_size):
    torch.testing.assert_close(encoder.embed(images, batch_size=batch_size), encoder.embed(images))


def test_dropout_and_batch_statistics_rest_while_it_embeds_and_orders(encoder, images):
    encoder.train()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    patches = encoder.transform.prepare(images)

    assert torch.equal(encoder.embed(images), encoder.embed(images))
    assert torch.equal(encoder.train().order(patches), encoder.order(patches))
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_arrays_tensors_and_lists_of_either_are_the_same_input(encoder, images):
    expected = encoder.embed(images)
    as_arrays = [image.permute(1, 2, 0).numpy() for image in images]  # channels last, as decoders give them

    assert torch.equal(encoder.embed(images.numpy()), expected)
    assert torch.equal(encoder.embed(list(images)), expected)
    assert torch.equal(encoder.embed(as_arrays), expected)


def test_pictures_of_any_size_and_mode_are_scaled_as_in_training(encoder):
    pictures = [picture(16, 16), picture(64, 20), picture(33, 90), picture(40, 40, "L"), picture(24, 24, "P")]

    assert torch.equal(encoder.embed(pictures), encoder.embed(torch.stack([Images(16).prepare(p) for p in pictures])))


@pytest.mark.parametrize("empty", [[], torch.zeros(0, 3, 16, 16), np.zeros((0, 3, 16, 16), dtype=np.uint8)])
def test_nothing_gives_no_rows_of_the_usual_width(encoder, empty):
    assert encoder.embed(empty).shape == (0, 12)


def test_an_encoder_in_double_precision_takes_the_same_input(encoder, images):
    expected = encoder.embed(images)

    answer = encoder.double().embed(images)

    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)
    assert encoder.order(encoder.transform.prepare(images)).dtype == torch.float32


@pytest.mark.errors
@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 3, 16, 17), (2, 1, 16, 16), (2, 16, 16, 3)])
def test_items_of_another_shape_are_refused_with_both_shapes(encoder, shape):
    with pytest.raises(
        ValueError, match=r"must be \(B, 3, 16, 16\), as in training; got .* list of PIL images"
    ) as told:
        encoder.embed(torch.zeros(shape, dtype=torch.uint8))

    assert str(shape) in str(told.value)


@pytest.mark.errors
def test_one_odd_sample_of_a_list_is_refused_with_its_shape(encoder, images):
    with pytest.raises(ValueError, match=r"got \(2, 3, 8, 8\)"):
        encoder.embed([images[0], images[1, :, :8, :8]])
    with pytest.raises(TypeError, match="must be a tensor, an array or a PIL image; got str"):
        encoder.embed(["a.png"])
    encoder.source = None
    with pytest.raises(ValueError, match=r"got \(1, 3, 20, 20\)\.$"):  # it cannot scale: no such advice
        encoder.embed([picture(20, 20)])


@pytest.mark.errors
@pytest.mark.parametrize(
    ("items", "words"),
    [
        (picture(20, 20), r"got one PIL image: give a list of one, \[image\]"),
        ("a.png", r"got 'a.png': to embed files, open them"),
        (Path("a.png"), "to embed files, open them"),
        (b"a.png", "to embed files, open them"),
        (None, "got NoneType"),
        (3, "got int"),
        ({"a": 1}, "got dict"),
        (np.array([None, 1]), "got an array of objects: give a list"),
    ],
)
def test_what_is_neither_a_batch_nor_a_list_is_refused_in_words(encoder, items, words):
    with pytest.raises(TypeError, match=rf"embed: `items` must be a batch .*or a list of .*{words}"):
        encoder.embed(items)


@pytest.mark.errors
def test_one_sample_without_its_batch_axis_is_told_how_to_be_given(encoder, images):
    for one in (images[0], images[0].numpy()):
        with pytest.raises(ValueError, match=r"One sample is given as a batch of one, items\[None\]"):
            encoder.embed(one)


@pytest.mark.untyped
def test_a_generator_is_gone_through(encoder, images):
    assert torch.equal(encoder.embed(image for image in images), encoder.embed(images))


# -------------------------------------------------------------------------------------------------------- what it says


def test_orders_are_hard_ranks_of_the_scores(encoder, images):
    patches = apply(encoder.transform.prepare(images), sample(40, 4, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        scores = encoder.net.eval()(patches)

    ranks = encoder.order(patches)

    assert torch.equal(ranks.sort(-1).values, torch.arange(1.0, 5).expand(40, 4))
    assert torch.equal(scores.gather(1, ranks.argsort(-1)), scores.sort(-1).values)


@pytest.mark.errors
def test_an_encoder_without_an_objective_orders_nothing(encoder, images):
    encoder.objective = None
    with pytest.raises(ValueError, match="without an objective"):
        encoder.order(encoder.transform.prepare(images))


@pytest.mark.errors
def test_files_are_opened_as_in_training_or_not_at_all(encoder, tmp_path):
    picture(40, 30).save(tmp_path / "a.png")

    assert encoder.open(tmp_path)[0][0].shape == (3, 16, 16)
    encoder.source = None
    with pytest.raises(ValueError, match="not trained on files"):
        encoder.open(tmp_path)


# ----------------------------------------------------------------------------------------------------------- two files


def test_a_saved_encoder_comes_back_exactly(encoder, images, tmp_path):
    encoder.save(tmp_path)
    loaded = load(tmp_path)

    assert sorted(p.name for p in tmp_path.iterdir()) == [DESCRIPTION, WEIGHTS]
    assert not loaded.training
    assert torch.equal(loaded.embed(images), encoder.embed(images))
    for name in ("transform", "source", "objective", "net_value", "item_shape"):
        assert getattr(loaded, name) == getattr(encoder, name), name
    assert torch.equal(loaded.embed([picture(50, 20)]), encoder.embed([picture(50, 20)]))


def test_saving_again_gives_the_same_bytes(encoder, tmp_path):
    encoder.save(tmp_path)
    before = [(tmp_path / name).read_bytes() for name in (DESCRIPTION, WEIGHTS)]

    load(tmp_path).save(tmp_path)

    assert [(tmp_path / name).read_bytes() for name in (DESCRIPTION, WEIGHTS)] == before


class OwnNet(nn.Module):
    """A network of a user's own, of which no description exists; two of its weights are one."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.first = nn.Linear(4 * 3 * 36, 5)
        self.second = nn.Linear(5, 5)
        self.third = nn.Linear(5, 5)
        self.third.weight = self.second.weight
        nn.init.normal_(self.first.weight, generator=torch.Generator().manual_seed(seed))

    def embed(self, patches: torch.Tensor) -> torch.Tensor:
        return self.third(self.second(self.first(patches.flatten(1))))


def test_a_network_of_ones_own_is_loaded_into_a_network_that_is_given(encoder, images, tmp_path):
    own = Encoder(OwnNet(0), encoder.transform, encoder.item_shape)
    own.save(tmp_path)

    assert torch.equal(load(tmp_path, net=OwnNet(1)).embed(images), own.embed(images))
    with pytest.raises(ValueError, match="give that as `net`"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"cannot be loaded: Error.*ContextFree"):
        load(tmp_path, net=encoder.net)
    with pytest.raises(ValueError, match="cannot be built afresh"):
        own.untrained(images, seed=0)


def test_a_source_that_is_not_ours_is_forgotten_and_does_not_stop_the_saving(encoder, images, tmp_path):
    class Table:
        """What some data sets call their source."""

    Encoder(encoder.net, encoder.transform, encoder.item_shape, source=Table(), net_value=encoder.net_value).save(
        tmp_path
    )

    assert load(tmp_path).source is None
    assert torch.equal(load(tmp_path).embed(images), encoder.embed(images))


@pytest.mark.errors
@pytest.mark.parametrize("missing", [DESCRIPTION, WEIGHTS])
def test_a_missing_file_is_told(encoder, tmp_path, missing):
    encoder.save(tmp_path)
    (tmp_path / missing).unlink()

    with pytest.raises(FileNotFoundError, match=r"no encoder in .*encoder.json and encoder.safetensors"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no encoder"):
        load(tmp_path / "nowhere")


@pytest.mark.errors
@pytest.mark.parametrize("name", [DESCRIPTION, WEIGHTS])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_told(encoder, tmp_path, name, share):
    encoder.save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])

    with pytest.raises(ValueError, match=r"the encoder in .* cannot be loaded"):
        load(tmp_path)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"net": {"type": "os.system", "command": "true"}}, "unknown type 'os.system'"),
        ({"net": {"type": ["list"]}}, "unknown type"),
        ({"net": {"type": "Grid"}}, "no attribute 'build'"),
        ({"transform": {"type": "Shuffle", "patches": 3, "turns": 1}}, "no field 'turns'"),
        ({"item_shape": None}, "encoder.json lacks 'item_shape'"),
        ({"item_shape": [math.inf]}, "`item_shape` must be a list of positive integers"),
        ({"format": 2}, "format is 2, and this version of unshuffle knows 1"),
    ],
)
def test_a_description_that_says_something_else_is_told(encoder, tmp_path, fields, told):
    encoder.save(tmp_path)
    rewrite(tmp_path, **fields)

    with pytest.raises(ValueError, match=told):
        load(tmp_path)


@pytest.mark.errors
@pytest.mark.parametrize("text", ["", "[]", "null", "3", '"a"', "\xff", "{"])
def test_a_description_that_is_no_description_is_told(encoder, tmp_path, text):
    encoder.save(tmp_path)
    (tmp_path / DESCRIPTION).write_bytes(text.encode("latin-1"))

    with pytest.raises(ValueError, match="cannot be loaded"):
        load(tmp_path)


@pytest.mark.errors
def test_weights_that_do_not_fit_the_description_are_told(encoder, tmp_path):
    encoder.save(tmp_path)
    told = json.loads((tmp_path / DESCRIPTION).read_text())
    rewrite(tmp_path, net=told["net"] | {"hidden": 13})

    with pytest.raises(ValueError, match="size mismatch"):
        load(tmp_path)


# --------------------------------------------------------------------------------------------------- the untrained twin


def test_the_untrained_twin_has_other_weights_the_same_for_the_same_seed(encoder, images):
    twin = encoder.untrained(images, seed=3)

    assert torch.equal(encoder.untrained(images, seed=3).embed(images), twin.embed(images))
    assert not torch.allclose(encoder.untrained(images, seed=4).embed(images), twin.embed(images))
    weights = zip(encoder.net.named_parameters(), twin.net.parameters())
    assert not any(torch.equal(own, other) for (name, own), other in weights if "weight" in name and own.ndim > 1)
    assert not twin.net.training


def test_making_the_twin_leaves_the_encoder_and_the_global_generator_alone(encoder, images):
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)

    torch.manual_seed(5)
    encoder.untrained(images, seed=3)

    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_the_twins_statistics_are_those_of_the_inputs(encoder, images):
    twin = encoder.untrained(images, seed=3)
    first, norm = twin.net.backbone[0], twin.net.backbone[1]
    with torch.no_grad():
        seen = first(encoder.transform.prepare(images).flatten(0, 1))
        joined = twin.net.aggregate[0](
            twin.net.patch(twin.net.backbone(encoder.transform.prepare(images).flatten(0, 1))).reshape(40, -1)
        )

    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, seen.var((0, 2, 3), correction=1))
    # The last norm sees what the calibrated layers before it give: nearly the same as with the batch's own statistics.
    last = twin.net.aggregate[1]
    torch.testing.assert_close(last.running_mean, joined.mean(0), rtol=0.02, atol=0.02)
    assert norm.momentum == nn.BatchNorm2d(1).momentum


def test_a_last_small_batch_counts_no_more_than_its_samples(encoder, images):
    net = encoder.net_value.build()

    calibrate(net, encoder.transform.prepare(images), batch_size=39)  # 39 and 1 would weigh the last image as 39

    with torch.no_grad():
        seen = net.backbone[0](encoder.transform.prepare(images).flatten(0, 1))
    torch.testing.assert_close(net.backbone[1].running_mean, seen.mean((0, 2, 3)))


def test_dropout_rests_while_statistics_are_gathered():
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def embed(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(nn.functional.dropout(x, 0.5, self.training))

    net, x = Dropping(), torch.randn(30, 4)

    calibrate(net, x)

    torch.testing.assert_close(net.norm.running_mean, x.mean(0))


@pytest.mark.errors
def test_one_input_has_no_deviation(encoder, images):
    with pytest.raises(ValueError, match="at least 2 samples; got 1"):
        encoder.untrained(images[:1], seed=0)
