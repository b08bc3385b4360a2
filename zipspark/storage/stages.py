"""Tables between the stages of a run: written once, then read by all that need them.

Spark keeps no result between two actions, and caching is refused by Connect's servers: what is not written is computed
again. Each stage is a folder of Parquet below one work folder; Spark's ``_SUCCESS`` file in it says that it is whole.
"""

from __future__ import annotations

import tempfile
import uuid
import zlib
from types import TracebackType
from typing import TYPE_CHECKING

from zipspark.config import EngineOptions
from zipspark.errors import UsageError, ZipsparkError
from zipspark.storage.places import Place

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Seconds in which a stopped task has ended: Spark gives its Python worker two (spark.python.task.killTimeout).
_TO_STOP = 3.0


class Stages:
    """The work folder of one run, gone when the block ends.

    ``--work-dir`` says where it is, and is shared: each OUT has a folder of its own in there. Else it stands beside
    OUT, as ``.<name>.work``; without OUT it is a temporary folder where Spark runs on this machine, `UsageError` where
    it does not.
    """

    def __init__(self, spark: SparkSession, engine: EngineOptions):
        self._spark = spark
        out = Place.parse(engine.output) if engine.output else None
        if engine.work_dir:
            own = f"{out.name}-{zlib.crc32(out.uri.encode()):08x}" if out else f"zipspark-{uuid.uuid4().hex[:8]}"
            self.folder = Place.parse(engine.work_dir).child(f"{own}.work")
        elif out:
            self.folder = out.parent.child(f".{out.name}.work")
        elif (spark.conf.get("spark.master", None) or "").startswith("local"):
            self.folder = Place.parse(tempfile.mkdtemp(prefix="zipspark-"))
        else:
            raise UsageError("work_dir is needed where Spark runs on other machines: a folder that they all can reach")

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove(error)

    def path(self, name: str) -> Place:
        """Where the stage ``name`` is, written or not."""
        return self.folder.child(name)

    def write(self, name: str, df: DataFrame) -> DataFrame:
        """Compute ``df``, once, and return the table that holds it: the same columns, all nullable."""
        # zstd takes 1.5 times lz4's time to write (0.9 s of 183 MB, two cores) for 0.6 of its bytes.
        df.write.mode("overwrite").option("compression", "zstd").parquet(self.path(name).uri)
        # With its schema given, no task is started to look into a file for it.
        return self._spark.read.schema(df.schema).parquet(self.path(name).pattern)

    def remove(self, error: BaseException | None = None) -> None:
        """Delete the work folder, after ``error`` if there was one."""
        # What failed in Spark may have tasks that run on, and write; what zipspark itself refuses has none.
        stopping = error is not None and not isinstance(error, ZipsparkError)
        self.folder.delete_for_good(_TO_STOP if stopping else 0.0)
