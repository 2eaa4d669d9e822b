"""A ring: many sends in one system call, by Linux's io_uring (5.18 or newer).

Only what the fan-out needs, and nothing that outlives a call. Each send says MSG_DONTWAIT, so the kernel makes it while
it is submitted and answers at once, as `send()` would: buffers are free again when `send` returns, and there is nothing
in flight when a descriptor is closed. Constants and structures are those of <linux/io_uring.h>; io_uring(7).
"""

import ctypes
import errno
import mmap
import os
import struct
from array import array
from typing import Final

ENTRIES: Final = 512
"""Sends that one call can take."""
STAGE_BYTES: Final = 256 * 1024
NO_SEND: Final = 26 | 0xFFFFFFFF << 32
"""The head of a send to nobody: the kernel answers EBADF, and goes on."""

_SETUP, _ENTER = 425, 426
"""System calls, of the same number on every architecture that the hub runs on."""
_SUBMIT_ALL: Final = 0x80
"""Go on behind an entry that fails (5.18): what makes a ring of use here."""
_SINGLE_ISSUER: Final = 0x1000
"""Only one thread submits (6.0), which spares the kernel a lock."""
_SINGLE_MMAP: Final = 1
_GETEVENTS: Final = 1
_OFF_RINGS, _OFF_SQES = 0, 0x10000000
_SQE_WORDS: Final = 8
_CQE_INTS: Final = 4
_MSG_FLAGS: Final = 0x4000 | 0x40
"""MSG_NOSIGNAL, MSG_DONTWAIT."""
_MASK: Final = 0xFFFFFFFF
_BODY: Final = struct.Struct("=QII").pack
"""Address, length and flags, from byte 16 on."""


def head(descriptor: int) -> int:
    """The first word of a send to a descriptor: the operation (IORING_OP_SEND), and the descriptor at byte 4."""
    return 26 | descriptor << 32


class Ring:
    """One io_uring and a stage for what is sent. Raises OSError where the kernel, or a filter of calls, refuses.

    To be made, used and closed by one thread. A send is a slot: its head, and where its bytes lie on the stage.
    """

    def __init__(self) -> None:
        self.call = ctypes.CDLL(None, use_errno=True).syscall
        self.call.argtypes = [ctypes.c_long] * 7
        self.call.restype = ctypes.c_long
        self._fd, params = self._set_up()
        try:
            sq, cq = params[10:18], params[20:28]
            if not params[5] & _SINGLE_MMAP:
                raise OSError(errno.ENOSYS, "this io_uring is too old")
            self._rings = mmap.mmap(self._fd, max(sq[6] + params[0] * 4, cq[5] + params[1] * 16), offset=_OFF_RINGS)
            self._entries = mmap.mmap(self._fd, params[0] * 64, offset=_OFF_SQES)
        except BaseException:
            os.close(self._fd)
            raise
        words = memoryview(self._rings).cast("I")
        self._words = words
        self._sq_head, self._sq_tail, self._cq_head, self._cq_tail = (at // 4 for at in (sq[0], sq[1], cq[0], cq[1]))
        self._order = words[sq[6] // 4 : sq[6] // 4 + params[0]]
        """Which slot each place of the submission queue means, from `_submitted` on."""
        self._results = memoryview(self._rings)[cq[5] : cq[5] + params[1] * 16].cast("i")
        self._cq_size = params[1]
        self._slots = memoryview(self._entries).cast("Q")
        self._slots[4::_SQE_WORDS] = memoryview(array("Q", range(params[0])))  # user_data: the slot's number
        self._numbers = memoryview(array("I", range(params[0])))
        self._stage = bytearray(STAGE_BYTES)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._stage))
        self._begin()

    def close(self) -> None:
        for view in (self._words, self._order, self._results, self._slots):
            view.release()
        self._rings.close()
        self._entries.close()
        os.close(self._fd)

    # -- what is to be sent ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._staged = 0
        self._heads = array("Q")
        self._bodies = bytearray()

    def add(self, heads: "array[int]", data: bytes) -> bool:
        """Have the same bytes sent to all of these; False when they don't fit beside what is there."""
        size, at = len(data), self._staged
        if at + size > STAGE_BYTES or len(self._heads) + len(heads) > ENTRIES:
            return False
        self._staged = end = at + size
        self._stage[at:end] = data
        self._heads += heads
        self._bodies += _BODY(self._address + at, size, _MSG_FLAGS) * len(heads)
        return True

    def send(self) -> list[tuple[int, int]]:
        """Send what was added, in that order.

        Returns (slot, result) of each send whose bytes were not all taken: how many were, or minus an errno.
        """
        count = len(self._heads)
        end = count * _SQE_WORDS
        slots, bodies = self._slots, memoryview(self._bodies)
        words = bodies.cast("Q")
        slots[0:end:_SQE_WORDS] = memoryview(self._heads)
        slots[2:end:_SQE_WORDS] = words[0::2]
        slots[3:end:_SQE_WORDS] = words[1::2]
        self._begin()
        submitted = self._submit(count)
        found = self._reap(submitted, bodies.cast("i")[2::4])
        return found + [(slot, -errno.EAGAIN) for slot in range(submitted, count)]

    # -- the queues --------------------------------------------------------------------------------------------------

    def _submit(self, count: int) -> int:
        """Returns how many the kernel took, those first; the others are as if they had never been there."""
        tail = self._words[self._sq_tail]
        first = tail % ENTRIES
        until_end = min(count, ENTRIES - first)
        self._order[first : first + until_end] = self._numbers[:until_end]
        self._order[: count - until_end] = self._numbers[until_end:count]
        self._words[self._sq_tail] = (tail + count) & _MASK
        submitted = 0
        while submitted < count:
            done = self._enter(count - submitted, 0, 0)
            if done <= 0:
                break
            submitted += done
        self._words[self._sq_tail] = (tail + submitted) & _MASK
        return submitted

    def _reap(self, count: int, sizes: memoryview) -> list[tuple[int, int]]:
        words, results = self._words, self._results
        at = words[self._cq_head]
        # Every answer is there already; should a kernel ever think otherwise, its sends still need their bytes.
        while (missing := count - ((words[self._cq_tail] - at) & _MASK)) > 0:
            if (done := self._enter(0, missing, _GETEVENTS)) < 0:
                raise OSError(-done, "the ring gave no answer")
        first = at % self._cq_size
        wrapped = max(0, first + count - self._cq_size)
        parts = (results[first * _CQE_INTS : (first + count) * _CQE_INTS], results[: wrapped * _CQE_INTS])
        found: list[tuple[int, int]] = []
        if b"".join(part[2::_CQE_INTS].tobytes() for part in parts) != sizes[:count].tobytes():
            wanted = sizes.tolist()
            for part in parts:
                for slot, result in zip(part[0::_CQE_INTS].tolist(), part[2::_CQE_INTS].tolist(), strict=True):
                    if result != wanted[slot]:
                        found.append((slot, result))
        words[self._cq_head] = (at + count) & _MASK
        return found

    # -- system calls ------------------------------------------------------------------------------------------------

    def _set_up(self) -> tuple[int, tuple[int, ...]]:
        for flags in (_SUBMIT_ALL | _SINGLE_ISSUER, _SUBMIT_ALL):
            params = ctypes.create_string_buffer(struct.pack("=30I", 0, 0, flags, *[0] * 27), 120)
            fd: int = self.call(_SETUP, ENTRIES, ctypes.addressof(params), 0, 0, 0, 0)
            if fd >= 0:
                return fd, struct.unpack("=30I", params.raw)
            if ctypes.get_errno() != errno.EINVAL:
                break
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

    def _enter(self, submit: int, complete: int, flags: int) -> int:
        """Returns what was taken, or minus an errno; what a signal interrupted is called again."""
        while True:
            done: int = self.call(_ENTER, self._fd, submit, complete, flags, 0, 0)
            if done >= 0 or ctypes.get_errno() != errno.EINTR:
                return done if done >= 0 else -ctypes.get_errno()
