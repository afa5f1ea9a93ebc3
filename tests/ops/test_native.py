"""The door to the library in C: when it opens, what it lets through, and how the library gets into the package."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch
from oracles import numbers
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unshuffle import _compiled
from unshuffle.data import _native as views_native
from unshuffle.losses import fenchel_young
from unshuffle.ops import _native
from unshuffle.ops.assignment import assign
from unshuffle.ops.perturbed import perturbed_rank
from unshuffle.ops.sinkhorn import sinkhorn
from unshuffle.ops.soft_rank import soft_rank, soft_sort
from unshuffle.ops.soft_topk import soft_topk
from unshuffle.ops.sorting_network import sorting_network

ROOT = Path(__file__).resolve().parents[2]
OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "soft_rank[l2]": soft_rank,
    "soft_rank[kl]": partial(soft_rank, regularization="kl"),
    "soft_sort[l2]": soft_sort,
    "soft_sort[kl]": partial(soft_sort, regularization="kl"),
    "soft_topk[l2]": lambda values: soft_topk(values, 3),
    "soft_topk[kl]": lambda values: soft_topk(values, 3, regularization="kl"),
    "perturbed_rank": perturbed_rank,
}

every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
with_the_library = pytest.mark.skipif(not _native.available(), reason="the library in C was not built here")


@pytest.fixture
def load_instead(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Has the door look for its library at another place."""
    return lambda path: monkeypatch.setattr(_native, "_load", partial(_native._load, path))


@pytest.fixture(scope="module")
def hatch_build() -> ModuleType:
    """The build hook, which lies beside the sources and not in the package."""
    pytest.importorskip("hatchling", reason="the build hook needs hatchling")
    path = ROOT / "hatch_build.py"
    if not path.is_file():
        pytest.skip("these tests do not lie in a checkout")
    spec = importlib.util.spec_from_file_location("hatch_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads, for the length of a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def assert_ranks_are_right() -> None:
    ranks = soft_rank(torch.tensor([5.0, 1.0, 2.0]), regularization_strength=0.1)

    assert ranks.tolist() == [3.0, 1.0, 2.0]


def value_and_gradient(operator: Callable[[Tensor], Tensor], values: Tensor) -> tuple[Tensor, Tensor]:
    answer = operator(values)
    return answer.detach(), torch.autograd.grad(answer, values, numbers(*values.shape, seed=1))[0]


# ------------------------------------------------------------------------------------------------- when the door opens


@pytest.mark.skipif(os.environ.get("UNSHUFFLE_BUILD_NATIVE") != "1", reason="no library was asked for")
def test_the_library_is_there_where_it_was_asked_for():
    assert _native.available()
    assert views_native.available()


def test_without_the_library_operators_run_in_pytorch(load_instead, tmp_path, recwarn):
    load_instead(tmp_path / "nothing")

    assert not _native.available()
    assert_ranks_are_right()
    assert not recwarn.list  # an installation without a compiler is as good as any


def test_a_file_that_is_no_library_is_left_alone_with_a_warning(load_instead, tmp_path):
    path = tmp_path / _native.LIBRARY.name
    path.write_text("no library")
    load_instead(path)

    with pytest.warns(UserWarning, match=rf"{path.name} is not used .* Install again"):
        assert not _native.available()
    assert_ranks_are_right()


@pytest.mark.parametrize("change", ["/* changed */", None], ids=["other sources", "another library"])
def test_a_library_from_other_sources_is_left_alone_with_a_warning(load_instead, hatch_build, tmp_path, change):
    folder, path = tmp_path / "sources", tmp_path / _native.LIBRARY.name
    shutil.copytree(_native.FOLDER, folder, ignore=None if change else shutil.ignore_patterns("*.[ch]"))
    (folder / "more.c").write_text(change or "int answer(void) { return 42; }")
    problem = hatch_build.compile_library(folder, path, ["-O0"])  # it is opened, and never run
    if problem:
        pytest.skip(problem)
    load_instead(path)

    with pytest.warns(UserWarning, match="built from other sources" if change else "unshuffle_fingerprint"):
        assert not _native.available()
    assert_ranks_are_right()


@pytest.mark.once
@pytest.mark.parametrize("switch", ["0", "1"])
def test_the_environment_switches_both_libraries_off(switch):
    program = (
        "from unshuffle.data import _native as data; from unshuffle.ops import _native as ops;"
        "print(data._load.cache_info().currsize, data.available(), ops.available())"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "UNSHUFFLE_NATIVE": switch},
        capture_output=True,
        text=True,
        check=True,
    )

    expected = [switch == "1" and door._load() is not None for door in (views_native, _native)]
    assert done.stdout.split() == ["0", *map(str, expected)]  # loaded on first use, and not before


def test_it_is_on_again_after_an_error():
    before = _native.available()

    def fail_inside() -> None:
        with _native.disabled():
            with _native.disabled():
                assert not _native.available()
            assert not _native.available()  # the inner one gave back what it found
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()

    assert _native.available() == before


# ---------------------------------------------------------------------------------------------- what it lets through


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "every other item": lambda values: values[:, ::2],
    "every other set": lambda values: values[::2],
    "from the middle": lambda values: values[1:, 2:],
    "transposed": lambda values: values.T,
    "one set for all": lambda values: values[0].expand(4, -1),
    "one value for all": lambda values: values[:, :1].expand(-1, 7),
    "axes swapped": lambda values: values.reshape(2, 3, -1).transpose(0, 1),
}


@every_operator
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_how_values_lie_in_memory_does_not_show(operator, layout):
    values = layout(numbers(6, 10))

    value, slope = value_and_gradient(operator, values.detach().requires_grad_())

    expected, expected_slope = value_and_gradient(operator, values.contiguous().requires_grad_())
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    torch.testing.assert_close(slope, expected_slope, rtol=0, atol=0)


@every_operator
def test_how_slopes_lie_in_memory_does_not_show(operator):
    values = numbers(6, 10).requires_grad_()
    one_for_all, transposed = torch.ones(()).double().expand(6, 10), numbers(10, 6).T

    for slope in (one_for_all, transposed):
        (expected,) = torch.autograd.grad(operator(values), values, slope.contiguous())
        torch.testing.assert_close(torch.autograd.grad(operator(values), values, slope)[0], expected, rtol=0, atol=0)


WITH_GRADIENTS: dict[str, Callable[[Tensor], Tensor]] = {
    **OPERATORS,
    "soft_rank along the first axis": partial(soft_rank, dim=0),
    "sinkhorn": sinkhorn,
    "assign": lambda scores: assign(scores) + 0 * scores.sum(-1),
    "sorting_network": lambda values: sorting_network(values).matrix,
    "fenchel_young": lambda values: fenchel_young(values, values.detach().argsort(-1).argsort(-1) + 1.0),
}


@pytest.mark.parametrize("operator", WITH_GRADIENTS.values(), ids=WITH_GRADIENTS)
def test_another_default_device_changes_nothing_for_values_on_the_cpu(operator):
    """Memory for the library is on the CPU, whatever the device of new tensors: else it writes to no address."""
    values = numbers(6, 7, seed=3).requires_grad_()

    def answer_and_gradient() -> tuple[Tensor, Tensor]:
        answer = operator(values)
        return answer.detach(), torch.autograd.grad(answer, values, torch.ones_like(answer))[0]

    expected = answer_and_gradient()
    with torch.device("meta"):
        found = answer_and_gradient()

    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.errors
@pytest.mark.parametrize(
    "other",
    [torch.zeros(6, 9), torch.zeros(5, 10), torch.zeros(60), torch.zeros(6, 10).double(), torch.zeros(6, 10).int()],
    ids=["short rows", "few rows", "flat", "float64", "int32"],
)
@pytest.mark.parametrize("dim", [0, 1])
def test_rows_of_another_shape_or_dtype_do_not_pass_the_door(other, dim):
    with pytest.raises(ValueError, match="unshuffle: expected"):
        _native.Layout(torch.zeros(6, 10), dim).dense(other, dim)


@with_the_library
@every_operator
@pytest.mark.parametrize("shape", [(1, 20_000), (3, 7000), (500, 50)], ids=str)
def test_threads_share_sets_and_change_no_bit(operator, shape, threads):
    if operator is perturbed_rank:
        shape = (shape[0], min(shape[1], 200))  # all pairs are compared
    values = numbers(*shape).requires_grad_()
    expected, expected_slope = value_and_gradient(operator, values)

    threads(4)
    value, slope = value_and_gradient(operator, values)

    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    torch.testing.assert_close(slope, expected_slope, rtol=0, atol=0)


@every_operator
def test_several_callers_at_once_do_not_meet(operator, threads):
    threads(2)
    batches = [numbers(80, 120, seed=seed).requires_grad_() for seed in range(6)]
    expected = [value_and_gradient(operator, values) for values in batches]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(partial(value_and_gradient, operator), batches))

    torch.testing.assert_close(answers, expected, rtol=0, atol=0)


class Ranked(Dataset):
    """Two samples of which each is ranks of its own."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Tensor:
        return soft_rank(numbers(200, 120, seed=index))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_loader_works_after_a_call_on_several_threads(threads):
    threads(2)
    expected = [Ranked()[index] for index in range(2)]

    # The timeout turns a process that hangs into a failure.
    loader = DataLoader(Ranked(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=600)

    torch.testing.assert_close(list(loader), expected, rtol=0, atol=0)


# ----------------------------------------------------------------------------------------- how it gets into the package


@pytest.mark.parametrize("door", [_native, views_native], ids=["ops", "data"])
def test_the_hook_and_the_door_take_the_same_fingerprint(hatch_build, door):
    assert hatch_build._fingerprint(door.FOLDER) == _compiled.fingerprint(door.FOLDER)


@pytest.fixture
def build_wheel(hatch_build: ModuleType, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Builds a wheel of this checkout into ``tmp_path``, from a copy of it."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "src", project / "src", ignore=shutil.ignore_patterns("assets", "__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    # The licence of the data, which was left out for speed.
    (project / "src/unshuffle/data/assets").mkdir()
    (project / "src/unshuffle/data/assets/NOTICE.txt").touch()

    def build(**environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
        # Whether there is a library, and under which name, is asked; not how fast it is.
        environment = {**os.environ, "UNSHUFFLE_BUILD_NATIVE": "", "UNSHUFFLE_CFLAGS": "-O0", **environment}
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)

    return build


def libraries_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name.split("/")[1] for name in archive.namelist() if name.endswith(f"/_native/{_compiled.NAME}")}


@pytest.mark.once
def test_without_a_compiler_the_wheel_is_pure(build_wheel, tmp_path):
    done = build_wheel(CC="/nonexistent")

    (wheel,) = tmp_path.glob("*.whl")
    assert done.returncode == 0
    assert "no C library, PyTorch does its work" in done.stdout + done.stderr
    assert wheel.name.endswith("py3-none-any.whl")
    assert not libraries_in(wheel)  # although one of an earlier build lay there


@pytest.mark.once
def test_a_library_that_is_asked_for_and_cannot_be_built_fails_the_build(build_wheel, tmp_path):
    done = build_wheel(CC="/nonexistent", UNSHUFFLE_BUILD_NATIVE="1")

    assert done.returncode != 0
    assert "the C library was not built: " in done.stderr
    assert not list(tmp_path.glob("*.whl"))


@pytest.mark.once
def test_a_library_that_is_not_wanted_is_not_built(build_wheel, tmp_path):
    build_wheel(UNSHUFFLE_BUILD_NATIVE="0")

    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("py3-none-any.whl")


@pytest.mark.once
@with_the_library
def test_with_a_compiler_one_wheel_serves_every_python_of_the_platform(build_wheel, tmp_path):
    done = build_wheel()
    if "no C library" in done.stdout + done.stderr:
        pytest.skip("there is no C compiler here")

    (wheel,) = tmp_path.glob("*.whl")
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("any.whl")
    assert libraries_in(wheel) == {"ops", "data"}
