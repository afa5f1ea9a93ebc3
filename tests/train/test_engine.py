"""What a job leaves, and what it does to a method on its way."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

import unshuffle
from unshuffle.methods import ShuffleToLearn
from unshuffle.train import engine, plan
from unshuffle.train.optim import SGD, Adamax
from unshuffle.train.parts import item_shape, split


def test_the_task_is_learnt_far_beyond_chance(tmp_path):
    """Four quarters of four fixed greys: chance puts one patch of four in its place."""
    quarters = torch.tensor([[0, 80], [160, 240]], dtype=torch.uint8).repeat_interleave(6, 0).repeat_interleave(6, 1)
    data = tiny.Arrays(quarters // 2 + tiny.arrays(64).items // 8)
    recipe = replace(
        tiny.RECIPE, patches=replace(tiny.RECIPE.patches, normalize=False), epochs=40, dropout=0.0, batch_size=16
    )
    tiny.job(tmp_path / "run", recipe=recipe, dataset=data, save_every=1e9)
    held_out = [float(r["partial_ranks"]) for r in tiny.rows(tmp_path / "run") if r["split"] == "holdout"]
    assert held_out[-1] > 0.9


def test_fit_returns_what_load_loads(tmp_path):
    encoder = unshuffle.fit(tiny.RECIPE, tiny.arrays(), out=tmp_path / "run", progress=tiny.Silent())
    items = tiny.arrays(5).items
    assert torch.equal(encoder.embed(items), unshuffle.load(tmp_path / "run").embed(items))
    assert encoder.embed(items).shape == (5, 16)
    assert not encoder.training


def test_without_a_folder_one_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unshuffle.fit(replace(tiny.RECIPE, epochs=1), tiny.arrays(), progress=tiny.Silent())
    assert (tmp_path / "runs/shuffle-1/encoder.json").is_file()


@pytest.mark.parametrize("kind", ["array", "picture", "pair", "tensor"])
def test_any_data_set_will_do(kind, tmp_path):
    class Own(Dataset):
        def __len__(self):
            return 16

        def __getitem__(self, index):
            pixels = np.random.default_rng(index).integers(0, 256, (12, 12, 3), dtype=np.uint8)
            tensor = torch.from_numpy(pixels).permute(2, 0, 1)
            forms = {"array": pixels, "picture": Image.fromarray(pixels), "pair": (pixels, index % 2), "tensor": tensor}
            return forms[kind]

    recipe = replace(tiny.RECIPE, epochs=1)
    encoder = unshuffle.fit(recipe, Own(), out=tmp_path / "run", progress=tiny.Silent())
    assert encoder.item_shape == (3, 12, 12)


def test_a_backbone_of_ones_own(tmp_path):
    def backbone():
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 5))

    encoder = unshuffle.fit(tiny.RECIPE, tiny.arrays(), out=tmp_path / "run", net=backbone(), progress=tiny.Silent())
    items = tiny.arrays(5).items
    assert torch.equal(unshuffle.load(tmp_path / "run", net=backbone()).embed(items), encoder.embed(items))
    with pytest.raises(ValueError, match="cannot be loaded"):
        unshuffle.load(tmp_path / "run")


@pytest.mark.parametrize(("precision", "expected"), [("32-true", None), ("bf16-mixed", torch.bfloat16)])
def test_mixed_precision_reaches_the_method(precision, expected, tmp_path, monkeypatch):
    seen, whole = set(), ShuffleToLearn.step

    def watched(self, batch):
        seen.add(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
        return whole(self, batch)

    monkeypatch.setattr(ShuffleToLearn, "step", watched)
    machine = unshuffle.Machine(device="cpu", precision=precision)
    unshuffle.fit(tiny.RECIPE, tiny.arrays(), out=tmp_path / "run", machine=machine, progress=tiny.Silent())
    assert seen == {expected}


def test_double_precision_trains_doubles_and_leaves_an_encoder_as_any_other(tmp_path):
    machine = unshuffle.Machine(device="cpu", precision="64-true")
    encoder = unshuffle.fit(tiny.RECIPE, tiny.arrays(), out=tmp_path / "run", machine=machine, progress=tiny.Silent())
    assert {t.dtype for t in tiny.last(tmp_path / "run")["method"].values()} == {torch.float64, torch.int64}
    items = tiny.arrays(5).items
    assert torch.equal(encoder.embed(items), unshuffle.load(tmp_path / "run").embed(items))


def test_the_best_checkpoint_is_that_of_the_best_held_out_loss(tmp_path):
    tiny.job(tmp_path / "run")
    losses = {int(r["step"]): float(r["loss"]) for r in tiny.rows(tmp_path / "run") if r["split"] == "holdout"}
    best = torch.load(tmp_path / "run/checkpoints/best.pt", weights_only=True)
    assert list(losses) == [4, 8, 12]
    assert best["step"] == min(losses, key=losses.__getitem__)
    assert best["best"] == pytest.approx(min(losses.values()), rel=1e-5)


def test_seeds_differ(tmp_path):
    encoders = [
        tiny.job(tmp_path / str(seed), recipe=replace(tiny.RECIPE, seed=seed)).encoder.state_dict() for seed in (0, 1)
    ]
    assert not tiny.equal(*encoders)


def test_held_out_samples_are_never_trained_on():
    data = tiny.arrays(40)
    training, held_out = split(data, 0.25, seed=3)
    assert held_out is not None
    assert sorted(training.indices + held_out.indices) == list(range(40))
    assert len(held_out.indices) == 10
    assert split(data, 0.25, seed=3)[1].indices == held_out.indices != split(data, 0.25, seed=4)[1].indices


@pytest.mark.parametrize(("size", "share"), [(2, 0.5), (3, 0.7), (30, 0.05), (40, 0.0)])
def test_tiny_data_hold_nothing_out(size, share):
    data = tiny.arrays(size)
    assert split(data, share, seed=0) == (data, None)


def test_the_shape_of_items():
    assert item_shape(tiny.arrays(3, channels=2)) == (2, 12, 12)


def test_recipes_find_their_plan_in_the_engine():
    assert (engine.Plan, engine.Recipe) == (plan.Plan, plan.Recipe)


def test_progress_is_told_after_every_step(tmp_path):
    """A bar that moves every tenth step only would look dead on a slow machine."""

    seen = []

    class Counting(tiny.Silent):
        def advance(self, done, logs):
            seen.append(done)

    unshuffle.fit(tiny.RECIPE, tiny.arrays(), out=tmp_path / "run", progress=Counting())
    assert seen == list(range(1, tiny.STEPS + 1))


@pytest.mark.parametrize("clip", [1e-3, 0.0])
def test_gradients_are_clipped_where_the_optimiser_says_so(clip, tmp_path, monkeypatch):
    norms = []

    def step(self, *args):
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))

    monkeypatch.setattr(torch.optim.Adamax, "step", step)
    recipe = replace(tiny.RECIPE, epochs=1, optim=Adamax(clip=clip))

    unshuffle.fit(recipe, tiny.arrays(), out=tmp_path / "run", progress=tiny.Silent())

    assert norms
    if clip:
        assert norms == pytest.approx([clip] * len(norms), rel=1e-3)
    else:
        assert min(norms) > 1e-2


def test_a_group_moves_at_its_own_rate_also_after_it_was_resumed(tmp_path):
    """A backbone at rate 0 keeps its weights; what lies above it does not."""
    recipe = replace(
        unshuffle.recipes.deepperm(), patches=tiny.RECIPE.patches, backbone=tiny.SmallConv(4), patch_features=8,
        hidden=16, batch_size=8, epochs=2, optim=SGD(lr=0.01, backbone_rate=0.0),
    )  # fmt: skip
    own = nn.Conv2d(1, 3, 3)
    before = own.weight.detach().clone()

    encoder = unshuffle.fit(recipe, tiny.arrays(), out=tmp_path / "run", net=own, progress=tiny.Silent())

    assert encoder.net.backbone.weight.equal(before)
    groups = tiny.last(tmp_path / "run")["optimizer"]["param_groups"]
    assert [group["lr"] / groups[0]["lr"] for group in groups] == pytest.approx([1.0, 2.0, 0.0, 0.0])
    untouched = recipe.build((1, 12, 12), nn.Conv2d(1, 3, 3)).net
    assert not any(
        torch.equal(a, b) for a, b in zip(encoder.net.score.parameters(), untouched.score.parameters()) if a.ndim > 1
    )
