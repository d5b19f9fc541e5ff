"""What a server of the broker refuses: it says so in its log alone, so its log is read for that.

``python -m tradesys.cluster.server_log n1 9101`` passes on what it reads, and counts. Who has no
key, a wrong one or a foreign certificate, says what another may say, or says too much at once, gets
no further than a server, so no system can count it.
"""

import re
import signal
import sys
from collections import Counter

from tradesys.cluster.metrics import Figures, serve_metrics
from tradesys.cluster.structured_log import log_to_stdout

REFUSALS = {
    "key": re.compile(r"authentication (error|timeout|expired)", re.IGNORECASE),
    "certificate": re.compile(r"TLS handshake error|bad certificate", re.IGNORECASE),
    "forbidden": re.compile(r"(publish|subscription) violation", re.IGNORECASE),
    "too large": re.compile(r"maximum payload", re.IGNORECASE),
}
"""The words of a server for what it refuses, by reason."""


def refusals(lines: list[str]) -> Counter[str]:
    """How often a server refused what, by its log."""
    said = (reason for line in lines for reason, words in REFUSALS.items() if words.search(line))
    return Counter(said)


def main(name: str, port: int) -> None:
    """Pass a server's log on to stdout, line by line, until it ends; answer over HTTP meanwhile."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a server ends by it, and then its log
    log_to_stdout(name)
    refused, ready = Counter[str](), False

    def figures() -> Figures:
        return {"refused": dict(refused)}

    serve_metrics(port, figures, lambda: "" if ready else "it is starting")
    for line in sys.stdin:
        sys.stdout.write(line)
        sys.stdout.flush()
        ready = ready or "Server is ready" in line
        refused.update(refusals([line]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
