"""Look the locked packages up in the advisory database: a known vulnerability fails, an unreachable database does not.

pip-audit alone exits 0 with "No known vulnerabilities" when the database answered for no package at all.
"""

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements" / "dev.txt"
SECONDS = 180


def main() -> int:
    """Return the exit code: 1 only when a locked package has a known vulnerability."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print(f"pip-audit: NOT AUDITED, the advisory database did not answer within {SECONDS} s.")
        return 0
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"pip-audit: NOT AUDITED, the advisory database was not reached: {reason}")
        return 0
    audited = [package for package in packages if "skip_reason" not in package]
    vulnerable = [package for package in audited if package["vulns"]]
    for package in vulnerable:
        for vulnerability in package["vulns"]:
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}")
    if len(audited) < len(packages):
        print(f"pip-audit: NOT AUDITED, {len(packages) - len(audited)} of {len(packages)} packages had no answer.")
    print(f"pip-audit: {len(audited)} packages audited, {len(vulnerable)} vulnerable.")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
