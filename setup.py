"""Installs configs/ as the folder polyp/configs, which pyproject.toml cannot express."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["polyp", "polyp.*"]), "polyp.configs"],
    package_dir={"polyp.configs": "configs"},
    package_data={
        "polyp": ["py.typed"],
        "polyp.configs": ["**/*.yaml"],
        "polyp.data": ["*.json", "checksums/*.txt"],
        "polyp.report": ["templates/*"],
        "polyp.viewer": ["page/*"],
    },
)
