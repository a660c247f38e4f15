"""Poseidon: both versions give the numbers of the vectors, and the same ones on everything else."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from array import array
from pathlib import Path

import pytest
from attestrio.zkevm import poseidon, poseidon_plain
from attestrio.zkevm.poseidon import P, Steps
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples, needs
from zkevm_kit import golden, words
from zkevm_kit import poseidon as by_the_book

HOOK = Path(__file__).parents[3] / "hatch_build.py"

# What is not below the modulus counts modulo it, and reductions are wrong at the edges first.
ELEMENTS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1, P - 1, P, P + 1, 2**64 - 1, 2**63, 2**32 - 1, 2**32, 2**32 + 1, 2**64 - 2**32]),
)
STATES = st.tuples(*[ELEMENTS] * 12)


def native():
    return pytest.importorskip(
        "attestrio.zkevm.poseidon_native", reason="no C compiler was found at installation", exc_type=ImportError
    )


@pytest.fixture(params=["plain", "native"])
def version(request):
    return poseidon_plain if request.param == "plain" else native()


def test_every_vector_is_met(version):
    vectors = golden("smt_vectors")["poseidon"]

    got = [version.hash12(words(one["in"]), words(one["capacity"])) for one in vectors]

    assert got == [words(one["out"]) for one in vectors]


@given(STATES)
def test_folding_the_rounds_changes_nothing(state):
    assert poseidon_plain.hash12(state[:8], state[8:]) == by_the_book(state[:8], state[8:])


@settings(max_examples=examples(200))
@given(STATES)
def test_compiled_or_not_the_hash_is_the_same(state):
    assert native().hash12(state[:8], state[8:]) == poseidon_plain.hash12(state[:8], state[8:])


def test_the_largest_state_overflows_nowhere(version):
    largest = (2**64 - 1,) * 12

    assert version.hash12(largest[:8], largest[8:]) == by_the_book(largest[:8], largest[8:])


@pytest.mark.parametrize("count", [7, 9])
def test_another_number_of_elements_is_refused(version, count):
    with pytest.raises(Exception, match=r"argument|expected"):
        version.hash12((0,) * count)


def test_steps_use_the_hashes_of_steps_before_them(version, monkeypatch):
    monkeypatch.setattr(poseidon, "_run", version.run)
    key, value = (5, 6, 7, 8), 3 << 200 | 2**64 - 1

    steps = Steps()
    hashed = steps.value(steps.literal(value.to_bytes(32, "big")))
    leaf = steps.leaf(steps.literal(poseidon.bytes_of(key)), hashed)
    branch = steps.branch(leaf, steps.literal(bytes(32)))
    steps.run()

    of_value = by_the_book([(value >> (32 * at)) & 0xFFFFFFFF for at in range(8)])
    of_leaf = by_the_book((*key, *of_value), (1, 0, 0, 0))
    of_branch = by_the_book((*of_leaf, 0, 0, 0, 0))
    assert [poseidon.words_of(steps.bytes(one)) for one in (hashed, leaf, branch)] == [of_value, of_leaf, of_branch]


def test_no_steps_give_no_hashes(version):
    assert version.run([], array("i")) == []


def test_words_are_written_as_headers_have_them():
    number = 0x11 << 192 | 0x22 << 128 | 0x33 << 64 | 0x44

    assert poseidon.bytes_of((0x44, 0x33, 0x22, 0x11)) == number.to_bytes(32, "big")
    assert poseidon.words_of(number.to_bytes(32, "big")) == (0x44, 0x33, 0x22, 0x11)


# --- which version is used


def test_the_compiled_version_is_used_where_it_is_there(monkeypatch):
    monkeypatch.delenv("ATTESTRIO_POSEIDON", raising=False)
    compiled = native()

    assert poseidon._versions() == ("native", compiled.hash12, compiled.run)


def test_the_environment_can_ask_for_plain_python(monkeypatch):
    monkeypatch.setenv("ATTESTRIO_POSEIDON", "plain")

    assert poseidon._versions() == ("plain", poseidon_plain.hash12, poseidon_plain.run)


def test_without_the_compiled_library_plain_python_is_used(monkeypatch):
    monkeypatch.delenv("ATTESTRIO_POSEIDON", raising=False)
    monkeypatch.setitem(sys.modules, "attestrio.zkevm._poseidon", None)
    monkeypatch.delitem(sys.modules, "attestrio.zkevm.poseidon_native", raising=False)
    monkeypatch.delattr("attestrio.zkevm.poseidon_native", raising=False)

    assert poseidon._versions() == ("plain", poseidon_plain.hash12, poseidon_plain.run)


# --- building it


@pytest.fixture
def hook():
    pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed")
    spec = importlib.util.spec_from_file_location("hatch_build", HOOK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("compiler", ["no-such-compiler -shared", "false", ""], ids=["absent", "failing", "unknown"])
def test_without_a_compiler_the_installation_goes_on(hook, tmp_path, monkeypatch, capsys, compiler):
    usual = sysconfig.get_config_var
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: compiler if name == "LDSHARED" else usual(name))
    old = tmp_path / "_poseidon.so"
    old.write_bytes(b"of older sources")

    made = hook.compile_native(old)

    assert made is None
    assert not old.exists()
    assert capsys.readouterr().err.startswith("Poseidon stays in plain Python: ")


@pytest.mark.real
@pytest.mark.slow
@needs("cc")
def test_what_a_compiler_makes_of_the_sources_meets_the_vectors(hook, tmp_path):
    made = hook.compile_native(tmp_path / hook.library().name)

    spec = importlib.util.spec_from_file_location("attestrio.zkevm._poseidon", made)
    compiled = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compiled)
    for one in golden("smt_vectors")["poseidon"]:
        state = compiled.ffi.new("uint64_t[12]", words(one["in"]) + words(one["capacity"]))
        compiled.lib.poseidon_hash12(state)
        assert tuple(state)[:4] == words(one["out"])
