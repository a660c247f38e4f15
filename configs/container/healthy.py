"""Exit 0 when the process in this container says that it is ready, else 1 and why. Needs nothing but Python."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request

URL = os.environ.get("HEALTH_URL", "http://127.0.0.1:9464/readyz")
TIMEOUT_S = 3.0
MOST = 65_536


def asked(url: str) -> tuple[bool, str]:
    """Whether it is ready, and what is not well."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy of the environment is for others
    try:
        with direct.open(url, timeout=TIMEOUT_S):
            return True, "ready"
    except urllib.error.HTTPError as answer:
        with answer:
            return False, reasons(answer.read(MOST)) or f"{url} answers {answer.code}"
    except OSError as exc:
        return False, f"{url} does not answer: {exc}"


def reasons(body: bytes) -> str:
    """The checks that failed, in one line; empty when the answer is not that of a process of ours."""
    try:
        checks = json.loads(body)["checks"]
        return "; ".join(f"{one['name']}: {one['reason']}" for one in checks if not one["ok"])
    except (ValueError, KeyError, TypeError):
        return ""


if __name__ == "__main__":
    ok, text = asked(URL)
    print(text)
    sys.exit(0 if ok else 1)
