from __future__ import annotations

import pytest

from nasi_ray.errors import ConfigError, UnknownNameError
from nasi_ray.spaces import SPACES, TabularSpace, get_space, get_tabular_space
from nasi_ray.spaces.base import first_positions


def test_every_space_is_found_by_its_name() -> None:
    assert list(SPACES)[:5] == ["darts", "s1", "s2", "s3", "nb201"]
    assert all(get_space(name).name == name for name in SPACES)


def test_an_unknown_space_names_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="unknown space 's4'; choose one of darts, nb201"):
        get_tabular_space("s4")


def test_a_space_without_a_table_names_those_that_have_one() -> None:
    with pytest.raises(ConfigError, match=r"'darts' has no table .*; choose one of nb201, s1, s2"):
        get_tabular_space("darts")


@pytest.mark.parametrize("name", ["s1", "nb201"])
def test_keys_are_those_of_the_architectures_in_order(name: str) -> None:
    space = get_tabular_space(name)
    keys = space.keys()
    for position in (0, 77, space.num_architectures - 1):
        key = keys[position]
        text = key if isinstance(key, str) else bytes(key).hex()
        assert text == space.architecture(position).key


def test_positions_of_equal_keys_are_the_first_one() -> None:
    assert first_positions(["b", "a", "b", "c", "a"]).tolist() == [0, 1, 0, 3, 1]


def test_a_space_that_is_added_is_found_and_own_names_are_kept() -> None:
    space = get_space("s1")
    assert isinstance(space, TabularSpace)
    with pytest.raises(ConfigError, match="'s1' is built into nasi_ray; choose another name"):
        SPACES.add("s1", space)
    SPACES.add("mine", space)
    try:
        assert get_space("mine") is space
        assert SPACES.added() == {"mine": space}
    finally:
        SPACES._added.clear()
