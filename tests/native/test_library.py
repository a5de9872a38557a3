"""Functions of our own are compiled where that is possible, kept for their owner alone, and never missed."""

from __future__ import annotations

import shutil
import stat

import pytest

from vlm.native import library as native

STUB = f'extern "C" {{ {" ".join(f"void {name}() {{}}" for name in native.SIGNATURES)} }}'
compiles = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A stub in place of the functions, wanted on any CPU, and an empty cache; gives the cache."""
    (tmp_path / "stub.cpp").write_text(STUB)
    monkeypatch.setattr(native, "SOURCES", (tmp_path / "stub.cpp",))
    monkeypatch.setattr(native, "NEEDED", set())
    monkeypatch.delenv("GLASSBOX_KERNEL", raising=False)
    monkeypatch.delenv("GLASSBOX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native.library.cache_clear()
    yield tmp_path / "cache" / "glassbox-vl" / "kernels"
    native.library.cache_clear()


def test_switched_off(alone, monkeypatch):
    monkeypatch.setenv("GLASSBOX_KERNEL", "off")
    assert native.library() is None and not alone.exists()


def test_a_cpu_without_the_instructions_and_a_system_that_does_not_tell(alone, monkeypatch, tmp_path):
    monkeypatch.setattr(native, "NEEDED", {"avx512_vnni"})
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2\n")
    for cpuinfo in (tmp_path / "cpuinfo", tmp_path / "nowhere"):
        monkeypatch.setattr(native, "CPUINFO", cpuinfo)
        native.library.cache_clear()
        assert native.library() is None and not alone.exists()


def test_no_compiler(alone, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert native.library() is None
    assert not any(alone.iterdir())


@compiles
def test_a_compiler_that_fails(alone, tmp_path):
    (tmp_path / "stub.cpp").write_text("no C++")
    assert native.library() is None
    assert not any(alone.iterdir())


@compiles
def test_what_was_compiled_is_its_owners_alone(alone):
    alone.mkdir(parents=True, mode=0o777)
    assert native.library() is not None
    (file,) = alone.iterdir()
    assert stat.S_IMODE(alone.stat().st_mode) == stat.S_IMODE(file.stat().st_mode) == 0o700
    native.library.cache_clear()
    made = file.stat().st_mtime_ns
    assert native.library() is not None and file.stat().st_mtime_ns == made  # found again
    file.chmod(0o722)
    native.library.cache_clear()
    assert native.library() is not None
    assert file.stat().st_mtime_ns != made and stat.S_IMODE(file.stat().st_mode) == 0o700  # made anew


@compiles
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_folder_that_is_not_ones_own_is_not_used(alone, monkeypatch, tmp_path, elsewhere):
    if elsewhere:
        (tmp_path / "elsewhere").mkdir()
        alone.parent.mkdir(parents=True)
        alone.symlink_to(tmp_path / "elsewhere")
    else:
        monkeypatch.setenv("GLASSBOX_CACHE", "off")
    assert native.library() is not None
    assert elsewhere or not alone.exists()
    assert not elsewhere or not any((tmp_path / "elsewhere").iterdir())
