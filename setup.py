"""All that pyproject.toml cannot say: configs/ is installed as the folder polyp/configs."""

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
