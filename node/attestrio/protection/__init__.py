"""Never sign twice, never lose what was signed: the record every vote goes through, and what stops a node for good."""
