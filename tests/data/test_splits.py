"""Words of splits in names."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasi_ray.data.splits import canonical, splits_in, words

SPELLINGS = {
    "train": ["train", "training", "trn"],
    "validation": ["val", "valid", "validation", "dev"],
    "test": ["test", "testing", "tst"],
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar10-train", ["cifar", "train"]),
        ("CifarTrain_2", ["cifar", "train"]),
        ("trainA", ["train", "a"]),
        ("TRAIN2017", ["train"]),
        ("entraînement.été", ["entraînement", "été"]),
        ("00000", []),
    ],
)
def test_letters_in_a_row_are_a_word(name: str, expected: list[str]) -> None:
    assert words(name) == expected


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    split=st.sampled_from(sorted(SPELLINGS)),
    spelled=st.data(),
    before=st.sampled_from(["", "cifar10-", "my_", "a.b ", "2017", "é-"]),
    after=st.sampled_from(["", "-00000-of-00001", "_a", ".2", " (1)", "2017"]),
    case=st.sampled_from([str.lower, str.upper, str.title]),
)
def test_every_spelling_is_found_in_every_place_and_case(
    split: str, spelled: st.DataObject, before: str, after: str, case: type[str]
) -> None:
    word = spelled.draw(st.sampled_from(SPELLINGS[split]))
    assert splits_in(before + case(word) + after, "train") == {split}
    assert canonical(case(word)) == split


@pytest.mark.parametrize("letters", ["x{}", "{}x", "x{}x", "é{}"])
@pytest.mark.parametrize("word", [word for words in SPELLINGS.values() for word in words])
def test_a_part_of_a_word_is_no_split(letters: str, word: str) -> None:
    assert splits_in(letters.format(word), "train") == set()


def test_another_split_is_found_at_the_start_of_a_name() -> None:
    for name in ("extra", "extra-00000-of-00001", "extra.2", "extra_train"):
        assert splits_in(name, "extra") == {"extra"}
    assert splits_in("extras", "extra") == splits_in("my-extra", "extra") == set()
    assert canonical("extra") == "extra"
