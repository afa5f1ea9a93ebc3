"""Which commit of unshuffle runs, read from its own checkout without running git.

Git would look in every folder above for a repository, so that an installed package would report the commit of whoever's
repository its environment lies in, and run the programs which that repository's configuration names.
"""

from __future__ import annotations

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCH = re.compile(r"ref: (refs/[\w./-]+)")


def revision(package: Path | None = None) -> str | None:
    """The commit that is checked out where this package comes from, as ``0123456789ab-unverified``.

    Whether files were changed since that commit is not known, which is what the ending says.

    Args:
        package: the folder of the package; None for this one.

    Returns:
        None if the package does not lie in a checkout of unshuffle.
    """
    package = (package or Path(__file__).parent.parent).resolve()
    root = package.parent.parent
    try:
        if package.parent.name != "src" or not _is_ours(root / "pyproject.toml"):
            return None
        commit = _head(_git_folder(root / ".git"))
    except (OSError, ValueError):
        return None
    return f"{commit[:12]}-unverified" if commit is not None else None


def _is_ours(project: Path) -> bool:
    return re.search(r'^name = "unshuffle"$', project.read_text(encoding="utf-8"), re.MULTILINE) is not None


def _git_folder(path: Path) -> Path:
    """The folder with ``HEAD``; in a linked work tree ``.git`` is a file that names it."""
    if path.is_dir():
        return path
    named = path.read_text(encoding="utf-8").strip()
    if not named.startswith("gitdir: "):
        raise ValueError(named)
    return path.parent / named.removeprefix("gitdir: ")


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    branch = _BRANCH.fullmatch(head)
    return _commit(head) if branch is None else _branch_commit(git, branch.group(1))


def _branch_commit(git: Path, branch: str) -> str | None:
    """The commit of a branch: in a file of its own, or in the file that packs many of them."""
    common = git / "commondir"
    place = git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
    if ".." not in branch and (place / branch).is_file():
        return _commit((place / branch).read_text(encoding="utf-8").strip())
    for line in (place / "packed-refs").read_text(encoding="utf-8").splitlines():
        commit, _, name = line.partition(" ")
        if name == branch:
            return _commit(commit)
    return None


def _commit(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None
