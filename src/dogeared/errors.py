"""The errors a user can meet, and nothing else.

::

    DogearedError
    ├── DataError       a file or a record is not what a reader of it needs (file, line, field)
    ├── ConfigError     a setting is unknown, malformed or contradicts another (key)
    ├── ArtifactError   a finished directory is missing, altered, or belongs to other settings
    ├── ModelError      a model cannot be loaded, or is not of the needed kind
    ├── ResourceError   the machine lacks disk, memory or a permission
    └── TrainingError   training cannot go on, or would teach nothing

A message says what was expected, what came, why that matters where it is not plain, and what to do. Only the command
line and the web service turn these into exit codes and statuses. A broken invariant of our own is an ``assert``.
"""

__all__ = [
    "ArtifactError",
    "ConfigError",
    "DataError",
    "DogearedError",
    "ModelError",
    "ResourceError",
    "TrainingError",
]


class DogearedError(Exception):
    """Any error whose cause the user can mend; the base of all others."""


class DataError(DogearedError):
    """A file or a record is not what a reader of it needs.

    Attributes:
        file: The file, or a name for the source; None where there is none.
        line: The line, counted from 1; None where the fault is not in one line.
        field: The path into the record, such as ``ctxs[3].text``; None where the whole record is meant.
        reason: What was expected and what came.
    """

    def __init__(
        self, reason: str, *, file: object | None = None, line: int | None = None, field: str | None = None
    ) -> None:
        self.reason = reason
        self.file = None if file is None else str(file)
        self.line = line
        self.field = field
        place = ":".join(str(part) for part in (self.file, line) if part is not None)
        super().__init__(": ".join(part for part in (place, field, reason) if part))


class ConfigError(DogearedError):
    """A setting is unknown, malformed or contradicts another; the message names its key."""


class ArtifactError(DogearedError):
    """A finished directory is missing, altered, or was made with other settings or inputs."""


class ModelError(DogearedError):
    """A model cannot be loaded, or is not of the kind that a step needs."""


class ResourceError(DogearedError):
    """The machine lacks disk, memory or a permission; the message says how much of what, as far as that is known."""


class TrainingError(DogearedError):
    """Training cannot go on, or would teach nothing."""
