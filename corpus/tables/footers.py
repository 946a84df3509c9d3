"""Checks of a Parquet footer that Arrow leaves to its readers."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

_SIZE = 1 << 62  # of a file without data: no place in a footer is behind its end


def check_columns(metadata: pq.FileMetaData, row_group: int) -> None:
    """Raise OSError, as Arrow does for a damaged footer, if a column of a row group is invalid.

    `RowGroupMetaData.column` ends the process for such a column: Arrow 26 declares it as a call
    that raises nothing. Readers of values build the same records and do raise, before they ask for
    the first byte of data. So one is started on a file without any.
    """
    reader = pq.ParquetFile(
        pa.PythonFile(_NoData(), mode="r"), metadata=metadata, buffer_size=4096, pre_buffer=False
    )
    batches = reader.iter_batches(batch_size=1, row_groups=[row_group], use_threads=False)
    try:
        next(batches, None)
    except _DataWantedError:
        return


class _DataWantedError(Exception):
    """All columns were opened."""


class _NoData(io.RawIOBase):
    """A file of a great size whose bytes cannot be read."""

    _position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = _SIZE if whence == io.SEEK_END else position
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        raise _DataWantedError
