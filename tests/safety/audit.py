"""Known holes in the installed packages, by pip-audit; says so where nobody could be asked."""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    """0: nothing known, or not checked; 1: holes, each named with the release that closes it."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"pip-audit: NOT CHECKED, the advisories could not be had: {_last(done.stderr)}")
        return 0
    return report(packages)


def report(packages: list[dict]) -> int:
    """Tell what pip-audit found."""
    skipped = [package for package in packages if "skip_reason" in package]
    holes = [(package, hole) for package in packages for hole in package.get("vulns", ())]
    for package, hole in holes:
        fixed = ", ".join(hole["fix_versions"]) or "no release yet"
        print(f"pip-audit: {package['name']} {package['version']}: {hole['id']}, closed by {fixed}")
    if len(skipped) == len(packages):
        print("pip-audit: NOT CHECKED, the package index here knows no advisories")
    else:
        checked = len(packages) - len(skipped)
        print(f"pip-audit: {checked} packages checked, {len(skipped)} not, {len(holes)} holes")
    return int(bool(holes))


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


if __name__ == "__main__":
    sys.exit(main())
