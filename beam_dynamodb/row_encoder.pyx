# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Rows to wire bytes and identities, and back, each in one pass: a third of what columns take.

It does just what `columns` and `identity` do, for rows of one shape; the tests hold the two to
equal bytes. What it can't take it leaves to them, by giving None or by letting an error through:
they find the row to blame, and are all there is where the package was installed without a
compiler. Shards are found out here too.
"""

cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
    _PyBytes_Resize,
)
from cpython.dict cimport PyDict_Next, PyDict_SetItem
from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from cpython.unicode cimport PyUnicode_AsUTF8String, PyUnicode_DecodeUTF8
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, strlen

from orjson import loads


cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL
    bint PyUnicode_IS_COMPACT_ASCII(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    void *PyUnicode_DATA(object)
    object PyLong_FromLongLong(long long)
    long long PyLong_AsLongLongAndOverflow(object, int *) except? -1
    char *PyOS_double_to_string(double, char, int, int, int *) except NULL
    double PyOS_string_to_double(const char *, char **, PyObject *) except? -1.0
    int Py_DTSF_ADD_DOT_0


cdef enum:
    _MANY = 64  # bytes that are looked at together
    _LEAST_ROOM = 4096
    _WORTH_GIVING = 32768


@cython.final
cdef class _Text:
    """Bytes that grow; one for each call, since a call may let other threads go on."""

    cdef PyObject *content  # a bytes object that nobody else knows yet, or NULL
    cdef char *data
    cdef Py_ssize_t size
    cdef Py_ssize_t room

    def __dealloc__(self):
        Py_XDECREF(self.content)

    cdef _Text clear(self):
        self.size = 0
        return self

    cdef bytes taken(self):
        """What is there; if that is much it is given away, since to copy it costs as much again."""
        cdef PyObject *content = self.content
        if self.size < _WORTH_GIVING:
            return PyBytes_FromStringAndSize(self.data, self.size)
        self.content = NULL
        self.room = 0
        _PyBytes_Resize(&content, self.size)
        result = <bytes>content
        Py_XDECREF(content)
        return result

    cdef inline int reserve(self, Py_ssize_t more) except -1:
        return self._grow(more) if self.size + more > self.room else 0

    cdef int _grow(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t room = self.size + more + max(self.size, _LEAST_ROOM)
        self.room = 0
        if self.content is NULL:
            self.content = new_bytes(NULL, room)
        else:
            _PyBytes_Resize(&self.content, room)
        self.data = PyBytes_AS_STRING(<object>self.content)
        self.room = room
        return 0

    cdef inline int put(self, const char *data, Py_ssize_t size) except -1:
        self.reserve(size)
        memcpy(self.data + self.size, data, size)
        self.size += size
        return 0

    cdef inline int put_bytes(self, bytes data) except -1:
        return self.put(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef int put_integer(self, long long number) except -1:
        cdef char digits[20]
        cdef int start = 20
        cdef unsigned long long rest = number if number >= 0 else -<unsigned long long>number
        while True:
            start -= 1
            digits[start] = <char>(c"0" + rest % 10)
            rest //= 10
            if rest == 0:
                break
        if number < 0:
            self.put("-", 1)
        return self.put(digits + start, 20 - start)

    cdef int put_float(self, double number) except -1:
        cdef char *text = PyOS_double_to_string(number, c"r", 0, Py_DTSF_ADD_DOT_0, NULL)
        try:
            return self.put(text, strlen(text))
        finally:
            PyMem_Free(text)

    cdef int put_string(self, str value) except -1:
        """A JSON string, escaped as `json.encoder` does it."""
        if PyUnicode_IS_COMPACT_ASCII(value):
            return self._put_utf8(<const char *>PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value))
        encoded = PyUnicode_AsUTF8String(value)
        return self._put_utf8(PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))

    cdef int _put_utf8(self, const char *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t place = 0, plain
        self.put('"', 1)
        self.reserve(size + 1)
        while place < size:
            plain = _copy_plain(self.data + self.size, data + place, size - place)
            self.size += plain
            place += plain
            if place < size:
                self._put_escaped(<unsigned char>data[place])
                self.reserve(size - place)
                place += 1
        return self.put('"', 1)

    cdef int _put_escaped(self, unsigned char special) except -1:
        cdef const char *hexadecimal = "0123456789abcdef"
        cdef char escape[6]
        cdef char short = _SHORT[special] if special < 32 else <char>special
        if short:
            escape[0], escape[1] = c"\\", short
            return self.put(escape, 2)
        memcpy(escape, "\\u00", 4)
        escape[4], escape[5] = hexadecimal[special >> 4], hexadecimal[special & 15]
        return self.put(escape, 6)


cdef char[32] _SHORT
_SHORT[8], _SHORT[9], _SHORT[10], _SHORT[12], _SHORT[13] = c"b", c"t", c"n", c"f", c"r"


cdef Py_ssize_t _copy_plain(char *target, const char *data, Py_ssize_t size):
    """Copies what is before the first special byte; how many bytes that are."""
    cdef Py_ssize_t place = 0
    while place + _MANY <= size and _are_plain(data + place):
        memcpy(target + place, data + place, _MANY)
        place += _MANY
    while place + 8 <= size and _is_plain(data + place):
        memcpy(target + place, data + place, 8)
        place += 8
    while place < size and not _is_special(<unsigned char>data[place]):
        target[place] = data[place]
        place += 1
    return place


cdef inline bint _is_special(unsigned char each):
    return each < 0x20 or each == c'"' or each == c"\\"


cdef inline bint _is_plain(const char *data):
    """Whether none of eight bytes is special (*Bit Twiddling Hacks*, "a byte less than n")."""
    cdef uint64_t eight, ones = <uint64_t>0x0101010101010101, found
    memcpy(&eight, data, 8)
    cdef uint64_t quotes = eight ^ (ones * 0x22), slashes = eight ^ (ones * 0x5C)
    found = (eight - ones * 0x20) & ~eight
    found |= (quotes - ones) & ~quotes
    found |= (slashes - ones) & ~slashes
    return not found & (ones * 0x80)


cdef inline bint _are_plain(const char *data):
    """Whether none of many bytes is special. Without branches, so that all are taken at once."""
    cdef unsigned char found = 0, each
    cdef int place
    for place in range(_MANY):
        each = <unsigned char>data[place]
        found |= <unsigned char>(each < 0x20) | <unsigned char>(each == 0x22)
        found |= <unsigned char>(each == 0x5C)
    return not found


cdef int _length_of(long long number):
    """How many characters an integer has."""
    cdef int length = 1 if number >= 0 else 2
    cdef unsigned long long rest = number if number >= 0 else -<unsigned long long>number
    while rest > 9:
        rest //= 10
        length += 1
    return length


cdef Py_ssize_t _texts_of(dict row):
    """How many characters a row's texts have."""
    cdef PyObject *key
    cdef PyObject *item
    cdef Py_ssize_t place = 0, total = 0
    while PyDict_Next(row, &place, &key, &item):
        if type(<object>item) is str:
            total += PyUnicode_GET_LENGTH(<object>item)
    return total


cdef uint32_t[256] _CRC_32


cdef uint32_t _crc_of_byte(uint32_t crc):
    for _ in range(8):
        crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc


for _byte in range(256):
    _CRC_32[_byte] = _crc_of_byte(_byte)


cdef uint32_t _crc_of(str text) except? 0:
    """As `zlib.crc32` of its UTF-8, which takes longer to be called than this takes for a key."""
    cdef uint32_t crc = 0xFFFFFFFF
    cdef Py_ssize_t place, size = PyUnicode_GET_LENGTH(text)
    cdef const unsigned char *data = <const unsigned char *>PyUnicode_DATA(text)
    cdef bytes encoded
    if not PyUnicode_IS_COMPACT_ASCII(text):
        encoded = PyUnicode_AsUTF8String(text)
        data, size = <const unsigned char *>PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded)
    for place in range(size):
        crc = crc >> 8 ^ _CRC_32[(crc ^ data[place]) & 0xFF]
    return crc ^ 0xFFFFFFFF


def places_by_shard(list identities not None, uint32_t shards):
    """As `identity.places_by_shard`, which says what it gives."""
    cdef dict places = {}
    cdef list known = [None] * shards
    cdef Py_ssize_t place
    cdef uint32_t shard
    for place in range(len(identities)):
        shard = _crc_of(<str?>identities[place]) % shards
        if known[shard] is None:
            known[shard] = places[shard] = []
        (<list>known[shard]).append(place)
    return places


cdef inline bint _is_same(object name, str expected):
    return name is expected or (type(name) is str and name == expected)


cdef bint _is_null(_Text text, Py_ssize_t start):
    return text.size - start == 13 and memcmp(text.data + start, '{"NULL":true}', 13) == 0


cdef enum:
    _NULL = 1  # a value is NULL in DynamoDB
    _OTHER = 2  # a value is not plain
    _REFUSED = 4  # the row has another shape
    _LOST = 8  # the body does not tell what the value was


@cython.final
cdef class _RowReader:
    """Reads rows out of bodies that a `RowEncoder` made.

    Of a number it knows the type: a float has a point or an exponent there, an integer neither.
    """

    cdef tuple names, labels
    cdef bytes after
    cdef int deepest
    cdef const char *place  # in the body, up to its end
    cdef const char *end

    def row(self, bytes body not None):
        """A body's row, see `RowEncoder.row_reader`."""
        cdef dict row = {}
        cdef Py_ssize_t column
        self.place = PyBytes_AS_STRING(body)
        self.end = self.place + PyBytes_GET_SIZE(body)
        for column in range(len(self.names)):
            self.skip_bytes(<bytes>self.labels[column])
            PyDict_SetItem(row, self.names[column], self.value(2))
        self.skip_bytes(self.after)
        return row

    cdef inline int skip_bytes(self, bytes expected) except -1:
        return self.skip(PyBytes_AS_STRING(expected), PyBytes_GET_SIZE(expected))

    cdef inline int skip(self, const char *expected, Py_ssize_t size) except -1:
        # What lies behind the end of a bytes object is a zero, which nobody expects.
        if size > self.end - self.place or memcmp(self.place, expected, size):
            raise ValueError("the body tells no row of this shape")
        self.place += size
        return 0

    cdef object value(self, int depth):
        cdef const char *rest = self.place
        cdef bint is_true
        if self.end - rest < 9:  # fewer than any value has with what is behind it
            raise ValueError("the body ends in a value")
        if rest[2] == c"S":
            self.skip('{"S":', 5)
            text = self.string()
            self.skip("}", 1)
            return text
        if rest[2] == c"N" and rest[3] == c'"':
            self.skip('{"N":"', 6)
            number = self.number()
            self.skip('"}', 2)
            return number
        if rest[2] == c"N":
            self.skip('{"NULL":true}', 13)
            return None
        if rest[2] == c"B":
            is_true = rest[8] == c"t"  # behind {"BOOL":
            self.skip('{"BOOL":true}' if is_true else '{"BOOL":false}', 13 if is_true else 14)
            return True if is_true else False
        if depth > self.deepest:
            raise ValueError("the body is nested too deep")
        return self.values(depth + 1) if rest[2] == c"L" else self.map(depth + 1)

    cdef object number(self):
        cdef const char *place = self.place
        cdef char *end
        cdef unsigned long long whole = 0
        cdef bint is_negative = place[0] == c"-"
        cdef double real
        place += is_negative
        while c"0" <= place[0] <= c"9":
            whole = whole * 10 + <unsigned char>(place[0] - c"0")
            place += 1
        if not 0 < place - self.place - is_negative < 20:
            raise ValueError("the body holds a number that is none of these")
        if place[0] == c'"':
            self.place = place
            return PyLong_FromLongLong(<long long>(0 - whole if is_negative else whole))
        real = PyOS_string_to_double(self.place, &end, NULL)
        self.place = end
        return real

    cdef str string(self):
        cdef const char *start
        cdef const char *end
        self.skip('"', 1)
        start = self.place
        end = <const char *>memchr(start, c'"', self.end - start)
        if end is NULL:
            raise ValueError("the body ends in a text")
        if memchr(start, c"\\", end - start) is not NULL:
            return self.escaped()
        self.place = end + 1
        return PyUnicode_DecodeUTF8(start, end - start, "strict")

    cdef str escaped(self):
        """A text that has a backslash in it."""
        cdef const char *start = self.place - 1
        while self.place < self.end and self.place[0] != c'"':
            self.place += 2 if self.place[0] == c"\\" else 1
        self.skip('"', 1)
        return loads(start[: self.place - start])

    cdef list values(self, int depth):
        cdef list values = []
        self.skip('{"L":[', 6)
        while self.place[0] != c"]":
            if values:
                self.skip(",", 1)
            values.append(self.value(depth))
        self.skip("]}", 2)
        return values

    cdef dict map(self, int depth):
        cdef dict values = {}
        self.skip('{"M":{', 6)
        while self.place[0] != c"}":
            if values:
                self.skip(",", 1)
            name = self.string()
            self.skip(":", 1)
            values[name] = self.value(depth)
        self.skip("}}", 2)
        return values


@cython.final
cdef class RowEncoder:
    """Makes the bodies and the identities of rows of one shape.

    Threads may share it: what it keeps between calls is replaced as a whole.
    """

    cdef bytes _before, _after
    cdef object _label_of, _piece_of
    cdef tuple _readers, _shape
    cdef frozenset _flat
    cdef double _least, _most
    cdef int _deepest
    cdef Py_ssize_t _longest_name

    def __init__(
        self,
        str before,
        str after,
        tuple readers,
        *,
        label_of,
        piece_of,
        frozenset flat,
        floats,
        int deepest,
        Py_ssize_t longest_name,
    ):
        """Makes an encoder.

        Args:
            before: What stands before each row's item.
            after: What stands behind it.
            readers: The readers of the identities, `KeyReader`s.
            label_of: Gives an attribute's name as JSON; raises where it can't be one.
            piece_of: Gives the JSON of any attribute's value that is not encoded here, and whether
                it is a plain one.
            flat: The types of which it may be asked inside of lists and maps too: they have no
                values of their own.
            floats: The least magnitude of a float that is spelled as Python does, and the first
                one that is too large.
            deepest: How deep a list or map may stand, the row being the first level.
            longest_name: How many bytes a name may have.
        """
        self._before = before.encode()
        self._after = b"}" + after.encode()
        self._readers = readers
        self._label_of = label_of
        self._piece_of = piece_of
        self._flat = flat
        self._least, self._most = floats
        self._deepest = deepest
        self._longest_name = longest_name
        self._shape = (), (), ()

    def encode(self, list rows not None, Py_ssize_t most=0):
        """Encodes rows; at least one.

        Args:
            rows: The rows.
            most: How many bytes a body may have on average; 0 for any number.

        Returns:
            The bodies; for each reader its identities; whether there is a NULL among the values;
            whether all values are plain; the rows' attributes if the bodies tell all of them, else
            None. Nothing but None where the rows are no dicts of one shape, may be in wire form,
            or are larger.

        Raises:
            Exception: Whatever the callables raise; a row has no place in the table.
        """
        cdef tuple names, labels, parts
        cdef list bodies = [], columns = [[] for _ in self._readers]
        cdef _Text text = _Text()
        cdef Py_ssize_t total = 0
        cdef int flags = 0
        if type(rows[0]) is not dict:
            return None
        shape = self._shape_of(tuple(<dict>rows[0]))
        if shape is None:
            return None
        names, labels, parts = shape
        if most and _texts_of(<dict>rows[0]) > most * len(rows):
            return None
        for row in rows:
            flags |= self._put_row(text.clear(), row, names, labels)
            total += text.size
            if flags & _REFUSED or (most and total > most * (len(rows) if bodies else 1)):
                return None
            bodies.append(text.taken())
            for column, reader in zip(columns, parts):
                self._put_identity(text.clear(), <dict>row, <tuple>reader)
                (<list>column).append(PyUnicode_DecodeUTF8(text.data, text.size, "strict"))
        told = None if flags & _LOST else names
        return bodies, columns, flags & _NULL != 0, flags & _OTHER == 0, told

    def row_reader(self, tuple names not None):
        """What reads the rows out of their bodies, if `encode` said that these tell them.

        Args:
            names: The rows' attributes, in their order.

        Returns:
            A function of a body, for one thread, which raises a ValueError if `encode` never made
            it.
        """
        cdef _RowReader reader = _RowReader()
        reader.names, reader.labels, _ = self._shape_of(names)
        reader.after = self._after
        reader.deepest = self._deepest
        return reader.row

    cdef tuple _shape_of(self, tuple names):
        shape = self._shape
        if shape[0] != names or not names:
            if set(map(type, names)) != {str} or "" in names:
                return None
            labels = [f"{self._label_of(name)}:".encode() for name in names]
            opening = [self._before + b"{" + labels[0]]
            parts = tuple([(reader, reader.parts) for reader in self._readers])
            shape = names, tuple(opening + [b"," + label for label in labels[1:]]), parts
            self._shape = shape
        return shape

    cdef int _put_row(self, _Text text, object row, tuple names, tuple labels) except -1:
        cdef PyObject *key
        cdef PyObject *item
        cdef Py_ssize_t place = 0, column = 0
        cdef int flags = 0
        if type(row) is not dict or len(<dict>row) != len(names):
            return _REFUSED
        while PyDict_Next(row, &place, &key, &item):
            value = <object>item  # held, since other code may change the row meanwhile
            if column == len(names) or not _is_same(<object>key, names[column]):
                return _REFUSED
            if column == 0 and isinstance(value, dict):
                return _REFUSED  # the row may be in wire form
            text.put_bytes(<bytes>labels[column])
            flags |= self._put_attribute(text, value)
            column += 1
        text.put_bytes(self._after)
        return flags

    cdef int _put_attribute(self, _Text text, object value) except -1:
        cdef Py_ssize_t start = text.size
        cdef int flags = self._put_value(text, value, 2)
        if flags & _REFUSED:
            text.size = start
            flags = self._put_other(text, value)
        # To know about nulls inside of values is nobody's wish.
        if flags & _NULL and not _is_null(text, start):
            flags -= _NULL
        return flags

    cdef int _put_value(self, _Text text, object value, int depth) except -1:
        cdef int overflow = 0
        cdef long long number
        cdef double real
        if type(value) is str:
            text.put('{"S":', 5)
            text.put_string(value)
            return text.put("}", 1)
        if type(value) is int:
            number = PyLong_AsLongLongAndOverflow(value, &overflow)
            if not overflow:
                text.put('{"N":"', 6)
                text.put_integer(number)
                return text.put('"}', 2)
        elif value is True:
            return text.put('{"BOOL":true}', 13)
        elif value is False:
            return text.put('{"BOOL":false}', 14)
        elif value is None:
            text.put('{"NULL":true}', 13)
            return _NULL
        elif type(value) is float:
            real = value
            if self._least <= abs(real) < self._most or real == 0:
                text.put('{"N":"', 6)
                text.put_float(real)
                return text.put('"}', 2)
        elif type(value) is dict:
            return self._put_map(text, value, depth)
        elif type(value) is list:
            return self._put_list(text, value, depth)
        elif type(value) is tuple:
            return self._put_list(text, value, depth) | _LOST
        elif depth > 2 and type(value) not in self._flat:
            return _REFUSED  # nobody else would know how deep it stands
        return self._put_other(text, value)

    cdef int _put_list(self, _Text text, object values, int depth) except -1:
        cdef Py_ssize_t place = 0
        cdef int flags = 0
        if depth > self._deepest:
            return _REFUSED
        text.put('{"L":[', 6)
        while place < len(values):  # other code may change it meanwhile
            if place:
                text.put(",", 1)
            flags |= self._put_value(text, values[place], depth + 1)
            if flags & _REFUSED:
                return _REFUSED
            place += 1
        text.put("]}", 2)
        return flags

    cdef int _put_map(self, _Text text, dict values, int depth) except -1:
        cdef PyObject *key
        cdef PyObject *item
        cdef Py_ssize_t place = 0, start
        cdef int flags = 0
        if depth > self._deepest:
            return _REFUSED
        text.put('{"M":{', 6)
        start = text.size
        while PyDict_Next(values, &place, &key, &item):
            name, value = <object>key, <object>item
            # A character has at most six bytes here, so the length tells of most names enough.
            if type(name) is not str or not 0 < len(<str>name) * 6 < self._longest_name:
                return _REFUSED
            if text.size > start:
                text.put(",", 1)
            text.put_string(name)
            text.put(":", 1)
            flags |= self._put_value(text, value, depth + 1)
            if flags & _REFUSED:
                return _REFUSED
        text.put("}}", 2)
        return flags

    cdef int _put_other(self, _Text text, object value) except -1:
        piece, is_plain = self._piece_of(value)
        text.put_bytes(piece)
        return (0 if is_plain else _OTHER) | _NULL | _LOST  # it may be a NULL

    cdef int _put_identity(self, _Text text, dict row, tuple reader) except -1:
        cdef int overflow
        cdef long long number
        cdef Py_ssize_t length
        for part in reader[1]:
            name, kind, limit = part
            value = row[name]
            if type(value) is int and (kind is None or kind == "N"):
                number = PyLong_AsLongLongAndOverflow(value, &overflow)
                if not overflow:
                    self._put_number_part(text, number)
                    continue
            elif type(value) is str and (kind is None or kind == "S"):
                length = PyUnicode_GET_LENGTH(value)
                if limit is None or 0 < length * 4 <= <Py_ssize_t>limit:
                    self._put_string_part(text, value, length)
                    continue
            text.put_bytes(reader[0].part(value, *part).encode())
        return 0

    cdef int _put_number_part(self, _Text text, long long number) except -1:
        text.put("N", 1)
        text.put_integer(_length_of(number))
        text.put(":", 1)
        return text.put_integer(number)

    cdef int _put_string_part(self, _Text text, str value, Py_ssize_t length) except -1:
        text.put("S", 1)
        text.put_integer(length)
        text.put(":", 1)
        if PyUnicode_IS_COMPACT_ASCII(value):
            return text.put(<const char *>PyUnicode_DATA(value), length)
        return text.put_bytes(PyUnicode_AsUTF8String(value))
