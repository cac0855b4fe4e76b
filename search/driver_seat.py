"""The place of a study's one driver, kept in the study's storage: seen from every host, and taken over by token.

Every driver has a token, one more than the driver before it. While it holds the seat, each of its transactions looks
for its own token before it commits; once another driver has taken over, nothing that it writes is kept.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from optuna.storages._rdb import models
from sqlalchemy import event, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from search.driver_holder import Holder
from search.study_attrs import DRIVER, DRIVER_BEAT
from search.study_opening import OpeningTerms
from search.study_storage import StudyStorage
from spvit.errors import SpvitError, StudyLockedError

BEAT_S = 5.0
"""How often a driver shows that it is alive; each beat is a commit."""
WATCH_S = 16.0
"""How long a driver on another host is watched for a beat before it is taken for dead: three beats and a bit."""
Attribute = models.StudyUserAttributeModel


class DriverSeat:
    """The seat as one driver holds it. Make one by `take`."""

    def __init__(self, storage: StudyStorage, study_id: int, name: str, holder: Holder) -> None:
        self._storage, self._study_id, self._name, self._holder = storage, study_id, name, holder
        self._stored = _of(study_id, DRIVER).with_for_update(read=True)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        event.listen(storage.scoped_session.session_factory, "before_commit", self._check)

    @classmethod
    def take(
        cls,
        storage: StudyStorage,
        study_id: int,
        name: str,
        terms: OpeningTerms,
        *,
        watch_s: float = WATCH_S,
    ) -> DriverSeat:
        """Takes the seat of a study, watching whoever holds it from another host until it is known to be dead.

        Args:
            storage: of the study.
            study_id: the study in it.
            name: the study's, for messages.
            terms: whether it may be taken from whoever holds it.
            watch_s: how long another host's driver may be silent.

        Raises:
            StudyLockedError: another driver holds it; says which.
        """
        while True:
            stored = _read(storage, study_id, DRIVER)
            held = None if stored is None else Holder.from_dict(json.loads(stored))
            if held is not None and not terms.takeover and _is_alive(storage, study_id, held, watch_s):
                raise StudyLockedError(_held_text(name, held))
            holder = Holder.here(token=1 if held is None else held.token + 1)
            if _swap(storage, study_id, stored, holder):
                return cls(storage, study_id, name, holder)

    def keep(self, on_lost: Callable[[SpvitError], None], *, beat_s: float = BEAT_S) -> None:
        """Shows every few seconds that this driver is alive, until it leaves.

        Args:
            on_lost: told once, from a thread, where another driver has taken over.
            beat_s: seconds between two signs of life.
        """
        self._thread = threading.Thread(target=self._beat, args=(on_lost, beat_s), name="driver-seat", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Gives the seat back, unless another driver has taken it or it was given back before."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        event.remove(self._storage.scoped_session.session_factory, "before_commit", self._check)
        _swap(self._storage, self._study_id, json.dumps(self._holder.to_dict()), self._holder.released())

    def _beat(self, on_lost: Callable[[SpvitError], None], beat_s: float) -> None:
        count = 0
        while not self._ended.wait(beat_s if count else 0.0):
            count += 1
            beat = {"token": self._holder.token, "count": count, "at": time.time()}
            try:
                self._storage.set_study_attrs(self._study_id, {DRIVER_BEAT: beat})
            except StudyLockedError as error:
                on_lost(error)
                return
            except Exception:  # noqa: S112 - a storage that cannot be written is the driver's own writes' to tell
                continue
            finally:
                self._storage.scoped_session.remove()

    def _check(self, session: Session) -> None:
        """Called before each commit, within its transaction: what is read there cannot change until it ends."""
        session.flush()
        found = session.connection().execute(self._stored).scalar()
        held = None if found is None else Holder.from_dict(json.loads(found))
        if held is None or held.token != self._holder.token:
            raise StudyLockedError(_fenced_text(self._name, held))


class NoSeat:
    """What a study is opened with that nobody is to be kept out of: a simulated one, or one for a single note."""

    def keep(self, on_lost: Callable[[SpvitError], None]) -> None:
        """Nothing can be lost."""

    def leave(self) -> None:
        """Nothing is given back."""


def _of(study_id: int, key: str) -> Any:
    return select(Attribute.value_json).where(Attribute.study_id == study_id, Attribute.key == key)


def _read(storage: StudyStorage, study_id: int, key: str) -> str | None:
    with storage.engine.connect() as connection:
        found: str | None = connection.execute(_of(study_id, key)).scalar()
    return found


def _swap(storage: StudyStorage, study_id: int, old: str | None, new: Holder) -> bool:
    """Writes who holds the seat, if it still is held as it was read; of two drivers one succeeds."""
    text = json.dumps(new.to_dict())
    with storage.engine.connect() as connection:
        try:
            if old is None:
                connection.execute(Attribute.__table__.insert().values(study_id=study_id, key=DRIVER, value_json=text))
                connection.commit()
                return True
            same = (Attribute.study_id == study_id, Attribute.key == DRIVER, Attribute.value_json == old)
            changed = connection.execute(update(Attribute).where(*same).values(value_json=text)).rowcount
            connection.commit()
        except IntegrityError:
            return False
    return bool(changed == 1)


def _is_alive(storage: StudyStorage, study_id: int, held: Holder, watch_s: float) -> bool:
    if held.is_released:
        return False
    if held.is_here:
        return held.is_process_alive
    first, until = _read(storage, study_id, DRIVER_BEAT), time.monotonic() + watch_s
    while time.monotonic() < until:
        time.sleep(min(1.0, watch_s / 10))
        if _read(storage, study_id, DRIVER_BEAT) != first:
            return True
    return False


def _held_text(name: str, held: Holder) -> str:
    return (
        f"study {name!r} is being run by {held}; wait for it, stop it with SIGTERM, after which `spvit-search resume "
        f"{name}` goes on, or take over from it with --takeover: what it still writes is then refused"
    )


def _fenced_text(name: str, held: Holder | None) -> str:
    by = "its driver's place is gone" if held is None else f"it was taken over by {held}"
    return f"study {name!r}: {by}. This driver ends; nothing that it would still write is kept"
