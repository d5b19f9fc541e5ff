"""What a process of a cluster tells its operator: a line of JSON for each event, on stdout.

::

    {"at": "2026-11-30T12:00:00.123456Z", "level": "info", "event": "ready", "system": "c1"}
"""

import datetime as dt
import json
import logging
import sys

logger = logging.getLogger("tradesys.cluster")


class JsonLines(logging.Formatter):
    """Formats a record as one line: the message is the event, ``about`` says what it is about."""

    def __init__(self, system: str) -> None:
        super().__init__()
        self.system = system

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object, without line breaks."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="microseconds")
        told = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "system": self.system,
        }
        told |= getattr(record, "about", {})
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def note(event: str, level: int = logging.INFO, **about: object) -> None:
    """Log an event of this process, and what it is about."""
    logger.log(level, event, extra={"about": about})


def log_to_stdout(system: str) -> None:
    """Have all that this process logs written as lines of JSON in the name of a system."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(system))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
