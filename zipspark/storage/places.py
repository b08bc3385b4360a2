"""A path on some store: local disk, HDFS, S3, Google Cloud Storage, Azure, Databricks Volumes.

Spark reads and writes tables; everything else that happens to a folder (is it there, rename it, delete it, a manifest
beside it) goes through `pyarrow.fs`, which needs no JVM and so works over Spark Connect too.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from dataclasses import dataclass, field

from pyarrow import ArrowInvalid, ArrowNotImplementedError, fs

from zipspark.errors import InputError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # two letters or more; "a:b" is a file's name
QUERY = re.compile(r"\?[\w.-]+=.*")  # of a URI; any other question mark belongs to a glob
_VOLUMES = "/Volumes/"  # Databricks: an object store that is mounted as if it were a disk
_GLOB_CHARACTERS = re.compile(r"([\\*?\[\]{}])")

_URI = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_PORTS = re.compile(r"[^:]*(:\d{1,5})?(,[^:]*(:\d{1,5})?)*|.*\[.*\].*")  # a colon that is no password's
_SECRET = r"secret|passw(?:or)?d|\bpwd|credential|signature|(?:access|account|api|private)[._-]?key"
SECRET_NAME = re.compile(rf"{_SECRET}|(?:^|[._-])(?:token|sig)$", re.IGNORECASE)  # of a setting or a parameter
_PAIR = re.compile(  # name=value, and 'name': 'value' as Python and JSON show it
    rf"""(?<![\w.-])((?:[\w.-]*(?:{_SECRET})[\w.-]*|(?:[\w.-]*[._-])?(?:token|sig))(?:\s*=\s*|["']\s*:\s*)["']?)"""
    r"""[^\s"'&;,]+""",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Place:
    """A file or folder that may or may not be there.

    >>> Place.parse("/data/my pool").child("subset").uri
    'file:/data/my pool/subset'
    """

    uri: str  # as Spark's writers want it
    path: str  # as `filesystem` wants it
    filesystem: fs.FileSystem = field(repr=False, compare=False)

    @classmethod
    def parse(cls, uri: str | os.PathLike[str]) -> Place:
        """The place that a person named. Raises `InputError` for a store that is unknown or cannot be asked.

        Nothing is percent-decoded, as Spark decodes nothing either: ``50%`` and ``a b`` are names like any other. A
        URI with a password or a signature is refused: Spark's file systems take none, and they would stand in tables.
        """
        text = re.sub(r"^dbfs:/+Volumes/", _VOLUMES, os.fspath(uri))
        scheme = match[1].lower() if (match := _SCHEME.match(text)) else "file"
        if scheme == "file":
            path = os.path.abspath(re.sub(r"^file:/+", "/", text, flags=re.IGNORECASE))
            # Without its scheme Spark takes a path for one on the cluster's default store; a Volume has no scheme.
            return cls(path if path.startswith(_VOLUMES) else f"file:{path}", path, fs.LocalFileSystem())
        if _carries_secret(text):
            raise InputError(
                f"{redact(text)!r} was given with a password or a key in it; give keys by the environment or the "
                "cluster instead"
            )
        root, _, rest = text.partition("://")[2].partition("/")
        try:
            # Spark's names for S3 are not pyarrow's. Only the bucket is parsed: keys need not be valid in a URI.
            filesystem, base = fs.FileSystem.from_uri(f"{'s3' if scheme in ('s3a', 's3n') else scheme}://{root}/")
        except (ArrowInvalid, ArrowNotImplementedError):
            known = "a local path, file:, hdfs:, s3:, s3a:, gs:, abfss: or dbfs:/Volumes/"
            raise InputError(f"{redact(text)!r} is on no store that can be used here; give {known}") from None
        except OSError as error:  # no libhdfs, no such bucket, no credentials
            hint = "; set JAVA_HOME, HADOOP_HOME and CLASSPATH=$(hadoop classpath --glob)" if scheme == "hdfs" else ""
            raise InputError(f"{redact(text)!r} cannot be reached: {redact_all(_first_line(error))}{hint}") from None
        return cls(
            text.rstrip("/"), "/".join(part for part in (base.rstrip("/"), rest.rstrip("/")) if part), filesystem
        )

    @property
    def pattern(self) -> str:
        """`uri` for Spark's readers, which take ``* ? [ ] { } \\`` for a pattern where its writers do not."""
        return _GLOB_CHARACTERS.sub(r"\\\1", self.uri)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Place:
        """The folder around it; the root of a store is its own parent."""
        if "/" not in self.path.strip("/"):
            return Place("file:/", "/", self.filesystem) if self.is_local else self
        return Place(self.uri.rpartition("/")[0], self.path.rpartition("/")[0], self.filesystem)

    def child(self, name: str) -> Place:
        return Place(f"{self.uri.rstrip('/')}/{name}", f"{self.path.rstrip('/')}/{name}", self.filesystem)

    @property
    def is_local(self) -> bool:
        """True for what this machine sees as files, mounted Volumes among them."""
        return self.filesystem.type_name == "local"

    @property
    def renames(self) -> bool:
        """True where a folder is renamed in one step, however much is in it."""
        return self.filesystem.type_name == "hdfs" or (self.is_local and not self.path.startswith(_VOLUMES))

    @property
    def redacted(self) -> str:
        """For messages and manifests: a local path as it is typed, a URI without what may be a password."""
        return self.path if self.is_local else redact(self.uri)

    def __str__(self) -> str:
        return self.redacted

    def exists(self) -> bool:
        return self._type() != fs.FileType.NotFound

    def is_dir(self) -> bool:
        return self._type() == fs.FileType.Directory

    def list(self) -> list[Place]:
        """What a folder holds, hidden names included, by name; nothing when it is not there."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return [self.child(info.base_name) for info in sorted(found, key=lambda info: info.base_name)]

    def make_dir(self) -> None:
        """Make it a folder, with those around it; nothing when it is one."""
        self.filesystem.create_dir(self.path, recursive=True)

    def delete(self) -> None:
        """Remove the file, or the folder with all it holds; nothing when it is not there."""
        kind = self._type()
        if kind == fs.FileType.Directory:
            self.filesystem.delete_dir(self.path)
        elif kind != fs.FileType.NotFound:
            self.filesystem.delete_file(self.path)

    def delete_for_good(self, seconds: float = 0.0) -> None:
        """`delete` what Spark's tasks may be writing to: one that is still being stopped makes its folder again.

        It is watched for ``seconds``, and after that until it stays away.
        """
        until = time.monotonic() + seconds
        for _ in range(20 + int(20 * seconds)):
            with contextlib.suppress(OSError):  # not empty any more
                self.delete()
            time.sleep(0.05)
            if time.monotonic() >= until and not self.exists():
                return
        self.delete()

    def rename(self, target: Place) -> None:
        """Give it another name on the same store; raises `OSError` when ``target`` is a folder with something in it."""
        self.filesystem.move(self.path, target.path)

    def copy_into(self, target: Place) -> None:
        """Copy the files of this folder to the same names under ``target``, on the store itself."""
        fs.copy_files(
            self.path, target.path, source_filesystem=self.filesystem, destination_filesystem=target.filesystem
        )

    def read_text(self) -> str:
        """The content as UTF-8; raises `FileNotFoundError` when it is not there."""
        with self.filesystem.open_input_stream(self.path) as stream:
            return str(stream.read(), encoding="utf-8")

    def write_text(self, text: str) -> None:
        with self.filesystem.open_output_stream(self.path) as stream:
            stream.write(text.encode())

    def write_whole(self, data: bytes) -> None:
        """Write a file, in place of one that may be there: whole or not at all. Raises `InputError`."""
        new = self.parent.child(f".{self.name}.new-{uuid.uuid4().hex[:8]}") if self.renames else self
        try:
            if self.renames:
                self.parent.make_dir()
            with new.filesystem.open_output_stream(new.path) as stream:
                stream.write(data)
            if self.renames:
                new.rename(self)
        except OSError as error:
            if self.renames:
                new.delete()
            raise InputError(f"{self} cannot be written: {error}") from None

    def check_writable(self) -> None:
        """Raise `InputError` unless something can be made at this place; nothing is left behind.

        A small file is written where the first missing folder would be made: permissions alone say little about
        read-only disks, quotas and buckets.
        """
        around = self.parent
        if self.is_local or self.renames:  # folders have to be there before files are
            while not around.exists() and around.path != around.parent.path:
                around = around.parent
            if around.exists() and not around.is_dir():
                raise InputError(f"{self} cannot be written: {around} is a file, not a folder")
        probe = around.child(f".zipspark-{uuid.uuid4().hex[:8]}")
        try:
            probe.write_text("")
            probe.delete()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else _first_line(error)
            raise InputError(f"{self} cannot be written: {reason} in {around}") from None

    def _type(self) -> fs.FileType:
        return self.filesystem.get_file_info([self.path])[0].type


def redact(uri: str) -> str:
    """``uri`` for people and manifests: without user, password and query, where keys and signatures stand.

    >>> redact("s3://AKIA:secret@bucket/x.jsonl?sig=abc"), redact("abfss://box@account.dfs.core.windows.net/x")
    ('s3://bucket/x.jsonl', 'abfss://box@account.dfs.core.windows.net/x')
    >>> redact("s3://AKIA:se/cr+et@bucket/x"), redact("sc://host:15002/;token=abc;user_id=me")
    ('s3://bucket/x', 'sc://host:15002/')
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    rest = QUERY.sub("", rest)
    if scheme == "sc":  # Spark Connect's parameters
        rest = rest.partition(";")[0]
    user, host = _split(rest)
    if scheme.startswith(("abfs", "wasb")) and ":" not in user and user:
        host = f"{user}@{host}"  # on Azure it is the container that stands before the @
    return f"{scheme}://{host}"


def redact_all(text: str) -> str:
    """``text``, of whatever origin, with every URI in it redacted, and the values of settings that are secrets.

    >>> redact_all("no access to s3://me:pw@box/x: fs.s3a.secret.key=abc, Bearer abc.def")
    'no access to s3://box/x: fs.s3a.secret.key=***, Bearer ***'
    """
    text = _URI.sub(lambda found: redact(found[0]), text)
    text = re.sub(r"\b(Bearer\s+)[^\s'\"]+", r"\1***", text)
    return _PAIR.sub(r"\1***", text)


def _split(rest: str) -> tuple[str, str]:
    """(user and password, all behind their @) of what follows ``://``; a password may hold a / that is not encoded."""
    authority, slash, path = rest.partition("/")
    if "@" not in authority and "@" in path and not _PORTS.fullmatch(authority):
        authority, slash, path = rest, "", ""
    user, _, host = authority.rpartition("@")
    return user, f"{host}{slash}{path}"


def _carries_secret(uri: str) -> bool:
    rest = uri.partition("://")[2]
    query = QUERY.search(rest)
    return ":" in _split(QUERY.sub("", rest))[0] or (query is not None and _PAIR.search(query[0]) is not None)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
