"""Files on a local disk or an object store, by path or URI."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs as pafs

Uri = str | os.PathLike[str]

BLOCK_BYTES = 4 * 2**20
"""Of a file, read at once."""
URI_CHARACTERS = "%:/?#[]@!$&'()*+,;="
"""What stands in a URI as it is, besides letters, digits, and - . _ ~."""
S3_ATTEMPTS = 10
"""At a request that an S3 server refuses a connection for, or answers with a fault of its own: with the pauses between
them, which double from a second on, up to 20, a minute and a half in all. One that says nothing is waited for longer."""
S3_CONNECT_S, S3_ANSWER_S = 10.0, 60.0
"""What an attempt waits for a connection, and then for something to come: pyarrow would wait 1 s and 3 s."""

NO_ANSWER = re.compile(
    r"NETWORK_CONNECTION|HTTP status 5\d\d|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE"
)
"""In what pyarrow says of a request that nobody answered, or with a fault of the server's own."""

_answered: set[tuple[str, str]] = set()
"""Endpoint and bucket of the S3 servers that this process has heard from."""
_expects = False
"""Whether all servers pass for heard of."""


class UnreachableError(OSError):
    """An object store that does not do what it was asked for."""


class DiskFullError(OSError):
    """A disk that has no room for a file. What was there is as it was."""

    def __init__(self, path: str, n_bytes: int) -> None:
        super().__init__(
            f"No space is left on the disk of {path}, for which {n_bytes} bytes were to be written. Make room there; the "
            "same command then does what is missing."
        )
        self.errno = errno.ENOSPC
        self._made_of = path, n_bytes

    def __reduce__(self) -> Any:
        """Errors of other processes come pickled."""
        return type(self), self._made_of


@contextlib.contextmanager
def reaching(uri: Uri) -> Iterator[None]:
    """Requests to an object store that fail end as one sentence that begins with `uri`.

    A missing file, and what fails on a local disk, have errors that say enough, and pass through.
    """
    try:
        yield
    except OSError as error:
        # Those have a type or an errno; pyarrow gives a refused, misdirected or forbidden request neither.
        if type(error) is not OSError or error.errno is not None:
            raise
        raise UnreachableError(
            f"{os.fspath(uri)} cannot be reached: {error}. Check that the bucket exists, the endpoint "
            "(AWS_ENDPOINT_URL, or ?endpoint_override=…&scheme=http in the URI) and the credentials."
        ) from error


def filesystem_of(uri: Uri) -> tuple[pafs.FileSystem, str]:
    """The pyarrow filesystem of a local path or URI, and the path on it."""
    text = os.fspath(uri)
    if "://" not in text:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text))
    try:
        # Names on object stores may have spaces and the like, which pyarrow wants written as %20.
        filesystem, path = pafs.FileSystem.from_uri(quote(text, safe=URI_CHARACTERS))
        if isinstance(filesystem, pafs.S3FileSystem):
            filesystem = _patient(filesystem, path.partition("/")[0])
        return filesystem, path.rstrip("/")
    except pa.ArrowInvalid as error:
        try:
            import fsspec

            other, path = fsspec.core.url_to_fs(text)
        except (ImportError, ValueError):
            raise ValueError(
                f"Cannot open {text}: {error}. Use a path, or a URI like s3://…"
            ) from None
        return pafs.PyFileSystem(pafs.FSSpecHandler(other)), path.rstrip("/")


def expect_answers() -> None:
    """Wait also for servers that this process has not heard from yet: whoever started it has."""
    global _expects
    _expects = True


def _patient(filesystem: pafs.S3FileSystem, bucket: str) -> pafs.FileSystem:
    """The same filesystem, which waits for a server that is busy, slow or away for a while.

    One that was never heard of by this process may not be there at all, which is to be told in seconds: until its
    first answer, requests to it fail as soon as pyarrow's do, unless the process is to expect answers.
    """
    # All that makes the filesystem: pyarrow tells it to nobody but pickle.
    _, (options,) = filesystem.__reduce__()
    server = (options["endpoint_override"], bucket)
    if not _expects and server not in _answered:
        try:
            filesystem.get_file_info(bucket)
        except OSError as error:
            if NO_ANSWER.search(str(error)):
                return filesystem  # what was to be done will meet the error, and say more of it
        _answered.add(server)
    patience = pafs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS)
    ours = {
        "connect_timeout": S3_CONNECT_S,
        "request_timeout": S3_ANSWER_S,
        "allow_delayed_open": True,  # a small file is one request, not three
    }
    return pafs.S3FileSystem(**options | ours, retry_strategy=patience)


def write_atomically(filesystem: pafs.FileSystem, path: str, content: bytes | pa.Buffer) -> None:
    """Write a file that is either the old one or the whole new one.

    Object stores show an object only once it is whole; a local file is renamed into place.
    """
    if not isinstance(filesystem, pafs.LocalFileSystem):
        with filesystem.open_output_stream(path) as stream:
            stream.write(content)
        return
    temporary = Path(f"{path}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DiskFullError(path, len(content)) from error
        raise


def absolute(uri: Uri) -> str:
    """The same place for processes in other folders: a URI as it is, a path from the root on."""
    text = os.fspath(uri)
    return text if "://" in text else os.path.abspath(os.path.expanduser(text))


def name_of(uri: Uri) -> str:
    """The last name of a path or URI, without a URI's query; that of the working folder for ".".

    The root of a filesystem, which has none, is called "data".
    """
    text = absolute(uri)
    base = text.partition("?")[0] if "://" in text else text
    return base.rstrip("/").rpartition("/")[2] or "data"


def join(folder: Uri, *names: str) -> str:
    """`folder/name/…`; a URI's query, such as `?endpoint_override=…`, stays at the end."""
    text = os.fspath(folder)
    base, mark, query = text.partition("?") if "://" in text else (text, "", "")
    return "/".join((base.rstrip("/"), *names)) + mark + query


def refuse_links_out(folder: Uri, names: Iterable[str]) -> None:
    """Raise ValueError for the first of these files of a folder that is a link to a place outside of it.

    Whoever made the folder could have pointed to anything that this user may read. Object stores have no links.
    """
    filesystem, path = filesystem_of(folder)
    if not isinstance(filesystem, pafs.LocalFileSystem):
        return
    whole = os.path.realpath(path)
    for name in names:
        file = os.path.join(path, name)
        if os.path.islink(file) and not Path(os.path.realpath(file)).is_relative_to(whole):
            raise ValueError(
                f"{file} must lie in its folder, got a link to {os.path.realpath(file)}. Put the file itself there."
            )


def new_folder(text: str) -> str:
    """Where a folder is to be made: the path or URI without slashes at its end.

    Raises ValueError for none, and FileExistsError where a file is in the way.
    """
    uri = text.rstrip("/") or text[:1]
    if not uri.strip():
        raise ValueError(f"A folder must have a path or URI, got {text!r}.")
    with reaching(uri):
        filesystem, path = filesystem_of(uri)
        if filesystem.get_file_info(path).is_file:
            raise FileExistsError(f"{uri} is a file, not a folder. Choose another place.")
    return uri


def exists(uri: Uri) -> bool:
    """Whether there is a file or folder."""
    with reaching(uri):
        filesystem, path = filesystem_of(uri)
        return bool(filesystem.get_file_info(path).type != pafs.FileType.NotFound)


def read_bytes(uri: Uri) -> bytes:
    """The content of a file. Raises FileNotFoundError."""
    with reaching(uri):
        filesystem, path = filesystem_of(uri)
        with filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())


def write_bytes(uri: Uri, content: bytes) -> None:
    """Write a file whole or not at all; makes its folder."""
    with reaching(uri):
        filesystem, path = filesystem_of(uri)
        # S3 has no folders: pyarrow would write an object for each.
        if not isinstance(filesystem, pafs.S3FileSystem):
            filesystem.create_dir(os.path.dirname(path), recursive=True)
        write_atomically(filesystem, path, content)


def remove_file(uri: Uri) -> None:
    """Delete a file. Raises FileNotFoundError."""
    with reaching(uri):
        filesystem, path = filesystem_of(uri)
        filesystem.delete_file(path)


def remove_folder(uri: Uri) -> None:
    """Delete a folder and all that is in it, if it is there."""
    with reaching(uri):
        filesystem, path = filesystem_of(uri)
        if filesystem.get_file_info(path).type == pafs.FileType.Directory:
            filesystem.delete_dir(path)


def files_of(uri: Uri) -> dict[str, pafs.FileInfo]:
    """The files of a folder and those in it, by their paths from it, in order; a file itself by "".

    Raises FileNotFoundError.
    """
    with reaching(uri):
        filesystem, path = filesystem_of(uri)
        info = filesystem.get_file_info(path)
        if info.type == pafs.FileType.NotFound:
            raise FileNotFoundError(f"No file {os.fspath(uri)}.")
        if info.is_file:
            return {"": info}
        found = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    names = {info.path.removeprefix(path).strip("/"): info for info in found if info.is_file}
    return dict(sorted(names.items()))


def digest(uri: Uri) -> str:
    """SHA-256 of a file's content, in hexadecimal digits; of a folder, over its files' paths and contents.

    Raises FileNotFoundError.
    """
    files = files_of(uri)
    with reaching(uri):
        filesystem, path = filesystem_of(uri)
        if list(files) == [""]:
            return digest_file(filesystem, path)
        whole = hashlib.sha256()
        for name, info in files.items():
            whole.update(json.dumps([name, digest_file(filesystem, info.path)]).encode())
        return whole.hexdigest()


def digest_file(filesystem: pafs.FileSystem, path: str) -> str:
    """SHA-256 of one file's content. Other threads run meanwhile."""
    sha256 = hashlib.sha256()
    with filesystem.open_input_stream(path) as stream:
        while block := stream.read_buffer(BLOCK_BYTES):
            sha256.update(block)
    return sha256.hexdigest()


@contextlib.contextmanager
def local_copy(uri: Uri) -> Iterator[str]:
    """The path of a file or folder on this machine: its own, or that of a copy which is removed at the end.

    A copy, in the folder for temporary files (TMPDIR), lies in folders of the same names as the original:
    a format may say something in them. Raises FileNotFoundError.
    """
    filesystem, path = filesystem_of(uri)
    if isinstance(filesystem, pafs.LocalFileSystem):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ldns-") as folder:
        copy = _inside(Path(folder), path)
        with reaching(uri):
            for name, info in files_of(uri).items():
                to = _inside(copy, name)
                to.parent.mkdir(parents=True, exist_ok=True)
                with filesystem.open_input_stream(info.path) as source, to.open("wb") as target:
                    shutil.copyfileobj(source, target, BLOCK_BYTES)
        yield str(copy)


def _inside(folder: Path, path: str) -> Path:
    """`path` in `folder`: object stores allow names that would lead out of it."""
    return folder.joinpath(*(name for name in path.split("/") if name not in ("", ".", "..")))
