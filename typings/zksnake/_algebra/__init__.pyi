"""One extension file; its curves are modules inside it, to be had only by `from zksnake._algebra import ...`."""
from zksnake._algebra import ec_bn254 as ec_bn254
