"""Operators import in a blink and need PyTorch alone; all else is imported when it is first used."""

import subprocess
import sys

import pytest

import unshuffle

HEAVY = ("lightning", "sklearn", "matplotlib", "PIL", "tyro", "rich", "pyarrow", "safetensors", "tensorboard", "pandas")

BLOCK = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_operators_and_losses_import_nothing_of_the_extras():
    code = (
        "import sys, unshuffle; unshuffle.ops.soft_rank; unshuffle.losses.fenchel_young; unshuffle.permutations.sample"
    )

    printed = run(f"{code}; print(*[m for m in {HEAVY} if m in sys.modules])")

    assert printed == ""


def test_dir_lists_what_is_worth_importing():
    assert dir(unshuffle) == sorted(unshuffle.__all__)
    assert all(hasattr(unshuffle, name) for name in dir(unshuffle))


@pytest.mark.errors
def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'unshuffle' has no attribute 'unshufle'"):
        _ = unshuffle.unshufle  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("package", "names"),
    [("lightning", ["fit", "recipes"]), ("PIL", ["fit", "load", "recipes"]), ("safetensors", ["load", "fit"])],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(package, names):
    code = (
        BLOCK.format(package=package)
        + f"""
import unshuffle
unshuffle.ops.soft_rank
for name in {names}:
    try:
        getattr(unshuffle, name)
    except ImportError as error:
        print(error)
"""
    )

    for name, line in zip(names, run(code).splitlines(), strict=True):
        assert line.startswith(f"unshuffle.{name} needs '{package}")
        assert line.endswith("pip install 'unshuffle[train]'")


def test_an_import_error_of_our_own_is_not_taken_for_a_missing_extra():
    code = (
        BLOCK.format(package="unshuffle_nothing")
        + """
import unshuffle
unshuffle._NAMES["fit"] = "unshuffle.nowhere"
try:
    unshuffle.fit
except ModuleNotFoundError as error:
    print(error.name)
"""
    )

    assert run(code) == "unshuffle.nowhere"


def test_the_package_alone_does_not_load_pytorch():
    assert run("import sys, unshuffle\nprint('torch' in sys.modules)") == "False"
