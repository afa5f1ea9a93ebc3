"""A run's folder from somebody else makes unshuffle write nowhere else, run nothing and download nothing."""

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hostile_runs import LONG, tiny
from torch import nn

import unshuffle
from unshuffle import values
from unshuffle._files import UnsafePath
from unshuffle.evals import labellings, supersede
from unshuffle.evals.pictures import write_arrays
from unshuffle.nets import Timm
from unshuffle.report import write_report
from unshuffle.train import folder
from unshuffle.train.folder import RunError
from unshuffle.train.journal import Journal
from unshuffle.train.revision import revision
from unshuffle.types import Figure, Result

RESULT = Result("a", "b", 0.5, 3, 0, "c", "test", "d", "e", "f", "g", "2026-01-01")
MINE = "# my profile\n"
FILES = (
    "recipe.json", "metrics.csv", "encoder.json", "encoder.safetensors", "results.jsonl", "report.html", ".train.lock",
    ".results.lock", "checkpoints/last.pt", "checkpoints/previous.pt", "checkpoints/best.pt", "labels/000000001.npz",
    "figures/a.npz",
)  # fmt: skip
FOLDERS = ("checkpoints", "labels", "figures", "tensorboard")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs") / "run"
    tiny.job(out)
    return out


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run, without a checkpoint: to go on with it is to do all of it again."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    return tmp_path / "run"


def everything(run: Path) -> list[Exception]:
    """Does all that writes into a run's folder; what refused, refused."""
    encoder, refused = unshuffle.load(run), []
    for action in (
        lambda: tiny.job(run, resume=True),
        lambda: supersede(run, [RESULT, Figure("map", "a.npz", "t", "c")]),
        lambda: write_report(run),
        lambda: write_arrays(run, "a", {"x": np.zeros(2)}),
        lambda: encoder.save(run),
        lambda: labellings.write(run, 1, np.zeros((1, 4), np.int64)),
        lambda: labellings.cut(run, upto=0),
        lambda: Journal(run, upto=0).close(),
    ):
        try:
            action()
        except (UnsafePath, RunError) as error:  # noqa: PERF203
            refused.append(error)
    return refused


def tree(place: Path) -> dict[str, tuple]:
    """All that lies below a folder: kind, permissions and content."""
    found = {}
    for path in sorted(place.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        found[str(path.relative_to(place))] = (status.st_mode, content)
    return found


@pytest.mark.parametrize("leads", ["to a file", "nowhere"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_a_link_is_never_written_through(name, leads, run, tmp_path):
    victim = tmp_path / "home/victim"
    victim.parent.mkdir()
    link = run / name
    link.parent.mkdir(exist_ok=True)
    if link.exists():
        # Where it must be read first, it says what it should.
        shutil.move(link, victim)
    elif leads == "to a file":
        victim.write_text(MINE)
    if leads == "nowhere" and name not in ("recipe.json", "encoder.json", "encoder.safetensors"):
        victim.unlink(missing_ok=True)
    link.symlink_to(victim)
    before = tree(victim.parent)

    refused = everything(run)

    assert tree(victim.parent) == before
    assert refused or name == "labels/000000001.npz"
    assert all("symbolic link" in str(error) for error in refused)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_a_link_is_never_written_through(name, run, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for mine in ("last.pt", "000000001.npz", "a.npz", ".unshuffle-" + "0" * 32 + ".part"):
        (home / mine).write_text(MINE)
    if (run / name).exists():
        shutil.rmtree(run / name)
    (run / name).symlink_to(home)
    before = tree(home)

    refused = everything(run)

    assert tree(home) == before
    assert refused
    assert all("symbolic link" in str(error) for error in refused)


def test_links_that_guess_at_temporary_names_lead_nowhere(run, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text(MINE)
    for name in (*FILES, *FOLDERS):
        for guess in (f"{name}.part", f"{name}.tmp", f"{name}~"):
            (run / guess).parent.mkdir(exist_ok=True)
            (run / guess).symlink_to(victim)
    for guess in (f".report-{os.getpid()}.tmp", f".unshuffle-{'0' * 32}.part"):
        (run / guess).symlink_to(victim)

    assert not everything(run)

    assert victim.read_text() == MINE


def test_a_run_may_be_reached_through_links_that_its_user_named(run, tmp_path):
    (tmp_path / "disk").symlink_to(run.parent)
    assert not everything(tmp_path / "disk/run")


def test_data_are_never_written_to(run, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.png").write_bytes(b"a picture")
    told = json.loads((run / "recipe.json").read_text()) | {"data": str(data)}
    (run / "recipe.json").write_text(json.dumps(told))
    before = tree(data)
    everything(run)
    assert tree(data) == before


WRONG = (
    None, True, -1, 0, 10**9, 10**30, 1e308, float("inf"), float("nan"), "x", "../../etc/passwd", "\ud800", [], {},
    [[]], [10**9] * 3, {"type": "Grid"}, {"type": "os.system"}, {"type": "Machine"},
)  # fmt: skip


def places(data, at=()):
    """Every place inside a nest of JSON."""
    yield at
    if isinstance(data, (dict, list)):
        for key in data if isinstance(data, dict) else range(len(data)):
            yield from places(data[key], (*at, key))


def changed(data, at, value):
    """The nest with another value at one place."""
    if not at:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[at[0]] = changed(copy[at[0]], at[1:], value)
    return copy


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", ["encoder.json", "recipe.json"])
def test_whatever_a_description_says_it_is_read_or_refused_in_words(name, run):
    """Every value in it replaced by each of many; a network of a billion neurons must not take the memory for them."""
    told = json.loads((run / name).read_text())
    told.pop("checksum"), told.pop("weights", None)
    tried, longest, before = 0, 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for k, at in enumerate(places(told)):
        for value in WRONG if LONG else WRONG[k % 3 :: 3]:
            (run / name).write_text(json.dumps(changed(told, at, value)))
            tried += 1
            try:
                unshuffle.load(run) if name == "encoder.json" else folder.read(run)
            except (ValueError, RunError) as error:
                longest = max(longest, len(str(error)))
    assert tried > 100
    assert longest < 10_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"recipe":' * 50_000,
        "9" * 10_000,
        "NaN",
        "\x00",
        "[]",
        "3",
        "{}",
        '{"recipe": {"type": "Grid"}}',
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.parametrize("name", ["encoder.json", "recipe.json"])
def test_what_is_no_description_is_refused_in_words(name, text, run):
    (run / name).write_text(text)
    with pytest.raises((ValueError, RunError), match=r"cannot be (loaded|read)"):
        unshuffle.load(run) if name == "encoder.json" else folder.read(run)


def test_a_description_of_gigabytes_is_refused_without_reading_it(run):
    for name in ("encoder.json", "recipe.json"):
        os.truncate(run / name, 1 << 40)  # takes no room on the disk
        with pytest.raises((ValueError, RunError), match="larger than"):
            unshuffle.load(run) if name == "encoder.json" else folder.read(run)


@pytest.mark.parametrize("kind", ["numbers", "type", "nested"])
def test_fields_are_of_the_types_that_they_are_declared_with(kind):
    nested = {"type": "Grid", "rows": 3, "columns": 3, "gap": 0}
    for _ in range(40):
        nested = [nested]
    wrong = {
        "numbers": [{"type": "Grid", "rows": v, "columns": 3} for v in (True, 3.0, "3", None, [3])],
        "type": [{"type": "Shuffle", "patches": {"type": "SmallConv"}}],
        "nested": [nested],
    }[kind]
    for data in wrong:
        with pytest.raises(ValueError, match=r"must be|nested too deeply|cannot be read|no field"):
            values.from_json(data)


def test_nothing_is_downloaded_for_an_encoder_that_asks_for_it(run, monkeypatch):
    asked = []
    stub = ModuleType("timm")

    def create_model(name, *, pretrained, in_chans, num_classes):
        asked.append(pretrained)
        return nn.Sequential(nn.Conv2d(in_chans, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    stub.__dict__.update(__version__="1", create_model=create_model, is_model=lambda name: True)
    monkeypatch.setitem(sys.modules, "timm", stub)
    shutil.rmtree(run)
    recipe = replace(tiny.RECIPE, backbone=Timm("resnet18"))
    tiny.job(run, recipe=recipe)
    for name in ("encoder.json", "recipe.json"):
        told = (run / name).read_text().replace('"pretrained": false', '"pretrained": true')
        assert '"pretrained": true' in told
        plain = json.loads(told)
        plain.pop("checksum")
        (run / name).write_text(json.dumps(plain))
    asked.clear()

    encoder = unshuffle.load(run)
    encoder.untrained(torch.zeros(4, 1, 12, 12), seed=0)
    tiny.job(run, recipe=folder.read(run).recipe, resume=True)

    assert asked
    assert not any(asked)


def test_no_text_of_a_folder_becomes_markup(run):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    told = json.loads((run / "recipe.json").read_text()) | {"title": evil, "summary": evil, "revision": evil}
    (run / "recipe.json").write_text(json.dumps(told))
    supersede(run, [RESULT._replace(task=evil, metric=evil, data=evil, layer=evil, command=evil, machine=evil)])
    supersede(run, [Figure(evil, evil, evil, evil)])
    page = write_report(run).read_text()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<img src=x" not in page


# ------------------------------------------------------------------------------------------------------------ revision


def test_the_revision_of_a_strangers_repository_is_not_taken_and_no_program_is_run(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho 0123456789ab\n")
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    package = checkout(tmp_path / "theirs", ".venv/site-packages/unshuffle", project="theirs")
    assert revision(package) is None
    assert revision(checkout(tmp_path / "src layout", "src/unshuffle", project="theirs")) is None
    folder.create(tmp_path / "run", tiny.RECIPE, unshuffle.Machine(), data=None, title="")
    assert not (tmp_path / "ran").exists()


def checkout(root: Path, package: str, *, project: str = "unshuffle") -> Path:
    """A folder that looks like a repository with one commit, and a package in it."""
    (root / ".git/refs/heads").mkdir(parents=True)
    (root / ".git/HEAD").write_text("ref: refs/heads/main\n")
    (root / ".git/refs/heads/main").write_text("a1" * 20 + "\n")
    (root / "pyproject.toml").write_text(f'[project]\nname = "{project}"\n')
    (root / package).mkdir(parents=True)
    return root / package


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")
@pytest.mark.parametrize("form", ["branch", "packed", "detached", "worktree"])
def test_the_revision_of_our_own_checkout_is_that_which_git_names(form, tmp_path):
    root = tmp_path / "ours"

    def git(*words: str) -> str:
        settings = ["-c", "user.email=a@b", "-c", "user.name=a", "-C", str(root)]
        return subprocess.run(["git", *settings, *words], check=True, capture_output=True, text=True).stdout.strip()

    (root / "src/unshuffle").mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "unshuffle"\n')
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "--allow-empty", "-m", "one")
    commit = git("rev-parse", "HEAD")
    if form == "packed":
        git("pack-refs", "--all")
    elif form == "detached":
        git("checkout", "-q", "--detach")
    elif form == "worktree":
        git("worktree", "add", "-q", str(tmp_path / "linked"))
        root = tmp_path / "linked"
        (root / "src/unshuffle").mkdir(parents=True, exist_ok=True)

    assert revision(root / "src/unshuffle") == f"{commit[:12]}-unverified"


@pytest.mark.parametrize(
    "head", ["", "ref: ../../etc/passwd", "ref: refs/heads/../../../secret", "x" * 40, "ref: refs/heads/no"]
)
def test_a_repository_that_names_no_commit_gives_no_revision(head, tmp_path):
    package = checkout(tmp_path, "src/unshuffle")
    (tmp_path / "secret").write_text("ab" * 20)
    (tmp_path / ".git/HEAD").write_text(head)
    assert revision(package) is None
