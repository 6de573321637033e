from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasi_ray.errors import ConfigError, DataError
from nasi_ray.ranking.architectures import (
    distinct_positions,
    representative,
    select_architectures,
    table_keys,
)
from nasi_ray.spaces import get_tabular_space
from nasi_ray.spaces.nb1shot1 import S1, NB1Shot1Architecture


@pytest.mark.parametrize(("name", "count"), [("s1", 2685), ("s2", 7773), ("nb201", 15625)])
def test_all_are_as_many_as_the_spaces_distinct_cells(name: str, count: int) -> None:
    positions = select_architectures(name, "all").positions
    assert len(positions) == count
    assert (np.diff(positions) > 0).all()


@pytest.mark.slow
def test_all_of_s3_are_as_many_as_its_distinct_cells() -> None:
    assert len(distinct_positions("s3")) == 55_854


def test_distinct_cells_have_distinct_hashes_and_cover_the_space() -> None:
    rows = [bytes(row) for row in np.asarray(table_keys("s1"))[distinct_positions("s1")]]
    assert len(set(rows)) == len(rows)
    assert set(rows) == {bytes(row) for row in S1.hashes()}
    architecture = S1.architecture(int(distinct_positions("s1")[17]))
    assert architecture.hash() == rows[17].hex()


def test_a_representative_is_the_first_of_its_hash() -> None:
    for position in (0, 5000, S1.num_architectures - 1):
        first = representative("s1", position)
        assert first <= position
        assert S1.architecture(first).hash() == S1.architecture(position).hash()
        assert representative("s1", first) == first


def test_random_ones_are_distinct_and_a_larger_number_takes_the_same_and_more() -> None:
    few, many = (set(select_architectures("s2", n).positions.tolist()) for n in ("30", "90"))
    assert len(few) == 30
    assert len(many) == 90
    assert few < many <= set(distinct_positions("s2").tolist())
    assert few != set(select_architectures("s2", "30", subset_seed=1).positions.tolist())


def test_a_file_is_read_and_same_cells_are_taken_once(tmp_path: Path) -> None:
    # The loose end of block 4 makes no difference.
    texts = ["0;0,1;0,1;0,1;0,1|3,1,m,3", "0;0,1;0,1;0,1;0,1|3,1,m,1", "0;0,1;0,2;1,3;2,4|1,3,m,1"]
    file = tmp_path / "cells.txt"
    file.write_text("# mine\n\n" + "\n".join(f"  {text} " for text in texts) + "\n")
    positions = select_architectures("s1", str(file)).positions
    found = {S1.architecture(p).hash() for p in positions.tolist()}
    assert len(positions) == 2
    assert found == {NB1Shot1Architecture.from_string(text).hash() for text in texts}
    assert set(positions.tolist()) <= set(distinct_positions("s1").tolist())


def test_every_space_finds_its_own_strings(tmp_path: Path) -> None:
    for name in ("s1", "s2", "nb201"):
        wanted = select_architectures(name, "7").positions
        lines = [get_tabular_space(name).architecture(p).to_string() for p in wanted.tolist()]
        (tmp_path / name).write_text("\n".join(lines))
        assert (
            select_architectures(name, str(tmp_path / name)).positions.tolist() == wanted.tolist()
        )


def test_bad_lines_are_named_with_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "cells.txt"
    file.write_text("0;0,1;0,1;0,1;0,1|3,1,m,3\nhello\n\n0;0;0,1;0,1;0,1|3,1,m,3\n" + "x\n" * 9)
    with pytest.raises(DataError) as error:
        select_architectures("s1", str(file))
    message = str(error.value)
    assert f"{file} has lines that are not s1 cells: line 2: " in message
    assert "; line 4: " in message
    assert "line 8" not in message
    assert message.endswith("; and 6 more")


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing\n"])
def test_a_file_without_an_architecture_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "cells.txt"
    file.write_text(content)
    with pytest.raises(DataError, match="has no architecture; give one a line, as "):
        select_architectures("nb201", str(file))


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cells").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not a text file"):
        select_architectures("s1", str(tmp_path / "cells"))
    for given in ("no-such-file", str(tmp_path), "", "a\0b"):
        with pytest.raises(DataError, match="give all, a number of random ones, or a file"):
            select_architectures("s1", given)


@pytest.mark.parametrize("number", ["0", "-3", "2686"])
def test_a_number_that_is_out_of_range_is_refused(number: str) -> None:
    with pytest.raises(ConfigError, match="s1 has 2685 distinct ones: give 1 to 2685"):
        select_architectures("s1", number)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    text = get_tabular_space("nb201").architecture(7).to_string()
    plain, marked = tmp_path / "plain.txt", tmp_path / "marked.txt"
    plain.write_text(text, encoding="utf-8")
    marked.write_text(text, encoding="utf-8-sig")
    expected = select_architectures("nb201", str(plain)).positions.tolist()
    assert select_architectures("nb201", str(marked)).positions.tolist() == expected
