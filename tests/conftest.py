"""How much the properties are tried: `make check` sets ATTESTRIO_PROFILE=long, everything else tries fewer examples."""

from hypothesis import settings
from suite import PROFILE, examples

USUAL = 50

settings.register_profile("default", max_examples=USUAL, deadline=None, print_blob=True)
settings.register_profile("long", settings.get_profile("default"), max_examples=examples(USUAL))
settings.load_profile(PROFILE)
