"""Files on a local disk or an object store, by path or URI."""

import os
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

Uri = str | os.PathLike[str]


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


def write_atomically(filesystem: pafs.FileSystem, path: str, content: bytes) -> None:
    """Write a file that is either the old one or the whole new one.

    Object stores show an object only once it is whole; a local file is renamed into place.
    """
    if not isinstance(filesystem, pafs.LocalFileSystem):
        with filesystem.open_output_stream(path) as stream:
            stream.write(content)
        return
    temporary = Path(f"{path}.{uuid.uuid4().hex[:8]}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def join(folder: Uri, *names: str) -> str:
    """`folder/name/…`; a query such as `?endpoint_override=…` stays at the end."""
    base, mark, query = os.fspath(folder).partition("?")
    return "/".join((base.rstrip("/"), *names)) + mark + query


def exists(uri: Uri) -> bool:
    """Whether there is a file or folder."""
    filesystem, path = filesystem_of(uri)
    return bool(filesystem.get_file_info(path).type != pafs.FileType.NotFound)


def read_bytes(uri: Uri) -> bytes:
    """The content of a file. Raises FileNotFoundError."""
    filesystem, path = filesystem_of(uri)
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


def write_bytes(uri: Uri, content: bytes) -> None:
    """Write a file whole or not at all; makes its folder."""
    filesystem, path = filesystem_of(uri)
    filesystem.create_dir(os.path.dirname(path), recursive=True)
    write_atomically(filesystem, path, content)
