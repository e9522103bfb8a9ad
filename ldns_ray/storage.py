"""Files on a local disk or an object store, by path or URI."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

Uri = str | os.PathLike[str]


class UnreachableError(OSError):
    """An object store that does not do what it was asked for."""


@contextmanager
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
        filesystem, path = pafs.FileSystem.from_uri(text)
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
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def join(folder: Uri, *names: str) -> str:
    """`folder/name/…`; a URI's query, such as `?endpoint_override=…`, stays at the end."""
    text = os.fspath(folder)
    base, mark, query = text.partition("?") if "://" in text else (text, "", "")
    return "/".join((base.rstrip("/"), *names)) + mark + query


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
        filesystem.create_dir(os.path.dirname(path), recursive=True)
        write_atomically(filesystem, path, content)
