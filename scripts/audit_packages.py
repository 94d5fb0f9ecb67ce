"""Ask PyPI's advisories about what is installed; without the service, say that it was not run."""

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

_LIMIT_S = 40


def main() -> int:
    """0 where nothing is known to be bad, or nobody can be asked; 1 with a line for each hole."""
    if find_spec("pip_audit") is None:
        return _not_run("pip-audit is not installed; type: pip install pip-audit")
    words = [sys.executable, "-m", "pip_audit", "--local", "--progress-spinner", "off"]
    try:
        done = subprocess.run(
            [*words, "--format", "json", "--timeout", "5"],
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=_LIMIT_S,
        )
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return _not_run(f"the advisory service did not answer within {_LIMIT_S} s")
    except (ValueError, KeyError):
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return _not_run(f"the advisory service cannot be reached ({said[:200]})")
    return _verdict(packages)


def _verdict(packages: list[dict[str, Any]]) -> int:
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        return _not_run("the package index here has no advisories")
    holes = [(package, hole) for package in asked for hole in package.get("vulns", ())]
    for package, hole in holes:
        fixed = ", ".join(hole["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {hole['id']}, mended in {fixed}")
    print(f"pip-audit: {len(holes)} known holes in {len(asked)} of {len(packages)} packages")
    return 1 if holes else 0


def _not_run(why: str) -> int:
    print(f"pip-audit: not run: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
