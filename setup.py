"""All packages, by search: setup.cfg, which has everything else, can search one folder only."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["nmcore*"]), *find_packages("backends")])
