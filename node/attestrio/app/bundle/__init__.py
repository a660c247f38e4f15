"""What somebody who helps needs to see of a process, in one file, and nothing that is secret."""

from attestrio.app.bundle.collect import collect
from attestrio.app.bundle.redact import Redactor
from attestrio.app.bundle.secrets import secrets_of

__all__ = ["Redactor", "collect", "secrets_of"]
