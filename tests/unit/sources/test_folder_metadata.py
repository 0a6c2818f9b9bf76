"""`metadata.csv` beside pictures: whose attributes they are, and what a wrong table is answered with."""

from pathlib import Path

import pytest

from aigc_pipeline.core.errors import SourceError
from aigc_pipeline.core.samples import RawSample
from aigc_pipeline.sources.class_folder import ClassFolder


def put(root: Path, **texts: str) -> None:
    for name in ("cat/a.png", "cat/b.png", "dog/c.png"):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    for name, text in texts.items():
        (root / name.replace("__", "/")).with_suffix(".csv").write_text(text)


def records(root: Path) -> dict[str, RawSample]:
    return {sample.uri: sample for sample in ClassFolder(path=root).records()}


def test_columns_become_attributes_of_the_named_file(tmp_path: Path) -> None:
    put(tmp_path, metadata='file_name,site,note\ncat/a.png,north,"one, two"\n./dog/c.png,south,\n')

    found = {uri: dict(sample.attributes) for uri, sample in records(tmp_path).items()}

    assert found == {
        "cat/a.png": {"site": "north", "note": "one, two"},
        "cat/b.png": {},
        "dog/c.png": {"site": "south"},
    }


def test_the_table_itself_is_no_picture_and_no_loose_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, metadata="file_name,site\ncat/a.png,north\n", cat__metadata="file_name,age\nb.png,4\n")

    assert ClassFolder(path=tmp_path).listing().num_listed == 3
    found = records(tmp_path)

    assert list(found) == ["cat/a.png", "cat/b.png", "dog/c.png"]
    assert found["cat/b.png"].attributes == {"age": "4"}
    assert not caplog.records


def test_a_table_in_a_split_folder_names_files_of_that_folder(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put(tmp_path / split, metadata=f"file_name,site\ncat/a.png,{split} site\n")

    found = records(tmp_path)

    assert [found[f"{split}/cat/a.png"].attributes["site"] for split in ("train", "test")] == [
        "train site",
        "test site",
    ]


def test_a_named_file_that_is_not_there_is_listed_with_its_problem(tmp_path: Path) -> None:
    put(tmp_path, metadata="file_name,site\ncat/a.png,north\ndog/gone.png,south\n")

    lost = records(tmp_path)["dog/gone.png"]

    assert (lost.content, lost.class_name) == (None, "dog")
    assert lost.problem == "metadata.csv names it, but it is missing, hidden or behind a link"


def test_rows_outside_the_class_folders_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(
        tmp_path,
        metadata="file_name,site\ncat/a.png,north\n../secret.png,x\ncat/../secret.png,x\nc.png,y\ndog/gone.png,z\n",
    )

    assert ClassFolder(path=tmp_path).listing().num_listed == 4  # the file that is gone from its class is accounted for
    assert "3 rows of metadata.csv" in caplog.text


def test_a_changed_attribute_changes_the_listing(tmp_path: Path) -> None:
    put(tmp_path, metadata="file_name,site\ncat/a.png,north\n")
    before = ClassFolder(path=tmp_path).listing()
    (tmp_path / "metadata.csv").write_text("file_name,site\ncat/a.png,south\n")  # and no picture is touched
    after = ClassFolder(path=tmp_path).listing()

    assert before.num_listed == after.num_listed == 3
    assert before.digest != after.digest


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("path,site\ncat/a.png,north\n", "needs a column 'file_name'"),
        ("", "needs a column 'file_name'"),
        ("file_name,site,site\ncat/a.png,a,b\n", "no column twice"),
        ("file_name,site\ncat/a.png,north\ncat/a.png,south\n", "line 3: 'cat/a.png' has a row already"),
        ("file_name,site\ncat/a.png,a,b\n", "line 2: not as many values"),
        ("file_name,site\ncat/a.png\n", "line 2: not as many values"),
        ("file_name,site\n,a\n", "line 2: 'file_name' is empty"),
        ("file_name,site\na.png,north\n", "no row of metadata.csv .* 'a.png' is looked for"),
        ('file_name,site\ncat/a.png,"north\n', "comma-separated"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, table: str, said: str) -> None:
    put(tmp_path, metadata=table)

    with pytest.raises(SourceError, match=said):
        records(tmp_path)


def test_a_table_as_spreadsheets_save_it_is_read(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "metadata.csv").write_bytes(b"\xef\xbb\xbffile_name,site\r\ncat/a.png,north\r\n")

    assert records(tmp_path)["cat/a.png"].attributes == {"site": "north"}


def test_a_table_behind_a_link_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "data")
    (tmp_path / "elsewhere.csv").write_text("file_name,site\ncat/a.png,secret\n")
    (tmp_path / "data" / "metadata.csv").symlink_to(tmp_path / "elsewhere.csv")

    assert records(tmp_path / "data")["cat/a.png"].attributes == {}


def test_a_table_below_a_class_folder_is_a_file_like_any_other(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "cat" / "winter").mkdir()
    (tmp_path / "cat" / "winter" / "metadata.csv").write_text("file_name,site\na.png,north\n")

    assert "cat/winter/metadata.csv" in records(tmp_path)


def test_a_file_that_a_table_alone_knows_has_the_role_of_its_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put(tmp_path / split, metadata="file_name,site\ncat/a.png,north\ncat/gone.png,south\n")

    assert records(tmp_path)["test/cat/gone.png"].given_role == "test"


def test_a_table_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "metadata.csv").write_bytes(b"file_name,site\ncat/a.png,\xe9\n")

    with pytest.raises(SourceError, match="not UTF-8"):
        records(tmp_path)
