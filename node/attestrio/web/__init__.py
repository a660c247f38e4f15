"""What an operator sees of a running process: the status document, the page that shows it, health and metrics."""
