"""The protobuf wire form of the small Signal messages, whose schemas are not in the wheel."""

from __future__ import annotations

_VARINT, _BYTES = 0, 2


class Fields(dict[int, int | bytes]):
    """Field number to value; numbers and bytes are the only kinds that Signal messages use."""

    def number(self, key: int) -> int:
        """Raises KeyError when missing, TypeError when it is not a number."""
        value = self[key]
        if not isinstance(value, int):
            raise TypeError(f"field {key} is not a number")
        return value

    def blob(self, key: int) -> bytes:
        """Raises KeyError when missing, TypeError when it is not bytes."""
        value = self[key]
        if not isinstance(value, bytes):
            raise TypeError(f"field {key} is not bytes")
        return value

    def pack(self) -> bytes:
        out = bytearray()
        for key, value in sorted(self.items()):
            if isinstance(value, int):
                _write(out, key << 3 | _VARINT)
                _write(out, value)
            else:
                _write(out, key << 3 | _BYTES)
                _write(out, len(value))
                out += value
        return bytes(out)

    @classmethod
    def unpack(cls, data: bytes) -> Fields:
        """Raises IndexError when the data ends too early."""
        out, pos = cls(), 0
        while pos < len(data):
            key, pos = _read(data, pos)
            value, pos = _read(data, pos)
            if key & 7 == _BYTES:
                out[key >> 3] = data[pos : pos + value]
                pos += value
            else:
                out[key >> 3] = value
        return out


def _write(out: bytearray, number: int) -> None:
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def _read(data: bytes, pos: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[pos]
        value |= (byte & 127) << shift
        pos, shift = pos + 1, shift + 7
        if byte < 128:
            return value, pos
