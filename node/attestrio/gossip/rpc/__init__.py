"""Remote calls: their numbers, their messages, and the machine that runs them over a mux."""
