"""The six lines with which a trainer reads a version: card and report show them, a test runs them."""

SNIPPET = """\
import pandas as pd
rows = pd.read_parquet("metadata.parquet")  # in the version's directory; the file, not the folder
train = rows[(rows["split"] == "train") & rows["recommended"]]  # real rows, and synthetic rows worth training on
real_only = train[train["origin"] == "real"]  # the same without synthetic rows
test = rows[rows["split"] == "test"]  # real rows that nothing was fitted on
files, labels, weights = train["file_name"], train["label"], train["weight"]  # path, class index, weight in the loss
"""
REFERENCE_SNIPPET = SNIPPET.replace(
    'pd.read_parquet("metadata.parquet")', 'pd.read_parquet(["metadata.parquet", "references.parquet"])'
).replace('train["file_name"]', 'train["file_name"].fillna(train["source_uri"])')
"""The same where real rows only reference the user's own files: their paths are relative to the source."""
