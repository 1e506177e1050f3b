"""The thread that copies what was recorded to one object store, and tries again when that is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from attrs import frozen

from restreamer.dvr.object_expiry import Aged, ObjectExpiry
from restreamer.dvr.s3_client import ObjectStoreError
from restreamer.dvr.store import Store, describe_error
from restreamer.dvr.upload import HourUpload, UploadStoppedError
from restreamer.errors import Refused

#: Hours that are over are looked for so often, seconds.
LOOK_SECONDS = 20.0
#: Between attempts after a failure, seconds: doubled up to the longest.
FIRST_RETRY = 2.0
LONGEST_RETRY = 300.0
#: A request that is under way for longer is told as an alarm, seconds: a part of a file on a slow line.
STUCK_SECONDS = 600.0

Work = Sequence[tuple[Store, str]]


@frozen(kw_only=True)
class UploadStatus:
    """How copying goes.

    @ivar error: why it fails; empty: it does not. @ivar pending: hours that are not copied yet; @ivar hours,
        files, bytes: copied since the start. @ivar retry: seconds until the next attempt after a failure.
    @ivar deleted: hours that were deleted there for their age since the start.
    """

    error: str
    pending: int
    hours: int
    files: int
    bytes: int
    retry: float
    deleted: int = 0


class UploadThread:
    """See the module.

    @param rate: bytes/s at most; None: as fast as it goes. @param clock: monotonic seconds.
    @param changed: told in the thread when there is another error, or none any more.
    @param expiry: what deletes there, if anything is to be.
    """

    def __init__(
        self,
        upload: Callable[[Callable[[int], None]], HourUpload],
        rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[str], None] = lambda _: None,
        expiry: Callable[[Callable[[int], None]], ObjectExpiry] | None = None,
    ) -> None:
        self.upload = upload(self._pace)
        self._expiry = expiry(self._pace) if expiry is not None else None
        self._aged: Sequence[Aged] = ()
        self._busy_at: float | None = None
        self.rate = rate
        self._clock = clock
        self._changed = changed
        self._work: Work = ()
        self._wake = threading.Condition()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._error = ""
        self._delay = 0.0
        self._next_at = clock()
        self._pending = 0
        self._free_at = 0.0

    def offer(self, work: Work, aged: Sequence[Aged] = ()) -> None:
        """The streams that are to be copied from now on, and where they are recorded; never waits.

        @param aged: those whose copies have a depth.
        """
        with self._wake:
            changed = [(store.root, name) for store, name in work] != [
                (store.root, name) for store, name in self._work
            ]
            self._work = work
            self._aged = aged
            if self._stopped.is_set():
                return
            if changed and not self._error:
                self._next_at = self._clock()
            if self._thread is None and (work or aged):
                self._thread = threading.Thread(target=self._run, name="copies", daemon=True)
                self._thread.start()
            self._wake.notify()

    @property
    def status(self) -> UploadStatus:
        """How it goes."""
        counters = self.upload.counters
        expiry = self._expiry.counters if self._expiry is not None else None
        with self._wake:
            stuck = self._busy_at is not None and self._clock() - self._busy_at > STUCK_SECONDS
            return UploadStatus(
                error=self._error or ("the object store does not answer" if stuck else ""),
                pending=self._pending,
                hours=counters.hours,
                files=counters.files,
                bytes=counters.bytes,
                retry=max(0.0, self._next_at - self._clock()) if self._error else 0.0,
                deleted=expiry.hours if expiry is not None else 0,
            )

    def stop(self) -> None:
        """End soon: what was begun goes on after the next start."""
        with self._wake:
            self._stopped.set()
            self._wake.notify()

    def run_once(self) -> bool:
        """Copy all that waits, and delete what is too old there.

        @return: whether nothing failed. For the thread, and for tests without it.
        """
        with self._wake:
            work, aged = self._work, self._aged
        failure = ""
        self._count(work)
        for store, name in work:
            self._busy_at = self._clock()
            failure = self._copy_stream(store, name, failure)
        self._count(work)
        more = False
        # What the store has to give up never stands before what it has to take.
        if aged and self._expiry is not None:
            try:
                more = self._expiry.expire(aged)
            except ObjectStoreError as error:
                failure = failure or f"deleting: {error}"
            except (OSError, ValueError) as error:
                failure = failure or f"deleting: {describe_error(error)}"
        self._busy_at = None
        self._judge(failure, more)
        return not failure

    # Inside.

    def _count(self, work: Work) -> None:
        count = 0
        for store, name in work:
            try:
                count += len(self.upload.waiting(store, name))
            except (OSError, ValueError):
                continue
        self._pending = count

    def _copy_stream(self, store: Store, name: str, failure: str) -> str:
        """@return: what went wrong first."""
        try:
            for facts in self.upload.waiting(store, name):
                if self._stopped.is_set():
                    return failure
                self.upload.copy(store, name, facts)
                self._pending = max(0, self._pending - 1)
        except ObjectStoreError as error:
            return failure or str(error)
        except (OSError, ValueError) as error:
            return failure or describe_error(error)
        except Refused:
            # It was deleted meanwhile.
            pass
        return failure

    def _judge(self, failure: str, more: bool = False) -> None:
        with self._wake:
            if failure:
                self._delay = min(LONGEST_RETRY, self._delay * 2) if self._delay else FIRST_RETRY
            else:
                self._delay = 0.0
            self._next_at = self._clock() + (self._delay or (0.0 if more else LOOK_SECONDS))
            told = self._error != failure
            self._error = failure
        if told:
            self._changed(failure)

    def _run(self) -> None:
        """The thread."""
        while True:
            with self._wake:
                while not self._stopped.is_set() and (wait := self._next_at - self._clock()) > 0:
                    self._wake.wait(wait)
                if self._stopped.is_set():
                    return
            try:
                self.run_once()
            except UploadStoppedError:
                return
            except Exception as error:
                self._busy_at = None
                self._judge(f"a fault: {type(error).__name__}")

    def _pace(self, size: int) -> None:
        """Wait as the rate asks before C{size} bytes are sent."""
        if self._stopped.is_set():
            raise UploadStoppedError
        self._busy_at = self._clock()
        if self.rate is None:
            return
        now = self._clock()
        wait = self._free_at - now
        self._free_at = max(now, self._free_at) + size / self.rate
        if wait > 0 and self._stopped.wait(wait):
            raise UploadStoppedError
