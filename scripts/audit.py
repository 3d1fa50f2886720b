"""Ask for known vulnerabilities of the dependencies that were tested: part of ``make check``.

What is found fails. Where the service that knows them cannot be reached, that is said and nothing fails: a check that
needs the network must not keep anybody without one from working.
"""

import json
import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
UNREACHABLE = ("ServiceError", "ConnectionError", "Max retries exceeded", "Failed to resolve", "HTTPError", "Timeout")


def main() -> int:
    """Return the exit code: 1 where something was found."""
    pinned = [line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if "+" not in line]
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--no-deps",
        "--disable-pip",
        "--progress-spinner",
        "off",
        "--format",
        "json",
    ]
    try:
        done = subprocess.run(
            [*command, "--timeout", "10", "--requirement", "/dev/stdin"],
            input="\n".join(pinned),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print("audit: skipped, the vulnerability service did not answer in three minutes")
        return 0
    try:
        audited = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        if any(word in done.stderr for word in UNREACHABLE):
            print("audit: skipped, the vulnerability service cannot be reached from here")
            return 0
        print(f"audit: failed\n{done.stderr.strip()}")
        return 1
    found = [one for one in audited if one.get("vulns")]
    for one in found:
        for fault in one["vulns"]:
            mended = ", ".join(fault["fix_versions"]) or "no release yet"
            print(f"audit: {one['name']} {one['version']}: {fault['id']}, mended in {mended}")
    # A mirror of the package index has the packages and not what is known of them.
    unknown = sum("skip_reason" in one for one in audited)
    print(f"audit: {len(audited) - unknown} dependencies looked up, {len(found)} with a known vulnerability")
    if unknown:
        print(f"audit: of {unknown} others nothing could be asked from here; they are NOT audited")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
