"""Simulated worlds for stories and devnets: a main node with faults, a chain, wires between nodes."""
