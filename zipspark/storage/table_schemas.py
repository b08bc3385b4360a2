"""What each table that zipspark writes says of itself: a comment for every column, and what every row must meet.

Delta keeps a comment with its column and refuses a commit with a row that fails a check.
"""

from __future__ import annotations

_ID = "Id of the row: the user's own, else the hash of its text and a copy number."
_RATIO = "Bytes of the text over its compressed bytes, compressed alone; lower is less redundant."
_MARGINAL = (
    "Bytes of the text over the compressed bytes it added to what was picked before it; null where not measured."
)
_REFRESH = "Number of the refresh that added the row, from 0."
_FILE = "File that the row was read from; null for tables."
_POSITION = "Index of the row in its file or table, from 0."

# Kind of table -> column -> comment. Columns of a table that are not here are the user's, and stay as they are.
COLUMNS: dict[str, dict[str, str]] = {
    "subset": {
        "zip_id": _ID,
        "zip_rank": "Place in the ranking, from 0; every prefix of it is a subset.",
        "zip_ratio": _RATIO,
        "zip_marginal_ratio": _MARGINAL,
        "zip_order": "Place in the order that the subset is to be read in, from 0.",
        "zip_refresh": _REFRESH,
    },
    "ledger": {
        "zip_id": _ID,
        "group": "Group (source) of the row; null: none.",
        "bytes": "Length of the rendered text in bytes of UTF-8; null where the row has none.",
        "ratio": _RATIO,
        "part": "Part of the pool that the row was chosen from, from 0; null where it could not be chosen.",
        "decision": "What became of the row: selected, not_selected, duplicate, anchored, guarded or quarantined.",
        "reason": "Why, as a code with detail after a colon; null for what was selected by its gain.",
        "rank": "Place in the ranking, from 0; null where the row is not selected.",
        "marginal_ratio": _MARGINAL,
        "file": _FILE,
        "position": _POSITION,
        "content": "MD5 of the rendered text, hexadecimal; null where the row has none.",
        "refresh": "Number of the refresh that decided on the row last, from 0.",
    },
    "quarantine": {
        "file": _FILE,
        "position": _POSITION,
        "reason": "Why the row could not be read or rendered, as a code with detail after a colon.",
        "record": "The row as it was found, readable.",
        "refresh": _REFRESH,
    },
    "metrics": {
        "stage": "Step of the run.",
        "group": "Group (source) that is counted; null for the whole stage.",
        "rows_in": "Rows that came into the stage.",
        "rows_out": "Rows that went on from it.",
        "bytes_in": "Bytes of rendered text that came into the stage.",
        "bytes_out": "Bytes of rendered text that went on from it.",
        "seconds": "Wall time of the whole stage in seconds; null for lines that count.",
        "refresh": "Number of the refresh that the line is about, from 0.",
    },
    "history": {
        "refresh": "Number of the refresh, from 0.",
        "run_id": "Id of the run, as in its log.",
        "at": "When it was done.",
        "mode": "append, reselect, or rebuild.",
        "changes": "How it knew what had changed: all (it looked at every row), feed or diff.",
        "corpus": "Table that rows come from.",
        "corpus_id": "Delta's id of that table.",
        "corpus_version": "Version of the corpus that the subset is of.",
        "subset_version": "Version of the subset once it was written.",
        "ledger_version": "Version of the ledger once it was written.",
        "rows_new": "Rows of the corpus that were new.",
        "rows_updated": "Rows of the corpus whose text was another than before.",
        "rows_deleted": "Rows that the corpus no longer had.",
        "rows_added": "Rows that came into the subset.",
        "bytes_added": "Bytes of their rendered text.",
        "rows_dropped": "Rows that left the subset.",
        "bytes_dropped": "Bytes of their rendered text.",
        "rows": "Rows of the subset once it was written.",
        "bytes": "Bytes of their rendered text.",
        "ratio_before": "Ratio of the subset as one set before; null for the first refresh.",
        "ratio_after": "Ratio of the subset as one set once it was written; null for an empty one.",
        "seconds": "Wall time of the refresh in seconds.",
        "config_hash": "Hash of the options that decide what is chosen.",
    },
    "versions": {
        "version": "Name of a version of a data set.",
        "at": "When the line was logged; of several lines of one version a later one fills in what is missing.",
        "ratio": "Compression ratio of the whole set as one stream: bytes over compressed bytes.",
        "codec": "Codec that measured the ratio; ratios of two codecs cannot be compared.",
        "rows": "Rows of the set.",
        "bytes": "Bytes of their rendered text.",
        "mean_ratio": "Mean ratio of the samples, each compressed alone.",
        "loss": "Mean training loss of the first epoch, nats per token.",
        "loss_from": "Where the loss was read, or given.",
        "tokens": "Tokens that the loss is the mean over.",
        "score": "Score of the model that was trained on it; higher is better.",
        "held_out_bits": "Bits per byte of a fixed held-out sample given the set: a stand-in where nothing is trained.",
        "groups": "Ratio of each group, as one JSON object.",
        "data": "Table or files that were measured.",
    },
    "manifest": {
        "run_id": "Id of the run that wrote the tables beside this one.",
        "created": "When it chose.",
        "manifest": "What the result depends on, and the versions of its tables, as one JSON object.",
    },
}

# Kind of table -> name -> a condition that every row must meet, in Spark SQL, columns in backticks; null is not met.
# One whose columns are not all in a table is no constraint of it.
CHECKS: dict[str, dict[str, str]] = {
    "subset": {
        "zip_id_is_there": "`zip_id` is not null",
        "zip_rank_from_0": "`zip_rank` >= 0",
        "zip_ratio_above_0": "`zip_ratio` > 0",
        "zip_marginal_ratio_above_0": "`zip_marginal_ratio` is null or `zip_marginal_ratio` > 0",
        "zip_order_from_0": "`zip_order` >= 0",
        "zip_refresh_from_0": "`zip_refresh` >= 0",
    },
    "ledger": {
        "decision_is_known": "`decision` in "
        "('selected', 'not_selected', 'duplicate', 'anchored', 'guarded', 'quarantined')",
        "rank_of_selected": "(`rank` is not null) = (`decision` = 'selected')",
        "rank_from_0": "`rank` is null or `rank` >= 0",
        "reason_is_there": "`decision` = 'selected' or `reason` is not null",
        # Without a text there is nothing to weigh: a row that --where leaves out has none either.
        "text_is_measured": "`decision` in ('guarded', 'quarantined') "
        "or (`zip_id` is not null and `bytes` is not null and `ratio` is not null)",
        "bytes_above_0": "`bytes` is null or `bytes` > 0",
        "ratio_above_0": "`ratio` is null or `ratio` > 0",
        "marginal_ratio_of_selected": "`marginal_ratio` is null or (`rank` is not null and `marginal_ratio` > 0)",
        "part_from_0": "`part` is null or `part` >= 0",
        "position_from_0": "`position` >= 0",
        "content_of_text": "(`content` is not null) = (`bytes` is not null)",
        "refresh_from_0": "`refresh` >= 0",
    },
    "quarantine": {
        "reason_is_there": "`reason` is not null",
        "position_from_0": "`position` >= 0",
        "refresh_from_0": "`refresh` >= 0",
    },
    "metrics": {
        "stage_is_there": "`stage` is not null",
        "rows_leave": "`rows_in` is null or `rows_out` between 0 and `rows_in`",
        "bytes_leave": "`bytes_in` is null or `bytes_out` between 0 and `bytes_in`",
        "seconds_from_0": "`seconds` is null or `seconds` >= 0",
        "refresh_from_0": "`refresh` >= 0",
    },
    "history": {
        "refresh_from_0": "`refresh` >= 0",
        "changes_are_known": "`changes` in ('all', 'feed', 'diff')",
        "rows_from_0": "`rows` >= 0 and `rows_added` >= 0 and `rows_dropped` >= 0",
        "bytes_from_0": "`bytes` >= 0 and `bytes_added` >= 0 and `bytes_dropped` >= 0",
    },
    "versions": {
        "version_is_there": "`version` is not null",
        "ratio_above_0": "`ratio` is null or `ratio` > 0",
    },
    "manifest": {
        "run_id_is_there": "`run_id` is not null",
        "manifest_is_there": "`manifest` is not null",
    },
}
