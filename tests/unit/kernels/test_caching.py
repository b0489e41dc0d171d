"""A kernel from the cache is made of what lies on disk now, whichever file it was inlined from."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from numba import config
from numba.core import caching
from numba.core.registry import CPUDispatcher

import retrieval.kernels
from retrieval.kernels.caching import Sources, stamp_kernels
from retrieval.kernels.kept import Kept

INNER = """
from numba import njit


@njit
def inner(x):
    return x + {}
"""
OUTER = """
from numba import njit

from {name}.deep import {what}


@njit(cache=True)
def outer(x):
    return {call}(x)
"""
ROOM = Path(retrieval.kernels.__file__).parent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a kernel that calls a function of another file, its sources known to Numba."""
    folder = tmp_path / f"room_{tmp_path.name}"
    (folder / "deep").mkdir(parents=True)
    for empty in (folder, folder / "deep"):
        (empty / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    monkeypatch.setattr(caching, "IndexDataCacheFile", caching.IndexDataCacheFile)
    return folder


def write(folder: Path, added: int, added_here: bool = True) -> None:
    what = "(\n    other as _other,\n    below,\n)" if added_here else "below"
    (folder / "outer.py").write_text(OUTER.format(name=folder.name, what=what, call="below.inner"))
    (folder / "deep" / "other.py").write_text("")
    (folder / "deep" / "below.py").write_text(INNER.format(added))


def fresh(folder: Path) -> Any:
    """The kernel, as a process that starts now has it."""
    for name in [name for name in sys.modules if name.split(".")[0] == folder.name]:
        del sys.modules[name]
    importlib.invalidate_caches()
    caching.CacheImpl._locator_classes[:] = [caching.InTreeCacheLocator, caching.UserWideCacheLocator]
    stamp_kernels(Sources(folder, folder.name))
    return importlib.import_module(f"{folder.name}.outer").outer


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")
@pytest.mark.parametrize("form", [True, False])
def test_an_inlined_function_changed(package: Path, form: bool) -> None:
    write(package, 1, form)
    kernel = fresh(package)
    assert kernel(1) == 2 and sum(kernel.stats.cache_hits.values()) == 0
    kernel = fresh(package)
    assert kernel(1) == 2 and sum(kernel.stats.cache_hits.values()) == 1
    write(package, 5, form)  # another file than the kernel's, of the same length
    kernel = fresh(package)
    assert kernel(1) == 6 and sum(kernel.stats.cache_hits.values()) == 0
    assert sum(fresh(package)(1) for _ in range(2)) == 12


def hits(kernel: Any) -> int:
    return sum(kernel.stats.cache_hits.values())


def files(folder: Path) -> dict[str, bytes]:
    """What is kept of the kernel."""
    kept = (folder / "__pycache__").iterdir()
    return {each.name: each.read_bytes() for each in kept if each.suffix in (".nbc", ".nbi")}


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")
def test_what_other_sources_were_compiled_to_is_removed(package: Path) -> None:
    for added in range(3):
        write(package, added)
        kernel = fresh(package)
        assert (kernel(1), kernel(1.5)) == (added + 1, added + 1.5)
    assert len([name for name in files(package) if name.endswith(".nbc")]) == 2
    kernel._cache.flush()
    assert not files(package)


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")
def test_two_processes_that_compile_at_the_same_time(package: Path) -> None:
    """Neither has seen what the other one keeps, and the first is the last to write what it compiled."""
    write(package, 1)
    assert fresh(package)(1) == 2
    first = files(package)
    for name in first:
        (package / "__pycache__" / name).unlink()
    assert fresh(package)(1.5) == 2.5
    for name in first:
        if name.endswith(".nbc"):
            (package / "__pycache__" / name).write_bytes(first[name])
    kernel = fresh(package)
    assert (kernel(1.5), kernel(1)) == (2.5, 2)


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")
@pytest.mark.parametrize("kept", [0, 40, -1])
def test_what_was_cut_short_is_compiled_again(package: Path, kept: int) -> None:
    write(package, 1)
    assert fresh(package)(1) == 2
    whole = files(package)
    for name in whole:
        (package / "__pycache__" / name).write_bytes(whole[name][:kept])
    kernel = fresh(package)
    assert kernel(1) == 2 and hits(kernel) == 0
    kernel = fresh(package)
    assert kernel(1) == 2 and hits(kernel) == 1


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")
def test_a_folder_that_goes_and_comes(package: Path) -> None:
    write(package, 1)
    kernel = fresh(package)
    shutil.rmtree(package / "__pycache__")
    assert kernel(1) == 2 and files(package)
    shutil.rmtree(package / "__pycache__")
    (package / "__pycache__").write_text("no folder")
    assert kernel(1.5) == 2.5


@pytest.mark.skipif(sys.platform != "linux" or bool(config.DISABLE_JIT), reason="where the user's cache lies")
def test_where_nothing_can_be_written_every_process_compiles(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    write(package, 1)
    (package / "__pycache__").write_text("no folder")
    for _ in range(2):
        kernel = fresh(package)
        assert kernel(1) == 2 and hits(kernel) == 0


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")
def test_kernels_of_others_are_kept_as_they_were(package: Path) -> None:
    write(package, 1)
    fresh(package)
    made = caching.IndexDataCacheFile(cache_path="", filename_base="a", source_stamp=("other", "stamp"))
    assert not isinstance(made, Kept)


@pytest.mark.skipif(sys.platform != "linux" or bool(config.DISABLE_JIT), reason="where the user's cache lies")
def test_a_package_that_cannot_be_written(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(package, 1)
    (package / "__pycache__").write_text("no folder")
    assert fresh(package)(1) == 2
    kernel = fresh(package)
    assert kernel(1) == 2 and sum(kernel.stats.cache_hits.values()) == 1
    assert list((tmp_path / "cache").rglob("*.nbc"))


def test_an_unknown_numba_keeps_its_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", known := [caching.InTreeCacheLocator])
    files = caching.IndexDataCacheFile
    monkeypatch.delattr(caching, "_CacheLocator")
    stamp_kernels(Sources(ROOM, "retrieval.kernels"))
    assert known == [caching.InTreeCacheLocator] and caching.IndexDataCacheFile is files
    monkeypatch.delattr(caching.CacheImpl, "_locator_classes")
    stamp_kernels(Sources(ROOM, "retrieval.kernels"))


def test_what_does_not_lie_in_files(tmp_path: Path) -> None:
    sources = Sources(tmp_path, "nothing")
    assert str(tmp_path / "a.py") in sources and f"{tmp_path}s{os.sep}a.py" not in sources
    with pytest.raises(OSError, match=r"a\.py"):
        sources.stamp(str(tmp_path / "a.py"))


def modules() -> list[ModuleType]:
    found = pkgutil.walk_packages(retrieval.kernels.__path__, "retrieval.kernels.")
    names = [each.name for each in found if not each.name.endswith(("cuda", ".tiles"))]
    return [importlib.import_module(name) for name in names]


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")
def test_every_kernel_is_stamped_with_what_it_is_made_of() -> None:
    sources, kernels = Sources(ROOM, "retrieval.kernels"), 0
    for module in modules():
        reached = sources.reached(str(module.__file__))
        for value in vars(module).values():
            if isinstance(value, CPUDispatcher):
                file = inspect.getfile(value.py_func)
                assert file in reached, f"{module.__name__} is made of {file}"
                if isinstance(value._cache, caching.FunctionCache):
                    kernels += 1
                    stamp = value._cache._impl.locator.get_source_stamp()
                    assert stamp[1] == sources.stamp(file)
    assert kernels > 100
