"""Modules that are found rather than named."""

import importlib
import pkgutil


def import_submodules(package: str) -> None:
    """Import every module of a package of ours, so that its classes are known.

    Records list them among the code of a step by the constant name in the call; its digest leaves them out
    (`preftune.provenance.digest`).
    """
    found = importlib.import_module(package)
    for module in sorted(module.name for module in pkgutil.iter_modules(found.__path__)):
        importlib.import_module(f"{package}.{module}")
