"""For tools that know no pyproject.toml, where all of the package's facts stand."""

from setuptools import setup

setup()
