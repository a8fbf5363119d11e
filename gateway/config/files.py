"""Files that operators write: settings, keys, documents and credentials. All are text in UTF-8."""

from codecs import BOM_UTF8
from pathlib import Path


def read_file(path: Path | str) -> bytes:
    """Return the content of a file. Raises OSError, and the errors of `content_of`."""
    return content_of(Path(path).read_bytes())


def content_of(data: bytes) -> bytes:
    """Return data in UTF-8, without the byte order mark that some editors write.

    Raises ValueError with the number of the first line that is not UTF-8.
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"line {data.count(10, 0, error.start) + 1} is not UTF-8 text") from None
    return data.removeprefix(BOM_UTF8)
