"""Metadata lives in setup.cfg, which the CMake install reads too."""

from setuptools import setup

setup()
