"""Whatever goes wrong, a user reads what it was and what to do, on stderr and without a traceback."""

import errno
import json
import os
import pickle
import subprocess
import sys

import pytest
import torch
from small import TINY, pictures

import unshuffle
from unshuffle.cli import main
from unshuffle.data.arrays import Arrays
from unshuffle.nets import SmallConv
from unshuffle.recipes import ShuffleRecipe


def refused(done, status, *words):
    """Status as documented, every word in the message, and the message is all there is."""
    assert done.status == status, done
    assert "Traceback" not in done.err
    text = " ".join(done.err.replace("│", " ").split())
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"
    return True


def train(call, data, out, *flags):
    return call("train", "shuffle", "--data", data, "--out", out, *TINY, *flags)


def no_room(name):
    """Opens files as usual, but for those of this name on a disk without room."""

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __getattr__(self, attribute):
            return getattr(self.file, attribute)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

    def opened(path, mode="r", **how):
        file = open(path, mode, **how)  # noqa: SIM115
        return Full(file) if name in str(path) and mode != "r" else file

    return opened


class Evil:
    """Unpickled, it would make a folder."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tain"], ["no command 'tain'", "demo, train, embed, eval, labels, search, solve, order, report, recipes"]),
        (["--frobnicate"], ["no command '--frobnicate'"]),
        (["train", "shufle", "--data", "x"], ["no recipe 'shufle'", "Known: shuffle, "]),
        (["recipes", "shufle"], ["no recipe 'shufle'", "Known: shuffle, "]),
        (["train", "shuffle"], ["needs --data FOLDER"]),
        (["train", "shuffle", "--data"], ["--data"]),
        (["train", "shuffle", "--data", "x", "--patch.rows", "4"], ["--patch.rows", "--patches.rows"]),
        (["train", "shuffle", "--data", "x", "--patches.rows", "four"], ["--patches.rows", "four", "INT"]),
        (["train", "shuffle", "--data", "x", "--patches.rows", "0"], ["--patches.rows must be from 1 to 1,024"]),
        (["train", "shuffle", "--data", "x", "--precision", "8"], ["--precision", "32-true", "bf16-mixed", "64-true"]),
        (["train", "shuffle", "--data", "x", "--devices", "0"], ["--devices must be from 1 to 1,024; got 0."]),
        (["train", "--resume"], ["--resume", "Missing value"]),
        (["train", "--resume", "a", "b"], ["Unrecognized", "b"]),
        (["train", "--resume", "a", "--devices", "0"], ["--devices must be from 1 to 1,024; got 0."]),
        (["embed"], ["RUN"]),
        (["embed", "run"], ["--data"]),
        (["report"], ["RUN"]),
        (["report", "run", "--loud"], ["--loud"]),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_is_accepted(arguments, words, call):
    refused(call(*arguments), 2, *words)


def test_train_alone_shows_its_usage(call):
    assert call("train").status == 2
    assert "unshuffle train RECIPE --data FOLDER" in call("train", "--help").out


def test_a_folder_that_is_not_there(tmp_path, call):
    refused(train(call, tmp_path / "none", tmp_path / "run"), 1, f"no folder '{tmp_path}/none'", ".png")
    assert not (tmp_path / "run").exists()


def test_a_folder_without_images(tmp_path, call):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("none here")
    refused(train(call, tmp_path / "empty", tmp_path / "run"), 1, "no image in", ".jpg", "sub-folders")


def test_a_folder_that_is_a_file(tmp_path, call):
    (tmp_path / "file.png").write_bytes(b"")
    refused(train(call, tmp_path / "file.png", tmp_path / "run"), 1, "file.png' is a file: give the folder")


def test_a_corrupt_image_among_good_ones_is_skipped(photos, tmp_path, call):
    whole = (photos / "04.png").read_bytes()
    (photos / "04.png").write_bytes(whole[: len(whole) // 2])
    done = train(call, photos, tmp_path / "run", "--batch-size", 4)
    assert done.status == 0
    assert done.err.count("skipped 04.png: ") == 1
    assert "1 unreadable: 04.png (" in done.err
    refused(
        train(call, photos, tmp_path / "strict", "--batch-size", 4, "--max-unreadable", 0),
        1,
        "1 unreadable: 04.png",
        "limit is 0",
    )


def test_a_small_image_is_skipped_with_its_size(photos, tmp_path, call):
    pictures(photos / "icons", 4, side=9)
    done = train(call, photos, tmp_path / "run", "--batch-size", 16)
    assert done.status == 0
    assert "skipped icons/00.png: 13 x 9 pixels; at least 16 x 16 needed" in done.err


def test_nothing_but_corrupt_images(photos, tmp_path, call):
    for path in photos.iterdir():
        path.write_bytes(b"no picture")
    refused(
        train(call, photos, tmp_path / "run"), 1, "not one sample could be read", "12 unreadable: 00.png (not an im"
    )
    assert not (tmp_path / "run").exists()


def test_images_too_small_for_the_patches(photos, tmp_path, call):
    flags = ["--source.size", 8, "--patches.rows", 9]
    words = ["8 x 8 pixels are too small for 9 x 2 patches", "fewer patches"]
    refused(train(call, photos, tmp_path / "run", *flags), 1, *words)


def test_one_image_only(tmp_path, call):
    pictures(tmp_path / "one", 1)
    refused(train(call, tmp_path / "one", tmp_path / "run"), 1, "at least two samples; the data set has 1")


def test_a_folder_that_holds_a_run(trained, photos, call):
    refused(train(call, photos, trained), 1, "already holds a run", f"unshuffle train --resume {trained}")


def test_no_run_to_go_on_with(tmp_path, call):
    refused(call("train", "--resume", tmp_path), 1, f"no run in '{tmp_path}'", "recipe.json")


def test_data_that_moved_away(photos, tmp_path, call):
    train(call, photos, tmp_path / "run")
    photos.rename(tmp_path / "moved")
    refused(call("train", "--resume", tmp_path / "run"), 1, f"no folder '{photos}'")


def test_a_run_that_python_began(tmp_path, call):
    recipe = ShuffleRecipe(epochs=1, hidden=8, backbone=SmallConv(width=2))
    items = torch.randint(0, 256, (8, 3, 24, 24), dtype=torch.uint8)
    unshuffle.fit(recipe, Arrays(items), out=tmp_path / "run")
    refused(call("train", "--resume", tmp_path / "run"), 1, "was started from Python", "resume=True")


def test_a_strangers_checkpoint(photos, tmp_path, call):
    train(call, photos, tmp_path / "run")
    trace = tmp_path / "it ran"
    (tmp_path / "run/checkpoints/last.pt").write_bytes(pickle.dumps({"method": Evil(trace), "optimizer": 0, "step": 0}))
    refused(call("train", "--resume", tmp_path / "run"), 1, "last.pt", "Nothing in it was run")
    assert not trace.exists()


@pytest.mark.parametrize("name", ["net", "transform"])
def test_an_encoder_of_unknown_parts(name, photos, tmp_path, call):
    train(call, photos, tmp_path / "run")
    description = json.loads((tmp_path / "run/encoder.json").read_text())
    del description["checksum"]
    description[name] = {"type": "os.system", "command": "true"}
    (tmp_path / "run/encoder.json").write_text(json.dumps(description))
    done = call("embed", tmp_path / "run", "--data", photos, "--out", tmp_path / "f.parquet")
    refused(done, 1, "encoder in", "cannot be loaded", "unknown type 'os.system'")


@pytest.mark.parametrize(
    ("name", "size"), [("encoder.safetensors", 500), ("encoder.safetensors", 0), ("encoder.json", 9)]
)
def test_an_encoder_that_was_cut_off(name, size, photos, tmp_path, call):
    train(call, photos, tmp_path / "run")
    path = tmp_path / "run" / name
    path.write_bytes(path.read_bytes()[:size])
    done = call("embed", tmp_path / "run", "--data", photos, "--out", tmp_path / "f.parquet")
    refused(done, 1, f"the encoder in '{tmp_path}/run' cannot be loaded")
    assert not (tmp_path / "f.parquet").exists()


def test_a_run_that_never_ended_has_no_encoder(tmp_path, photos, call):
    done = call("embed", tmp_path, "--data", photos, "--out", tmp_path / "f.parquet")
    refused(done, 1, f"no encoder in '{tmp_path}'", "training writes at its end")


def test_embed_looks_before_it_works(trained, photos, tmp_path, call):
    refused(call("embed", trained, "--data", photos, "--out", tmp_path), 1, "is a folder; give a file in it")
    refused(call("embed", trained, "--data", photos, "--device", "abacus"), 1, "--device abacus cannot be had here")
    refused(call("embed", trained, "--data", tmp_path / "none"), 1, "no folder")


def test_no_page_of_what_is_no_run(tmp_path, call):
    refused(call("report", tmp_path), 1, str(tmp_path), "metrics.csv")


def test_a_loss_that_is_no_number(photos, tmp_path, call):
    done = train(call, photos, tmp_path / "run", "--optim.lr", "1e6", "--epochs", 30, "--save-every", 0)
    refused(done, 1, "step ", "--optim.lr")


@pytest.mark.parametrize("name", ["checkpoints/.unshuffle-", "metrics.csv", "run/.unshuffle-"])
def test_a_full_disk(name, photos, tmp_path, call, monkeypatch):
    monkeypatch.setattr("unshuffle._files.open", no_room(name), raising=False)
    monkeypatch.setattr("unshuffle.train.metrics.open", no_room(name), raising=False)
    refused(train(call, photos, tmp_path / "run"), 1, "the disk is full", "unshuffle train --resume RUN")
    assert not list(tmp_path.rglob("*.part"))


def test_ctrl_c_before_the_first_step(photos, tmp_path, call, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("unshuffle.data.image.ImageFolder.__getitem__", interrupted)
    refused(train(call, photos, tmp_path / "run"), 130, "unshuffle train: stopped.")


def test_a_second_ctrl_c_names_the_way_on_too(photos, tmp_path, call, monkeypatch):
    monkeypatch.setattr("unshuffle.train.engine._Run._step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    words = f"stopped at once; go on with: unshuffle train --resume {tmp_path}/run"
    refused(train(call, photos, tmp_path / "run"), 130, words)
    monkeypatch.undo()
    assert call("train", "--resume", tmp_path / "run").status == 0


def test_a_bug_of_ours_keeps_its_traceback(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("unshuffle.cli.train._train", lambda *_: {}["bug"])
    with pytest.raises(KeyError, match="bug"):
        main(["train", "shuffle", "--data", str(photos)])


def test_on_wish_every_error_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setenv("UNSHUFFLE_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        main(["train", "shuffle", "--data", str(tmp_path / "none")])


def test_a_missing_extra_is_named(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "tyro", None)
    for name in [m for m in sys.modules if m.startswith("unshuffle.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    refused(call("embed", "--help"), 1, "needs 'tyro': pip install 'unshuffle[train]'")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("tain", 2, "no command 'tain'"),
        ("train shuffle --data none", 1, "/none': give one that holds images"),
        ("train shuffle --frob 1", 2, "--frob"),
    ],
)
def test_a_shell_sees_the_same(arguments, status, words, tmp_path):
    command = [sys.executable, "-m", "unshuffle", *arguments.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
