"""The door to timm: what is asked of it, and what is said where it is shut."""

import json
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unshuffle import values
from unshuffle.nets import ContextFreeNet, SmallConv, Timm, fresh
from unshuffle.nets.timm import NoTimm


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, dict[str, Any]]]:
    """What a stand-in for timm was asked to make."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def create_model(name: str, **options: Any) -> nn.Module:
        calls.append((name, options))
        return nn.Sequential(nn.Conv2d(options["in_chans"], 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    stub = ModuleType("timm")
    stub.__dict__.update(
        __version__="1.0", create_model=create_model, is_model=lambda name: name in ("resnet18", "vit_tiny"),
        list_models=lambda pattern: ["resnet18"] if pattern == "*resnet19*" else [],
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "timm", stub)
    return calls


def test_a_network_is_asked_for_by_name_without_its_classifier(asked):
    net = Timm("resnet18", pretrained=True).build(2)

    assert asked == [("resnet18", {"pretrained": True, "in_chans": 2, "num_classes": 0})]
    assert net(torch.zeros(3, 2, 9, 7)).shape == (3, 5)


def test_patches_are_scaled_where_a_size_is_given(asked):
    net = Timm("vit_tiny", size=12).build(1)
    seen: list[Tensor] = []
    net[1].register_forward_pre_hook(lambda module, arguments: seen.extend(arguments))

    net(torch.full((2, 1, 5, 8), 0.3))

    assert seen[0].shape == (2, 1, 12, 12)
    torch.testing.assert_close(seen[0], torch.full((2, 1, 12, 12), 0.3))


def test_it_is_a_backbone_of_the_context_free_network(asked):
    net = ContextFreeNet(Timm(), 4, (3, 12, 12), 4, patch_features=6, hidden=10).build()

    assert net(torch.zeros(2, 4, 3, 12, 12)).shape == (2, 4)


def test_the_description_of_an_encoder_asks_for_no_download():
    assert fresh(Timm("vit_tiny", pretrained=True, size=12)) == Timm("vit_tiny", size=12)
    assert fresh(SmallConv(8)) == SmallConv(8)


def test_it_survives_json():
    value = Timm("vit_tiny", pretrained=True, size=12)

    assert values.from_json(json.loads(json.dumps(values.to_json(value)))) == value


def test_real_networks_are_built_where_timm_is_there():
    pytest.importorskip("timm", exc_type=Exception)

    assert Timm("resnet18").build(1)(torch.zeros(2, 1, 28, 28)).shape == (2, 512)


@pytest.mark.errors
@pytest.mark.parametrize("broken", [ModuleNotFoundError("No module named 'timm'"), RuntimeError("torchvision::nms")])
def test_a_timm_that_cannot_be_imported_is_told_with_what_to_install(monkeypatch, broken):
    class Fails:
        """Finds timm, and fails as a missing one or as a torchvision of another build does."""

        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "timm":
                raise broken

    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Fails(), *sys.meta_path])

    with pytest.raises(NoTimm, match="pip install timm; it brings torchvision, which must match PyTorch") as told:
        Timm("resnet18").build(3)
    assert str(broken) in str(told.value)
    assert torch.__version__ in str(told.value)
    assert isinstance(told.value, ImportError)


@pytest.mark.errors
def test_a_name_that_timm_does_not_know_is_told_with_near_ones(asked):
    with pytest.raises(ValueError, match=r"timm 1.0 has no model 'resnet19'. Near: resnet18"):
        Timm("resnet19").build(3)


@pytest.mark.errors
@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp/a", "a/b", ""])
def test_names_of_other_places_are_refused(name):
    with pytest.raises(ValueError, match=r"`name` must be a model of timm itself"):
        Timm(name)


@pytest.mark.errors
def test_a_size_is_positive():
    with pytest.raises(ValueError, match=r"`size` must be from 1 .*; got 0"):
        Timm(size=0)
