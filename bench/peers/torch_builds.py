"""Packages that are compiled against one version of torch: with another they crash, so they are refused."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

__all__ = ["check_torch"]


def check_torch(package: str) -> None:
    """Refuse a package whose torch is not the one that is installed.

    Raises:
        ImportError: it is not installed, or built for another torch.
    """
    try:
        wanted = [Requirement(text) for text in requires(package) or ()]
        found = version("torch").partition("+")[0]  # +cpu says nothing of the interface
    except PackageNotFoundError as error:
        raise ImportError(f"{error.name or package} is not installed") from None
    for requirement in wanted:
        if requirement.name == "torch" and not requirement.specifier.contains(found):
            raise ImportError(
                f"{package} {version(package)} is built for torch{requirement.specifier}, here is {found}; "
                "install the build that fits"
            )
