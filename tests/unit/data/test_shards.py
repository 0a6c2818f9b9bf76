import pyarrow as pa
import pytest

from aigc_pipeline.core.errors import WorkspaceError
from aigc_pipeline.data.shards import read_table, write_table


@pytest.mark.parametrize("content", [b"", b"ARROW1", None])
def test_a_table_that_is_gone_or_cut_off_says_which_folder_to_remove(tmp_path, content):
    file = tmp_path / "kept.arrow"
    write_table(file, pa.table({"n": [1, 2, 3]}))
    whole = file.read_bytes()
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content and whole[: len(whole) // 2])

    with pytest.raises(
        WorkspaceError, match=rf"cannot read .*kept\.arrow: .*Remove its folder {tmp_path} and run again"
    ):
        read_table(file)
