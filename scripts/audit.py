"""Check the dependencies against published advisories: by pip-audit where it reaches them, and by our own list always.

``make audit`` runs it; ``--offline`` uses the list alone. Exits with 1 if an affected version is admitted or pinned.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import tomllib
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def problems() -> list[str]:
    """One line for each affected version that a requirement admits or a constraint pins."""
    advisories = tomllib.loads((ROOT / "scripts/advisories.toml").read_text())["advisory"]
    return [
        f"{where}: {requirement} admits {version}: {advisory['id']}, {advisory['what']}"
        for where, requirement in _requirements()
        for advisory in advisories
        if canonicalize_name(requirement.name) == advisory["package"] and not _accepted(requirement, advisory)
        for version in _affected(requirement, advisory)
    ]


def _requirements() -> list[tuple[str, Requirement]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["dependencies"] + [line for extra in project["optional-dependencies"].values() for line in extra]
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    declared = [("pyproject.toml", Requirement(text)) for text in texts]
    return declared + [("constraints.txt", Requirement(pin)) for pin in pins]


def _accepted(requirement: Requirement, advisory: dict[str, Any]) -> bool:
    """Whether the requirement is only for an interpreter for which no release without the flaw exists."""
    return "accepted" in advisory and requirement.marker == Marker(advisory["accepted"])


def _affected(requirement: Requirement, advisory: dict[str, Any]) -> list[str]:
    """Affected versions among the lowest and the pinned ones that the requirement admits, and those listed singly."""
    lowest = [part.version for part in requirement.specifier if part.operator in (">=", "==", "~=")]
    ranges = SpecifierSet(advisory.get("affected", "<0"))
    listed = [version for version in advisory.get("versions", []) if version in requirement.specifier]
    without_floor = [] if lowest or "affected" not in advisory else ["any version"]
    return [version for version in lowest if version in ranges] + listed + without_floor


def _pip_audit() -> str | None:
    """What pip-audit found, or None where it reaches no advisories."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip"]
    done = subprocess.run([*command, "-f", "json"], capture_output=True, text=True)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return None
    checked = [entry for entry in found if "skip_reason" not in entry]
    if not checked:
        return None
    return "\n".join(f"{entry['name']} {entry['version']}: {v['id']}" for entry in checked for v in entry["vulns"])


def main() -> int:
    """Print what was checked and what is affected."""
    found = problems()
    online = None if "--offline" in sys.argv else _pip_audit()
    print(f"The list of advisories: {len(found)} affected.", *found, sep="\n  ")
    if online is None:
        print("pip-audit: not used, or it reaches no advisories from here.")
    else:
        print(f"pip-audit: {online or 'nothing found.'}")
    return 1 if found or online else 0


if __name__ == "__main__":
    sys.exit(main())
