"""What Spark raises during a job, said for a person.

The same failure is another class in classic (``Py4JJavaError``, captured exceptions) than in Connect (exceptions of
gRPC), some without a condition. So it is the text that is read, which both have in common.
"""

from __future__ import annotations

import re
import traceback

from zipspark import errors
from zipspark.errors import EngineError, InputError, ZipsparkError

# (what the text says, what it means and what to do)
_ENGINE = (
    (
        r"java\.lang\.OutOfMemoryError|SparkOutOfMemoryError|UNABLE_TO_ACQUIRE_MEMORY",
        "Spark ran out of memory: give it more (--conf spark.driver.memory=8g on a local master, "
        "spark.executor.memory elsewhere) or raise --parts",
    ),
    (
        r"No space left on device|Disk quota exceeded",
        "a disk is full: free some, or put stages (--work-dir), shuffles (--conf spark.local.dir) or OUT elsewhere",
    ),
    (
        r"Python worker exited unexpectedly|ExecutorLostFailure",
        "a Python worker or an executor died, most often for want of memory: raise --parts or give it more "
        "(spark.executor.memoryOverhead; on a local master run on fewer cores)",
    ),
    (
        r"PYTHON_VERSION_MISMATCH",
        "the executors run another Python version than this one: set PYSPARK_PYTHON to the same version on all of them",
    ),
    (
        r"Cannot call methods on a stopped SparkContext|SparkContext was shut down|StatusCode\.UNAVAILABLE"
        r"|Connection refused|Answer from Java side is empty|INVALID_HANDLE\.SESSION",
        "the connection to Spark was lost: see whether its driver still runs, then start again",
    ),
)

# What stores and catalogs say where somebody may not read or write.
_FORBIDDEN = (
    r"AccessControlException|AccessDeniedException|Permission denied|PERMISSION_DENIED|INSUFFICIENT_PERMISSIONS"
    r"|Cannot create \w+:/|Mkdirs failed to create"
)
# What the user's SQL meets in a row, in Spark's words, which quote the value.
_VALUE = (
    r"\[(CAST_INVALID_INPUT|CAST_OVERFLOW|CANNOT_PARSE_\w+|NUMERIC_VALUE_OUT_OF_RANGE)[\w.]*\] (.+?)(?: SQLSTATE: |$)"
)
# Messages of ours that end with what a record says.
_QUOTING = re.compile(
    r"(?P<said>no record of the input can be read: .*?(?= in )|its first line must name each column once"
    r"|SQL fails on a row of the input [^:]*: [A-Z_]+).*",
    re.DOTALL,
)
_HIDDEN = " (hidden by hide_text)"


def explain_spark_error(error: BaseException) -> ZipsparkError | None:
    """The error of ours that says what ``error`` means; None where Spark's own first line has to do.

    What zipspark raised on an executor comes back as what it was, with its message.

    >>> explain_spark_error(Exception("Traceback ...\\nzipspark.errors.InputError: field text must be a string"))
    InputError('field text must be a string')
    """
    if isinstance(error, ZipsparkError):
        return error
    text = str(error)
    if ours := re.findall(r"^zipspark\.errors\.(\w+): (.*)$", text, flags=re.MULTILINE):
        name, message = ours[-1]  # the last of a chain
        return getattr(errors, name, InputError)(message)
    if missing := re.search(r"ModuleNotFoundError: No module named '(\w+)", text):
        return EngineError(
            f"the executors' Python has no {missing[1]}: install zipspark there, or send an environment with "
            "--conf spark.archives=env.tar.gz#env"
        )
    if file := re.search(r"FILE_NOT_EXIST\] Encountered error while reading file (.+?)\.\s", text):
        return InputError(
            f"{file[1]} is gone: something else changed the input while it was read, or VACUUM has removed the files "
            "of that version"
        )
    if file := re.search(r"Encountered error while reading file (.+?)\.\s", text):
        return InputError(f"{file[1]} cannot be read: it is damaged, or not what its name says")
    if file := re.search(r"FileNotFoundException: (?:File )?(.+?)(?: does not exist|\s|$)", text):
        return InputError(f"{file[1]} is gone: something else changed the input while it was read")
    if value := re.search(_VALUE, text, flags=re.MULTILINE):
        return InputError(f"SQL fails on a row of the input (--where, --text-expr or a view): {value[1]} {value[2]}")
    if re.search(_FORBIDDEN, text):
        return InputError(f"not permitted to read or write: {first_line(error)}")
    for pattern, message in _ENGINE:
        if re.search(pattern, text):
            return EngineError(message)
    if _is_analysis(error):
        return InputError(first_line(error))
    return None


def first_line(error: BaseException) -> str:
    """The first line that says something, without Spark's codes: ``[PATH_NOT_FOUND] ... SQLSTATE: 42K03``."""
    text = re.sub(r"^An error occurred while calling .*\n: ", "", str(error))  # py4j's own, before what Java says
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    if line.endswith("from the Python worker:") and (raised := re.findall(r"(?m)^[A-Za-z_][\w.]*: .*$", text)):
        line = raised[-1]  # its traceback comes first
    line = re.sub(r"^(?:[a-z][\w$]*\.)+[A-Z][\w$]*: ", "", line)  # the class of a Java exception
    return re.sub(r"^\[[A-Z0-9_.]+\] | SQLSTATE: \w+.*$", "", line).strip()


def without_text(error: ZipsparkError) -> ZipsparkError:
    """``error`` without what it quotes of a sample.

    >>> without_text(InputError("no record of the input can be read: json:Expecting value in {a sample's text"))
    InputError('no record of the input can be read: json:Expecting value (hidden by hide_text)')
    """
    return type(error)(_QUOTING.sub(rf"\g<said>{_HIDDEN}", str(error)))


def code_of(error: Exception) -> str:
    """What an error that may quote a sample is called: by Spark or by Python, with the place in zipspark.

    >>> code_of(KeyError("a sample's text"))
    'KeyError (hidden by hide_text)'
    """
    code = getattr(error, "getCondition", lambda: None)() or type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "zipspark" in frame.filename]
    place = f" at {frames[-1].filename.rpartition('zipspark/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{code}{place}{_HIDDEN}"


def _is_analysis(error: BaseException) -> bool:
    try:
        from pyspark.errors import AnalysisException
    except ImportError:
        return False
    return isinstance(error, AnalysisException)
