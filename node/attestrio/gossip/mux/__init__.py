"""Many streams over one encrypted byte stream, as machines that cannot wait."""
