# cython: language_level=3, boundscheck=False, wraparound=False
"""The SHA-256 of two texts at once; see `hashes`, and docs/decisions/0026."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcpy


cdef extern from "sha256_blocks.h" nogil:
    ctypedef struct sha256_text:
        uint32_t state[8]
        const unsigned char *data

    void sha256_advance(sha256_text *, sha256_text *, size_t blocks)
    bint sha256_is_possible()


cdef enum:
    _BLOCK = 64
    _WORTH_LETTING_GO = 32  # blocks; for fewer no other thread need get its turn

cdef uint32_t[8] _START
_START[:] = [
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
]


def is_possible():
    """Whether this processor can do it."""
    return sha256_is_possible()


@cython.final
cdef class _Text:
    """A text in parts, of which whole blocks are taken, whatever the parts' sizes are."""

    cdef sha256_text hashed  # up to the block that comes next
    cdef list parts
    cdef Py_ssize_t next_part
    cdef const unsigned char *place  # in the part before that
    cdef size_t left  # behind that place
    cdef unsigned char[_BLOCK] gathered  # a block of which several parts have something
    cdef size_t held  # in there

    def __init__(self, parts):
        self.parts = list(parts)
        size = sum(map(len, self.parts))
        self.parts.append(b"\x80" + bytes(-(size + 9) % _BLOCK) + (size * 8).to_bytes(8, "big"))
        self.place = self.gathered  # where nothing is left, either
        memcpy(self.hashed.state, _START, sizeof(_START))

    cdef size_t blocks(self) except? 0:
        """How many blocks lie one behind the other where the next one is; 0 at the end."""
        cdef size_t more
        while self.held or self.left < _BLOCK:
            more = min(self.left, _BLOCK - self.held)
            memcpy(self.gathered + self.held, self.place, more)
            self.held += more
            self.place += more
            self.left -= more
            if self.held == _BLOCK:
                self.hashed.data = self.gathered
                return 1
            if self.next_part == len(self.parts):
                return 0
            self.open_part(<bytes?>self.parts[self.next_part])
        self.hashed.data = self.place
        return self.left // _BLOCK

    cdef void open_part(self, bytes part):
        self.place = <const unsigned char *>PyBytes_AS_STRING(part)
        self.left = PyBytes_GET_SIZE(part)
        self.next_part += 1

    cdef void skip(self, size_t blocks):
        """Goes on behind blocks that have been hashed."""
        if self.held:
            self.held = 0
        else:
            self.place += _BLOCK * blocks
            self.left -= _BLOCK * blocks

    cdef str hexadecimal(self):
        return "".join([f"{word:08x}" for word in self.hashed.state])


cdef int _advance(_Text first, _Text second, size_t blocks) except -1:
    """Hashes so many blocks of one text, or of two."""
    cdef sha256_text *one = &first.hashed
    cdef sha256_text *two = &second.hashed if second is not None else NULL
    if blocks < _WORTH_LETTING_GO:
        sha256_advance(one, two, blocks)
    else:
        with nogil:
            sha256_advance(one, two, blocks)
    first.skip(blocks)
    if second is not None:
        second.skip(blocks)
    return 0


def sha256_of_two(first not None, second not None):
    """The SHA-256 of two texts, given in parts of bytes, in hexadecimal; only if `is_possible`."""
    cdef _Text one = _Text(first), two = _Text(second)
    cdef size_t ones = one.blocks(), twos = two.blocks()
    while ones and twos:
        _advance(one, two, min(ones, twos))
        ones, twos = one.blocks(), two.blocks()
    longer, blocks = (one, ones) if ones else (two, twos)
    while blocks:
        _advance(longer, None, blocks)
        blocks = (<_Text>longer).blocks()
    return one.hexadecimal(), two.hexadecimal()
