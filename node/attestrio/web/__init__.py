"""What an operator sees of a running process: the status document, the page that shows it, health and metrics."""

from attestrio.web.api import BatchView, Source, StatusView

__all__ = ["BatchView", "Source", "StatusView"]
