"""A plugin that lets plain `pytest`, from any folder, run the tests and this one notebook.

Pytest itself heeds `testpaths` in the project's own folder only, and loads the conftest.py of the
folders that are named: not that of tests/, which sets the environment, if only the notebook is.
"""

from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)  # before pytest itself looks for conftest.py
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    paths = [str(early_config.rootpath / path) for path in early_config.getini("testpaths")]
    named = early_config.known_args_namespace.file_or_dir
    args += [] if named else paths
    named += paths


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out other notebooks, a reader's copies, say, unless they are named."""
    ours = [config.rootpath / path for path in config.getini("testpaths")]
    return True if collection_path.suffix == ".ipynb" and collection_path not in ours else None


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("dist", "no") == "load":  # pytest-xdist: a notebook's cells need one kernel
        config.option.dist = "loadfile"
