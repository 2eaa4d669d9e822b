"""Property tests here are quick and never time a single example: a loaded machine is no failure."""

from hypothesis import settings

settings.register_profile("unit", deadline=None, max_examples=100)
settings.load_profile("unit")
